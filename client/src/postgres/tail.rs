//! What a stopped server has of the log and its new upstream has not: found, counted, and copied aside whole and durable,
//! before a rewind removes it. Copies, not links: a rewind writes into segments that both sides have, and a server that runs
//! again recycles the others.
//!
//! Nothing here removes what is kept. The directory of a tail is named by what it holds, so keeping one twice is once.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::work;

use super::error::PostgresError;
use super::lineage::{Lineage, segment, shared};
use super::lsn::{Lsn, timeline_of_segment};
use super::settings::{Upstream, sibling};
use super::{Server, files, lockfile};

/// What has to stay free where a tail is kept: the agent's own record is there too.
const RESERVE: u64 = 64 << 20;
/// How long reading it may take: minutes for gigabytes.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// What `pg_waldump` says where the log ends: in a segment, or with one.
const AT_THE_END: [&str; 3] = ["error in WAL record", "could not find a valid record", "could not find file"];

/// A tail of the log that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTail {
    /// The timeline it ends on.
    pub timeline: u32,
    /// Where the histories part.
    pub from: Lsn,
    /// The end of its last whole record.
    pub to: Lsn,
    /// How many transactions were committed in it.
    pub commits: u64,
    /// The directory with its segments, and how to read them.
    pub path: PathBuf,
}

/// A part of a tail that lies on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    timeline: u32,
    from: Lsn,
    /// Where the next timeline of this instance begins, if it has one.
    until: Option<Lsn>,
}

/// What was read of a part.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Found {
    commits: u64,
    end: Lsn,
}

impl Server {
    /// Copies what this stopped server has of the log and the upstream, a primary, has not, into a directory of its own in
    /// `lost`, with a note of how to read it. When it returns, that is durable. `None`: there is nothing.
    ///
    /// Fails, having kept nothing, when there is no room, and when the upstream cannot be asked.
    pub async fn keep_tail(
        &self,
        upstream: &Upstream,
        lost: &Path,
        epoch: u64,
    ) -> Result<Option<KeptTail>, PostgresError> {
        let cluster = self.expect_cluster().await?;
        lockfile::refuse_running(self.data_dir())?;
        let facts = self.ask_primary(upstream).await?;
        // Of another database nothing is replaced: the rewind says so.
        if facts.system_id != cluster.system_id {
            return Ok(None);
        }
        let (here, mut there) = self.lineages(upstream, &cluster, &facts).await?;
        let common = shared(&here, &there);
        if let Some((timeline, begin)) = here[..common].last().copied().filter(|(timeline, _)| *timeline > 1)
            && self.marks_same(upstream, timeline, begin).await? == Some(false)
        {
            there.truncate(common - 1); // another timeline of the same number
        }
        let parts = beyond(&here, &there);
        let Some(first) = parts.first().copied() else { return Ok(None) };
        let (mut commits, mut to) = (0, first.from);
        for part in &parts {
            let found = self.read(part).await?;
            commits += found.commits;
            to = to.max(found.end);
        }
        if to <= first.from {
            return Ok(None);
        }
        let timeline = parts.last().map_or(first.timeline, |part| part.timeline);
        let at = format!("{:X}-{:X}", first.from.0 >> 32, first.from.0 & 0xFFFF_FFFF);
        let path = lost.join(format!("epoch-{epoch}-timeline-{timeline}-from-{at}"));
        let kept = KeptTail { timeline, from: first.from, to, commits, path };
        let (pg_wal, waldump) = (self.data_dir().join("pg_wal"), self.binaries.path("pg_waldump"));
        let whole = kept.clone();
        files::off_thread(move || keep(&pg_wal, &parts, &whole, &waldump)).await?;
        Ok(Some(kept))
    }

    /// Reads one part of the log to its end.
    async fn read(&self, part: &Part) -> Result<Found, PostgresError> {
        let mut found = Found::default();
        let (pg_wal, of) = (self.data_dir().join("pg_wal"), *part);
        let Some((first, last)) = files::off_thread(move || span(&pg_wal, &of)).await? else {
            tracing::warn!(?part, "what only this instance had of the log is no longer there");
            return Ok(found);
        };
        let mut tool = self
            .tool("pg_waldump")
            .arg("--path")
            .arg(self.data_dir().join("pg_wal"))
            .arg(format!("--start={}", part.from))
            .timeout(PATIENCE);
        if let Some(until) = part.until {
            tool = tool.arg(format!("--end={until}"));
        }
        let complained = tool.arg(first).arg(last).each_line(&mut |line| found.take(line)).await?;
        tracing::debug!(?part, ?found, complained, "read what the upstream does not have");
        // Where the log ends it complains: it cannot know that nothing more was meant to come.
        match complained {
            Some(output) if !AT_THE_END.iter().any(|words| output.contains(words)) => {
                Err(PostgresError::Tool { program: "pg_waldump".into(), status: "failed".into(), output })
            }
            _ => Ok(found),
        }
    }
}

