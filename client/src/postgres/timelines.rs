//! Which number Postgres gives to the timeline of a promotion.
//!
//! It takes one more than the newest it finds, counting up from its own for as long as there is a history file of that number.
//! To bring it to a higher one, *placeholders* are put into `pg_wal` for the numbers between: history files that hold nothing but
//! a comment, which says whose they are.
//!
//! What Postgres makes of them:
//! - A standby that runs finds that they are no children of its timeline, says so in its log, and stays on its own.
//! - A standby that *starts* takes the newest for where it shall go, and would refuse: so before every start those above the
//!   newest real history are removed. They are never needed again: the next promotion puts its own.
//! - A standby that comes to a new primary fetches every history between its timeline and the primary's, and fails where one
//!   is missing: it gets the placeholders. A copy of a primary has none but the newest history: before every start, and
//!   before a promotion, what is missing below is filled in.
//!
//! Nothing is flushed here: that would cost a promotion some milliseconds for each number. After a crash of the machine there is
//! the history of the new timeline, which Postgres has flushed, or there is not; the next start mends what is missing below
//! it, and removes what is above. What was made and not written is empty, which no real history is, and counts as a
//! placeholder.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::PostgresError;
use super::settings::{RunAs, sibling};
use super::{Server, files};

/// How a placeholder begins.
const MARK: &str = "# Placeholder of regent-agent";
/// How many missing histories are filled in at most below the newest: a standby that is further behind has to be cloned.
const MOST: u32 = 1_000;

impl Server {
    /// As `promote`, onto that timeline, if nobody has used it or a later one: which it became is seen in `observe`.
    pub async fn promote_onto(&self, timeline: u32) -> Result<(), PostgresError> {
        self.expect_running()?;
        let (pg_wal, owner) = (self.pg_wal(), self.settings.run_as);
        let led = files::off_thread(move || lead_to(&pg_wal, timeline, owner)).await;
        let asked = match led {
            Ok(()) => self.promote().await,
            Err(error) => Err(error),
        };
        if asked.is_err() {
            // It was not asked to: it stays what it is, and may start again without the agent.
            let pg_wal = self.pg_wal();
            files::off_thread(move || remove_above(&pg_wal, &histories(&pg_wal)?)).await?;
        }
        asked
    }

    fn pg_wal(&self) -> PathBuf {
        self.data_dir().join("pg_wal")
    }
}

/// What a start finds: no placeholder above the newest real history, and none missing below.
pub(super) fn settle(data_dir: &Path, owner: Option<RunAs>) -> Result<(), PostgresError> {
    let pg_wal = data_dir.join("pg_wal");
    let there = histories(&pg_wal)?;
    remove_above(&pg_wal, &there)?;
    let newest = newest_real(&there);
    fill(&pg_wal, &there, newest.saturating_sub(MOST), newest, owner)
}

/// Fills in what is missing below that timeline: all above the newest real history, and most of what is below.
fn lead_to(pg_wal: &Path, timeline: u32, owner: Option<RunAs>) -> Result<(), PostgresError> {
    let there = histories(pg_wal)?;
    let first = timeline.saturating_sub(MOST).min(newest_real(&there));
    fill(pg_wal, &there, first, timeline, owner)
}

/// The history files, and whether each is real.
fn histories(pg_wal: &Path) -> Result<BTreeMap<u32, bool>, PostgresError> {
    let entries = fs::read_dir(pg_wal).map_err(PostgresError::file("list", pg_wal))?;
    let names = entries.flatten().filter_map(|entry| timeline_of_history(entry.file_name().to_str()?));
    names.map(|timeline| Ok((timeline, is_real(&path_of(pg_wal, timeline))?))).collect()
}

fn is_real(path: &Path) -> Result<bool, PostgresError> {
    let text = fs::read(path).map_err(PostgresError::file("read", path))?;
    let blank = text.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace());
    Ok(!blank && !text.starts_with(MARK.as_bytes()))
}

/// Timeline 1 has no history.
fn newest_real(there: &BTreeMap<u32, bool>) -> u32 {
    there.iter().rev().find(|(_, real)| **real).map_or(1, |(timeline, _)| *timeline)
}

fn remove_above(pg_wal: &Path, there: &BTreeMap<u32, bool>) -> Result<(), PostgresError> {
    let newest = newest_real(there);
    for timeline in there.keys().filter(|timeline| **timeline > newest) {
        let path = path_of(pg_wal, *timeline);
        fs::remove_file(&path).map_err(PostgresError::file("remove", path))?;
    }
    Ok(())
}

fn fill(
    pg_wal: &Path,
    there: &BTreeMap<u32, bool>,
    first: u32,
    below: u32,
    owner: Option<RunAs>,
) -> Result<(), PostgresError> {
    for timeline in (first.max(2)..below).filter(|timeline| !there.contains_key(timeline)) {
        place(&path_of(pg_wal, timeline), timeline, owner)?;
    }
    Ok(())
}

