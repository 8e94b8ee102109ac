//! What is in the data directory, without starting anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::binaries::Binaries;
use super::error::PostgresError;
use super::lsn::{Lsn, timeline_of_segment};
use super::settings::RunAs;
use super::tool::Tool;

/// For reading one small file, even from a disk that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The control file, in the data directory.
pub(super) const CONTROL_FILE: &str = "global/pg_control";

/// What is at the path of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// Nothing.
    Missing,
    /// An empty directory.
    Empty,
    /// A Postgres cluster.
    Cluster(Cluster),
    /// Something else, or a cluster too damaged to be read.
    Foreign {
        /// What was found.
        what: String,
    },
}

/// The facts of a cluster, from its control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The same for all copies of one cluster, and for no other.
    pub system_id: u64,
    /// The major version that made it.
    pub version: u32,
    /// How it was left.
    pub state: ControlState,
    /// Whether `standby.signal` is there: it would start as a standby.
    pub standby_signal: bool,
    /// Whether it is a copy that has not yet been started.
    pub fresh_copy: bool,
    /// The newest timeline of which it has any log.
    pub timeline: u32,
    /// Where its last checkpoint is, and on which timeline.
    pub checkpoint: Lsn,
    /// The timeline of that checkpoint.
    pub checkpoint_timeline: u32,
    /// Where recovery would begin.
    pub redo: Lsn,
    /// As a standby: how far it must replay before it can be read.
    pub min_recovery_end: Lsn,
    /// Whether its pages have checksums.
    pub checksums: bool,
    /// Whether it can be rewound: checksums, or hints are logged.
    pub rewindable: bool,
}

/// The state in the control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlState {
    /// Shut down cleanly as a primary.
    ShutDown,
    /// Shut down cleanly as a standby.
    ShutDownInRecovery,
    /// Was starting, running or stopping as a primary; runs still, or was killed.
    InProduction,
    /// Was running as a standby; runs still, or was killed.
    InArchiveRecovery,
}

impl std::fmt::Display for ControlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ControlState::ShutDown => "shut down",
            ControlState::ShutDownInRecovery => "shut down in recovery",
            ControlState::InProduction => "in production",
            ControlState::InArchiveRecovery => "in archive recovery",
        })
    }
}

impl Cluster {
    /// Whether the last that ran on it was a standby, and never was promoted since.
    pub fn was_standby(&self) -> bool {
        self.fresh_copy
            || matches!(self.state, ControlState::ShutDownInRecovery | ControlState::InArchiveRecovery)
    }

    /// Whether it was left in order.
    pub fn is_clean(&self) -> bool {
        matches!(self.state, ControlState::ShutDown | ControlState::ShutDownInRecovery)
    }
}

/// Looks at `path`.
pub(super) async fn inspect(
    path: &Path,
    binaries: &Binaries,
    run_as: Option<RunAs>,
) -> Result<Directory, PostgresError> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Directory::Missing),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Ok(Directory::Foreign { what: "a file, not a directory".into() });
        }
        Err(source) => return Err(PostgresError::File { what: "list", path: path.to_owned(), source }),
    };
    if entries.next().is_none() {
        return Ok(Directory::Empty);
    }
    let Some(version) = read_version(path) else {
        return Ok(Directory::Foreign { what: "files, but no PG_VERSION among them".into() });
    };
    if version != binaries.major {
        return Err(PostgresError::VersionMismatch {
            path: path.to_owned(),
            directory: version,
            binaries: binaries.major,
        });
    }
    let tool = Tool::new(&binaries.path("pg_controldata"), run_as).arg("-D").arg(path).timeout(PATIENCE);
    let said = match tool.run().await {
        Ok(said) => said,
        Err(PostgresError::Tool { output, .. }) => {
            return Ok(Directory::Foreign {
                what: format!("a cluster with an unreadable control file: {output}"),
            });
        }
        Err(other) => return Err(other),
    };
    let newest = newest_timeline(&path.join("pg_wal"));
    match parse(&said.stdout, version, newest) {
        Ok(cluster) => Ok(Directory::Cluster(Cluster {
            standby_signal: path.join("standby.signal").exists(),
            fresh_copy: path.join("backup_label").exists(),
            ..cluster
        })),
        Err(what) => Ok(Directory::Foreign { what }),
    }
}

fn read_version(path: &Path) -> Option<u32> {
    fs::read_to_string(path.join("PG_VERSION")).ok()?.trim().parse().ok()
}

fn newest_timeline(pg_wal: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(pg_wal) else { return 0 };
    let names = entries.flatten().filter_map(|entry| timeline_of_segment(entry.file_name().to_str()?));
    names.max().unwrap_or(0)
}

fn parse(text: &str, version: u32, newest: u32) -> Result<Cluster, String> {
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let checkpoint_timeline = field(&fields, "Latest checkpoint's TimeLineID")?;
    let recovery_timeline: u32 = field(&fields, "Min recovery ending loc's timeline")?;
    let checksums = field::<u32>(&fields, "Data page checksum version")? != 0;
    let hints: String = field(&fields, "wal_log_hints setting")?;
    Ok(Cluster {
        system_id: field(&fields, "Database system identifier")?,
        version,
        state: state(field::<String>(&fields, "Database cluster state")?.as_str())?,
        standby_signal: false,
        fresh_copy: false,
        timeline: newest.max(checkpoint_timeline).max(recovery_timeline),
        checkpoint: field(&fields, "Latest checkpoint location")?,
        checkpoint_timeline,
        redo: field(&fields, "Latest checkpoint's REDO location")?,
        min_recovery_end: field(&fields, "Minimum recovery ending location")?,
        checksums,
        rewindable: checksums || hints == "on",
    })
}

fn field<T: std::str::FromStr>(fields: &BTreeMap<&str, &str>, key: &str) -> Result<T, String> {
    let value = fields.get(key).ok_or_else(|| format!("pg_controldata says nothing of {key:?}"))?;
    value.parse().map_err(|_| format!("pg_controldata says {value:?} for {key:?}"))
}

fn state(text: &str) -> Result<ControlState, String> {
    match text {
        "shut down" => Ok(ControlState::ShutDown),
        "shut down in recovery" => Ok(ControlState::ShutDownInRecovery),
        "starting up" | "shutting down" | "in crash recovery" | "in production" => {
            Ok(ControlState::InProduction)
        }
        "in archive recovery" => Ok(ControlState::InArchiveRecovery),
        other => Err(format!("pg_controldata says that the state is {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Database system identifier:           7412345678901234567
Database cluster state:               in production
Latest checkpoint location:           0/3000060
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's TimeLineID:       2
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
wal_log_hints setting:                on
Data page checksum version:           0
";

    #[test]
    fn the_control_file_is_read() {
        let cluster = parse(TEXT, 15, 3).unwrap();
        assert_eq!((cluster.system_id, cluster.timeline), (7412345678901234567, 3));
        assert_eq!((cluster.checkpoint, cluster.redo), (Lsn(0x3000060), Lsn(0x3000028)));
        assert!(cluster.rewindable && !cluster.checksums && !cluster.was_standby() && !cluster.is_clean());
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = TEXT.replace("Latest checkpoint location:", "Something else:");
        assert!(parse(&without, 15, 0).unwrap_err().contains("Latest checkpoint location"));
        let odd = TEXT.replace("in production", "on holiday");
        assert!(parse(&odd, 15, 0).unwrap_err().contains("on holiday"));
    }
}