impl Found {
    /// A line of `pg_waldump`: `rmgr: Heap len (rec/tot): 59/ 59, tx: 725, lsn: 0/01527AD0, prev ..., desc: INSERT ...`
    fn take(&mut self, line: &str) {
        let field =
            |name: &str| line.split_once(name).map(|(_, rest)| rest.split(',').next().unwrap_or(rest));
        let length = field("(rec/tot):").and_then(|text| text.split_once('/')?.1.trim().parse::<u64>().ok());
        let Some((length, Ok(at))) = length.zip(field(", lsn:").map(|text| text.trim().parse::<Lsn>()))
        else {
            return;
        };
        // Records begin at multiples of eight.
        self.end = Lsn((at.0 + length).next_multiple_of(8));
        let commit = line.starts_with("rmgr: Transaction") && line.contains("desc: COMMIT");
        self.commits += u64::from(commit);
    }
}

/// The parts of a history that another does not share, oldest first. Where the last of both is one timeline, the one that
/// is ahead is so by what the other has yet to receive.
fn beyond(here: &Lineage, there: &Lineage) -> Vec<Part> {
    let common = shared(here, there);
    let ends = [here.get(common), there.get(common)];
    let Some(fork) = ends.into_iter().flatten().map(|(_, begin)| *begin).min() else { return Vec::new() };
    let next = here.iter().skip(1).map(|(_, begin)| Some(*begin)).chain([None]);
    let parts = here.iter().zip(next).map(|((timeline, begin), until)| Part {
        timeline: *timeline,
        from: fork.max(*begin),
        until,
    });
    parts.filter(|part| part.until.is_none_or(|until| part.from < until)).collect()
}

/// Copies, flushes, and only then gives the directory its name.
fn keep(pg_wal: &Path, parts: &[Part], tail: &KeptTail, waldump: &Path) -> Result<(), PostgresError> {
    if tail.path.exists() {
        return Ok(());
    }
    let lost = tail.path.parent().unwrap_or(Path::new("/"));
    files::make_directory(lost, None)?;
    let wanted = wanted(pg_wal, parts, tail)?;
    room_for(lost, &wanted)?;
    let unfinished = sibling(&tail.path, "unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(PostgresError::file("remove the unfinished", &unfinished))?;
    }
    files::make_directory(&unfinished, None)?;
    for from in &wanted {
        let to = unfinished.join(from.file_name().unwrap_or_default());
        let copied = fs::copy(from, &to).and_then(|_| File::open(&to)?.sync_all());
        copied.map_err(PostgresError::file("copy aside", from))?;
        work::goes_on();
    }
    files::write_whole(&unfinished.join("README"), &note(tail, parts, waldump), None)?;
    fs::rename(&unfinished, &tail.path).map_err(PostgresError::file("name", &unfinished))?;
    files::sync_parent(&tail.path)?;
    files::sync_parent(lost)
}

/// The segments with the tail in them, and all history files.
fn wanted(pg_wal: &Path, parts: &[Part], tail: &KeptTail) -> Result<Vec<PathBuf>, PostgresError> {
    let (names, size) = listed(pg_wal)?;
    // The names of one timeline sort as its positions do.
    let within = |name: &str, part: &Part| {
        // One more than counted: what a record needs beyond its length, page by page, may reach into it.
        let last = Lsn(part.until.map_or(tail.to.0 + size, |until| until.0).saturating_sub(1));
        let (first, last) = (segment(part.timeline, part.from, size), segment(part.timeline, last, size));
        let among = name.len() == first.len() && (first.as_str()..=last.as_str()).contains(&name);
        among && begun(&pg_wal.join(name))
    };
    let wanted = |name: &String| name.ends_with(".history") || parts.iter().any(|part| within(name, part));
    Ok(names.into_iter().filter(wanted).map(|name| pg_wal.join(name)).collect())
}

/// The names in there, in order, and how large a segment is.
fn listed(pg_wal: &Path) -> Result<(Vec<String>, u64), PostgresError> {
    let listed = fs::read_dir(pg_wal).map_err(PostgresError::file("list", pg_wal))?;
    let mut names: Vec<String> =
        listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let Some(any) = names.iter().find(|name| timeline_of_segment(name).is_some()) else {
        return Ok((Vec::new(), 1));
    };
    let size = fs::metadata(pg_wal.join(any)).map_err(PostgresError::file("read", pg_wal.join(any)))?.len();
    Ok((names, size))
}