/// Puts a placeholder, unless something else is there by now.
///
/// It gets its name when it is whole and Postgres's own: a standby looks for histories while they are put there, and one that it
/// may not read ends it.
fn place(path: &Path, timeline: u32, owner: Option<RunAs>) -> Result<(), PostgresError> {
    let unfinished = sibling(path, "new");
    let text = format!("{MARK}: the number {timeline} is passed over, or its history is not known here.\n");
    fs::write(&unfinished, text).map_err(PostgresError::file("write", &unfinished))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))
        .map_err(PostgresError::file("change the mode of", &unfinished))?;
    files::own(&unfinished, owner)?;
    let named = match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        named => named.map_err(PostgresError::file("write", path)),
    };
    fs::remove_file(&unfinished).map_err(PostgresError::file("remove", &unfinished))?;
    named
}

fn path_of(pg_wal: &Path, timeline: u32) -> PathBuf {
    pg_wal.join(history_name(timeline))
}

/// The name of a timeline's history file.
pub(super) fn history_name(timeline: u32) -> String {
    format!("{timeline:08X}.history")
}

fn timeline_of_history(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".history").filter(|digits| digits.len() == 8)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these real histories.
    fn with(real: &[u32]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pg_wal")).unwrap();
        for timeline in real {
            fs::write(path_of(&dir.path().join("pg_wal"), *timeline), "1\t0/3000000\tno reason\n").unwrap();
        }
        dir
    }

    fn found(dir: &tempfile::TempDir) -> Vec<(u32, bool)> {
        histories(&dir.path().join("pg_wal")).unwrap().into_iter().collect()
    }

    #[test]
    fn all_numbers_up_to_the_wanted_one_are_taken() {
        type Found = &'static [(u32, bool)];
        let table: [(&[u32], u32, Found); 5] = [
            (&[], 2, &[]),
            (&[], 4, &[(2, false), (3, false)]),
            (&[3], 6, &[(2, false), (3, true), (4, false), (5, false)]),
            (&[3], 4, &[(2, false), (3, true)]),
            (&[3], 3, &[(2, false), (3, true)]),
        ];
        for (real, wanted, expected) in table {
            let dir = with(real);
            lead_to(&dir.path().join("pg_wal"), wanted, None).unwrap();
            assert_eq!(found(&dir), expected, "{real:?} {wanted}");
        }
    }

    #[test]
    fn a_long_way_up_is_gone_whole_and_a_long_way_down_in_part() {
        let dir = with(&[5]);
        lead_to(&dir.path().join("pg_wal"), 5 + 3 * MOST, None).unwrap();
        assert_eq!(found(&dir).len() as u32, 3 * MOST);
        let dir = with(&[10 * MOST]);
        lead_to(&dir.path().join("pg_wal"), 10 * MOST + 2, None).unwrap();
        assert_eq!(found(&dir).first(), Some(&(9 * MOST + 2, false)));
    }

    #[test]
    fn a_start_finds_none_above_the_newest_real_one_and_all_below() {
        let dir = with(&[2, 6]);
        let pg_wal = dir.path().join("pg_wal");
        lead_to(&pg_wal, 9, None).unwrap();
        fs::write(path_of(&pg_wal, 9), "").unwrap(); // made, and lost its content in a crash
        fs::remove_file(path_of(&pg_wal, 4)).unwrap();
        settle(dir.path(), None).unwrap();
        assert_eq!(found(&dir), [(2, true), (3, false), (4, false), (5, false), (6, true)]);
    }

    /// A standby that runs looks for them meanwhile, and ends when it may not read one.
    #[test]
    fn whoever_sees_one_can_read_it() {
        use std::os::unix::fs::MetadataExt;
        let dir = with(&[]);
        let pg_wal = dir.path().join("pg_wal");
        let owner = nix::unistd::Uid::effective().is_root().then_some(RunAs { uid: 65_534, gid: 65_534 });
        let made = std::thread::spawn({
            let pg_wal = pg_wal.clone();
            move || lead_to(&pg_wal, 2_000, owner)
        });
        for timeline in 2..2_000 {
            let seen = loop {
                match fs::metadata(path_of(&pg_wal, timeline)) {
                    Ok(seen) => break seen,
                    Err(_) => assert!(!made.is_finished() || path_of(&pg_wal, timeline).exists()),
                }
            };
            assert!(seen.len() > 0 && owner.is_none_or(|owner| owner.uid == seen.uid()), "{timeline}");
        }
        made.join().unwrap().unwrap();
    }

    #[test]
    fn only_history_files_count() {
        assert_eq!(timeline_of_history("0000000A.history"), Some(10));
        for name in ["0000000A.history.new", "A.history", "+000000A.history", "000000020000000000000003"] {
            assert_eq!(timeline_of_history(name), None, "{name}");
        }
    }
}
