//! What the files of a dead primary still say: where its successor left its timeline, and which commits lie behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::invariants::accounted_rows::Tail;

const SEGMENT: u64 = 16 * 1024 * 1024;

/// Where `timeline` was left, according to the history file of its successor in `data_dir`.
pub fn fork(data_dir: &Path, successor: u32, timeline: u32) -> anyhow::Result<u64> {
    let path = data_dir.join(format!("pg_wal/{successor:08X}.history"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let of_timeline = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()?.parse() == Ok(timeline)).then(|| parse_lsn(words.next()?)).flatten()
    };
    text.lines()
        .find_map(of_timeline)
        .with_context(|| format!("{} has no timeline {timeline}", path.display()))
}

/// Copies the two segments of the log that were written last, so that `to` can be read by [`tail`] later.
pub fn copy_newest(data_dir: &Path, to: &Path) -> anyhow::Result<()> {
    let from = data_dir.join("pg_wal");
    let mut segments = Vec::new();
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let (entry, is_segment) = entry.map(|entry| (entry.file_name(), is_segment(&entry.file_name())))?;
        if is_segment && begun(&from.join(&entry))? {
            segments.push((fs::metadata(from.join(&entry))?.modified()?, entry));
        }
    }
    segments.sort();
    fs::create_dir_all(to.join("pg_wal"))?;
    for (_, name) in segments.iter().rev().take(2) {
        fs::copy(from.join(name), to.join("pg_wal").join(name))?;
    }
    Ok(())
}

/// Whether a segment has the header of its first page: one that Postgres has only made ready has not, and `pg_waldump`, which
/// takes the first it sees for a sample, would stop at it.
fn begun(segment: &Path) -> anyhow::Result<bool> {
    let mut magic = [0; 2];
    fs::File::open(segment)?.read_exact(&mut magic)?;
    Ok(magic != [0, 0])
}

fn is_segment(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Reads the commits behind `fork` in the log of a server that does not run.
pub fn tail(postgres_bin: &Path, data_dir: &Path, timeline: u32, fork: u64) -> anyhow::Result<Tail> {
    // From the beginning of the segment: the fork need not be where a record begins that is still there.
    read(postgres_bin, &data_dir.join("pg_wal"), timeline, fork - fork % SEGMENT, fork)
}

/// Reads what an agent kept aside of an old primary's log, by the commands of the note that lies with it.
pub fn kept_tails(postgres_bin: &Path, kept: &Path) -> anyhow::Result<Vec<Tail>> {
    let note = kept.join("README");
    let text = fs::read_to_string(&note).with_context(|| format!("cannot read {}", note.display()))?;
    let parts: Vec<(u32, u64)> = text.lines().filter_map(part).collect();
    ensure!(!parts.is_empty(), "{}: expected a line with --timeline and --start", note.display());
    parts.into_iter().map(|(timeline, fork)| read(postgres_bin, kept, timeline, fork, fork)).collect()
}

/// Timeline and beginning, of a line of that note which is a command.
fn part(line: &str) -> Option<(u32, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
    Some((after("--timeline")?.parse().ok()?, parse_lsn(after("--start")?)?))
}

fn read(postgres_bin: &Path, wal: &Path, timeline: u32, start: u64, fork: u64) -> anyhow::Result<Tail> {
    let output = Command::new(postgres_bin.join("pg_waldump"))
        .args(["--rmgr=Transaction", "--timeline", &timeline.to_string()])
        .args(["--start", &format_lsn(start), "--path"])
        .arg(wal)
        .output()
        .context("cannot run pg_waldump")?;
    // It ends with an error where the log ends: it cannot know that nothing more was meant to come.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() || said.contains("error in WAL record") || said.contains("could not find"),
        "pg_waldump of {}: {said}",
        wal.display()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let commits = text.lines().filter_map(commit).filter(|(_, lsn)| *lsn >= fork).collect::<BTreeMap<_, _>>();
    Ok(Tail { timeline, fork, commits })
}

/// Transaction and position of a line of `pg_waldump` that is a commit.
fn commit(line: &str) -> Option<(u64, u64)> {
    let (before, what) = line.split_once(", desc: ")?;
    let (before, lsn) = before.split_once(", lsn: ")?;
    let transaction = before.split_once(" tx: ")?.1.trim().parse().ok()?;
    what.starts_with("COMMIT").then_some(())?;
    Some((transaction, parse_lsn(lsn.split(',').next()?)?))
}

fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.trim().split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

/// As Postgres writes it.
pub fn format_lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_and_an_abort_is_not() {
        let line = |what: &str| {
            format!(
                "rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 1/0154A1F8, prev 1/0154A1A8, \
                 desc: {what} 2026-11-23 16:00:00 UTC"
            )
        };
        assert_eq!(commit(&line("COMMIT")), Some((735, 0x1_0154_A1F8)));
        assert_eq!(commit(&line("ABORT")), None);
        assert_eq!(commit("rmgr: Heap"), None);
        assert_eq!(format_lsn(0x1_0154_A1F8), "1/154A1F8");
    }

    #[test]
    fn the_note_beside_a_kept_log_tells_how_to_read_it() {
        let line = "    /usr/bin/pg_waldump --path /lost/1 --timeline 3 --start 0/5000148";
        assert_eq!(part(line), Some((3, 0x500_0148)));
        assert_eq!(part("The write-ahead log from 0/5000148 to 0/6000000"), None);
    }

    #[test]
    fn a_history_file_tells_where_a_timeline_was_left() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pg_wal")).unwrap();
        let text =
            "1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n";
        fs::write(dir.path().join("pg_wal/00000003.history"), text).unwrap();
        assert_eq!(fork(dir.path(), 3, 1).unwrap(), 0x3000148);
        assert_eq!(fork(dir.path(), 3, 2).unwrap(), 0x5000000);
        assert!(fork(dir.path(), 3, 7).is_err());
        assert!(fork(dir.path(), 4, 1).is_err());
    }
}