/// The names of the first and the last segment that have a part, if the first is there. Named to it, `pg_waldump` does not take
/// the first it sees for a sample: that may be one which Postgres has made ready and not begun, and is all zeros.
fn span(pg_wal: &Path, part: &Part) -> Result<Option<(String, String)>, PostgresError> {
    let (names, size) = listed(pg_wal)?;
    let first = segment(part.timeline, part.from, size);
    let later = names.iter().rev().filter(|name| {
        timeline_of_segment(name) == Some(part.timeline) && **name >= first && begun(&pg_wal.join(name))
    });
    let end = part.until.map(|until| segment(part.timeline, Lsn(until.0.saturating_sub(1)), size));
    let last = later.into_iter().find(|name| end.as_ref().is_none_or(|end| *name <= end)).cloned();
    Ok(last.filter(|_| names.contains(&first)).map(|last| (first, last)))
}

/// Whether a segment has its first page's header.
fn begun(segment: &Path) -> bool {
    let mut magic = [0; 2];
    File::open(segment).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic != [0, 0]
}

fn room_for(lost: &Path, wanted: &[PathBuf]) -> Result<(), PostgresError> {
    let sizes = wanted.iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len());
    let needed = sizes.sum::<u64>() + RESERVE;
    let there = statvfs(lost).map_err(|errno| PostgresError::File {
        what: "see the room in",
        path: lost.to_owned(),
        source: errno.into(),
    })?;
    let free = there.blocks_available().saturating_mul(there.fragment_size());
    if free < needed {
        return Err(PostgresError::NoRoom { path: lost.to_owned(), needed, free });
    }
    Ok(())
}

/// What a person finds beside the segments.
fn note(tail: &KeptTail, parts: &[Part], waldump: &Path) -> String {
    let KeptTail { from, to, commits, path, .. } = tail;
    let mut text = format!(
        "The write-ahead log from {from} to {to}, which only this instance had when another became primary.\n\
         {} bytes, {commits} committed transactions. Copied before pg_rewind took it out of the data directory.\n\
         Nothing removes it: that is yours to do when you need it no longer.\n\n\
         To list what was written, record by record:\n\n",
        to.0 - from.0
    );
    for part in parts {
        text += &format!(
            "    {} --path {} --timeline {} --start {}\n",
            waldump.display(),
            path.display(),
            part.timeline,
            part.from
        );
    }
    text += "\nIt ends with an error where the log ends: that is no damage. Add --rmgr Transaction for commits only.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(timeline: u32, from: u64, until: Option<u64>) -> Part {
        Part { timeline, from: Lsn(from), until: until.map(Lsn) }
    }

    #[test]
    fn a_history_is_left_where_another_branches_off() {
        let lineage = |list: &[(u32, u64)]| list.iter().map(|(id, at)| (*id, Lsn(*at))).collect::<Lineage>();
        type Ends = &'static [(u32, u64)];
        let table: [(Ends, Ends, Vec<Part>); 5] = [
            // The same timeline, and one whose end the other has gone past.
            (&[(1, 0)], &[(1, 0)], vec![]),
            (&[(1, 0)], &[(1, 0), (2, 80)], vec![part(1, 80, None)]),
            // Promoted here as well: later, earlier, and at the same place under the same number.
            (&[(1, 0), (2, 90)], &[(1, 0), (3, 80)], vec![part(1, 80, Some(90)), part(2, 90, None)]),
            (&[(1, 0), (2, 70)], &[(1, 0), (3, 80)], vec![part(2, 70, None)]),
            (&[(1, 0), (2, 70)], &[(1, 0)], vec![part(2, 70, None)]),
        ];
        for (here, there, expected) in table {
            assert_eq!(beyond(&lineage(here), &lineage(there)), expected, "{here:?} {there:?}");
        }
    }

    #[test]
    fn a_tail_that_does_not_fit_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let huge = dir.path().join("000000010000000000000001");
        File::create(&huge).unwrap().set_len(1 << 42).unwrap();
        room_for(dir.path(), &[]).unwrap();
        let error = room_for(dir.path(), &[huge]).unwrap_err();
        assert!(matches!(error, PostgresError::NoRoom { needed, .. } if needed > 1 << 42), "{error}");
    }

    #[test]
    fn commits_are_counted_and_the_end_is_that_of_the_last_record() {
        let line = |rmgr: &str, tot: u64, lsn: &str, what: &str| {
            format!(
                "rmgr: {rmgr:<11} len (rec/tot):     34/    {tot}, tx:  725, lsn: {lsn}, prev 0/01527938, desc: {what}"
            )
        };
        let mut found = Found::default();
        for text in [
            line("Heap", 59, "0/01527AD0", "INSERT off 1"),
            line("Transaction", 34, "0/01527B10", "COMMIT 2026-11-23 22:38:08 UTC"),
            line("Transaction", 34, "0/01527B38", "COMMIT_PREPARED gid x"),
            line("Transaction", 34, "0/01527B60", "ABORT 2026-11-23 22:38:08 UTC"),
            "pg_waldump: something else".to_owned(),
        ] {
            found.take(&text);
        }
        assert_eq!(found, Found { commits: 2, end: Lsn(0x1527B88) });
    }
}
