//! An adopted server's own configuration, which stays the operator's: what of it is kept, and the one line that Regent adds.
//!
//! A server that the agent has made gets its configuration from the agent alone. One that it has adopted has files of its
//! operator's, perhaps outside of the data directory, that go on being edited: they are read again at every start, and
//! `regent.conf` says only what has to be different. The only change to them is one line at the end of `postgresql.conf`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::conf::{self, Found};
use super::config::{self, FIXED_FILE};
use super::error::PostgresError;
use super::files;
use super::settings::{RunAs, Settings};

/// What Postgres itself writes for `ALTER SYSTEM`.
pub(super) const AUTO_FILE: &str = "postgresql.auto.conf";
/// Behind the line, for whoever reads the file.
const NOTE: &str = "# added by `regent-agent adopt`, removed by `regent-agent release`";

/// Where an adopted server's own configuration is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Own {
    /// `postgresql.conf`, where it is not in the data directory.
    pub config_file: Option<PathBuf>,
    /// What it used to be given on its command line, parameters with their values: kept in the agent's file.
    pub carried: Vec<(String, String)>,
    /// Where its sockets were when it was adopted: they stay, for its files may leave that to what Postgres was built with.
    pub sockets: String,
}

/// What the operator's files say now. Empty for a server that the agent has made.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// All that is set, `ALTER SYSTEM` included.
    pub(super) set: Found,
    /// The sockets of before, for a server that was adopted.
    before: Option<String>,
}

impl Own {
    /// The operator's `postgresql.conf`, for a data directory that may still be a copy in the making.
    pub fn file(&self, data_dir: &Path) -> PathBuf {
        self.config_file.clone().unwrap_or_else(|| data_dir.join("postgresql.conf"))
    }

    fn line(&self, data_dir: &Path) -> String {
        // Relative names are looked for beside the file that they stand in.
        let fixed = match &self.config_file {
            Some(_) => data_dir.join(FIXED_FILE),
            None => PathBuf::from(FIXED_FILE),
        };
        format!("include_if_exists = '{}' {NOTE}", fixed.display())
    }

    /// Adds the line, unless it is there.
    pub(super) fn include(&self, settings: &Settings, data_dir: &Path) -> Result<(), PostgresError> {
        let path = self.file(data_dir);
        let text = fs::read_to_string(&path).map_err(PostgresError::file("read", &path))?;
        if text.lines().any(is_line) {
            return Ok(());
        }
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let line = self.line(&settings.data_dir);
        rewrite(&path, &format!("{text}{gap}{line}\n"))
    }

    /// Removes the line; the rest is as it was.
    pub(super) fn exclude(&self, data_dir: &Path) -> Result<(), PostgresError> {
        let path = self.file(data_dir);
        let text = fs::read_to_string(&path).map_err(PostgresError::file("read", &path))?;
        if !text.lines().any(is_line) {
            return Ok(());
        }
        let rest: String = text.split_inclusive('\n').filter(|line| !is_line(line)).collect();
        rewrite(&path, &rest)
    }
}

impl Settings {
    /// What the operator's own files say, read now.
    pub(super) fn kept(&self, data_dir: &Path) -> Result<Kept, PostgresError> {
        let Some(own) = &self.own else { return Ok(Kept::default()) };
        let mut set = conf::read(&own.file(data_dir))?;
        set.extend(conf::read_if_there(&data_dir.join(AUTO_FILE))?);
        Ok(Kept { set, before: Some(own.sockets.clone()) })
    }
}

impl Kept {
    fn value(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(|setting| setting.value.as_str())
    }

    /// Whether the operator's own files set this so.
    pub(super) fn is(&self, name: &str, so: impl Fn(&str) -> bool) -> bool {
        self.value(name).is_some_and(so)
    }

    /// The operator's sockets, which their programs connect through, and the agent's.
    pub(super) fn sockets(&self, own: &Path) -> String {
        let before = self.before.as_deref().unwrap_or_default();
        let there = self.value("unix_socket_directories").unwrap_or(before);
        joined(there, &own.display().to_string(), false)
    }

    /// The libraries, with the gate: before the agent's own, behind the operator's, some of which want to be the first.
    pub(super) fn libraries(&self, parameter: Option<&str>, gate: &str) -> String {
        let there = parameter.or_else(|| self.value("shared_preload_libraries")).unwrap_or_default();
        joined(there, gate, self.before.is_none())
    }

    /// Whether a default of the agent's has a place: an adopted server keeps what it has where that is enough.
    pub(super) fn leaves(&self, name: &str) -> bool {
        if self.before.is_none() {
            return true;
        }
        match (name, self.value(name)) {
            ("wal_level", value) => value == Some("minimal"),
            ("max_wal_senders", value) => value.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n < 4),
            ("max_replication_slots" | "log_line_prefix", _) => false,
            (_, value) => value.is_none(),
        }
    }
}

/// A list with one more in it, once.
fn joined(list: &str, more: &str, first: bool) -> String {
    let there = list.split(',').map(str::trim).filter(|item| !item.is_empty() && *item != more);
    let there: Vec<&str> = there.collect();
    let all = if first { [&[more], &there[..]].concat() } else { [&there[..], &[more]].concat() };
    all.join(",")
}

fn is_line(line: &str) -> bool {
    matches!(conf::parse(line), Ok(Some((name, value))) if name == "include_if_exists" && conf::is_own(&value))
        && line.contains(NOTE)
}

/// Takes what sets one of these parameters out of the file that `ALTER SYSTEM` writes, for it wins over every other; returns
/// what was taken. Only while nothing runs: a server that runs would write it too.
pub(super) fn take_out(data_dir: &Path, names: &[&str]) -> Result<Vec<(String, String)>, PostgresError> {
    let path = data_dir.join(AUTO_FILE);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    let (mut taken, mut rest) = (Vec::new(), String::new());
    for line in text.split_inclusive('\n') {
        match conf::parse(line) {
            Ok(Some((name, value))) if names.contains(&name.as_str()) => taken.push((name, value)),
            _ => rest.push_str(line),
        }
    }
    if !taken.is_empty() {
        rewrite(&path, &rest)?;
    }
    Ok(taken)
}

/// Puts lines into the file that `ALTER SYSTEM` writes, as it would.
pub(super) fn put_back(
    data_dir: &Path,
    lines: &[(String, String)],
    owner: Option<RunAs>,
) -> Result<(), PostgresError> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = data_dir.join(AUTO_FILE);
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    take_out(data_dir, &names)?;
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    for (name, value) in lines {
        config::line(&mut text, name, value);
    }
    if path.exists() { rewrite(&path, &text) } else { files::write_whole(&path, &text, owner) }
}

/// Replaces a file of the operator's: its mode, its owner and, if it is a link, the link stay.
fn rewrite(path: &Path, text: &str) -> Result<(), PostgresError> {
    let path = path.canonicalize().map_err(PostgresError::file("find", path))?;
    let was = fs::metadata(&path).map_err(PostgresError::file("examine", &path))?;
    files::write_whole(&path, text, Some(RunAs { uid: was.uid(), gid: was.gid() }))?;
    let mode = fs::Permissions::from_mode(was.mode() & 0o7777);
    fs::set_permissions(&path, mode).map_err(PostgresError::file("change the mode of", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(text: &str) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postgresql.conf"), text).unwrap();
        let mut settings = Settings::new("a", dir.path());
        settings.own = Some(Own { sockets: "/run/postgresql".into(), ..Own::default() });
        (dir, settings)
    }

    #[test]
    fn the_line_comes_once_and_goes_without_a_trace() {
        for text in ["", "port = 1\n", "# mine\nport = 1"] {
            let (dir, settings) = adopted(text);
            let own = settings.own.clone().unwrap();
            let path = dir.path().join("postgresql.conf");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            own.include(&settings, dir.path()).unwrap();
            own.include(&settings, dir.path()).unwrap();
            let with = fs::read_to_string(&path).unwrap();
            assert!(with.starts_with(text) && with.matches("include_if_exists").count() == 1, "{with}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
            own.exclude(dir.path()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), text.trim_end());
        }
    }

    #[test]
    fn what_the_operator_has_is_kept_where_it_is_enough() {
        let text = "shared_preload_libraries = 'citus, regent_gate,auto_explain'\nwal_level = logical\nwal_keep_size = 1GB\n";
        let (dir, settings) = adopted(text);
        let kept = settings.kept(dir.path()).unwrap();
        assert_eq!(kept.libraries(None, "regent_gate"), "citus,auto_explain,regent_gate");
        assert_eq!(kept.sockets(Path::new("/srv/socket")), "/run/postgresql,/srv/socket");
        for (name, leaves) in [
            ("wal_level", false),
            ("wal_keep_size", false),
            ("max_wal_senders", false),
            ("wal_retrieve_retry_interval", true),
        ] {
            assert_eq!(kept.leaves(name), leaves, "{name}");
        }
        let (dir, settings) = adopted("wal_level = minimal\nmax_wal_senders = 0\n");
        let kept = settings.kept(dir.path()).unwrap();
        assert!(kept.leaves("wal_level") && kept.leaves("max_wal_senders"));
        let made = Kept::default();
        assert_eq!(made.libraries(Some("auto_explain"), "regent_gate"), "regent_gate,auto_explain");
        assert_eq!(made.sockets(Path::new("/srv/socket")), "/srv/socket");
    }

    #[test]
    fn what_alter_system_wrote_is_taken_out_and_put_back() {
        let (dir, _settings) = adopted("");
        let auto = dir.path().join(AUTO_FILE);
        assert_eq!(take_out(dir.path(), &["primary_conninfo"]).unwrap(), []);
        fs::write(&auto, "# by ALTER SYSTEM\nwork_mem = '1MB'\nprimary_conninfo = 'host=''a'' port=1'\n")
            .unwrap();
        let taken = take_out(dir.path(), &["primary_conninfo"]).unwrap();
        assert_eq!(taken, [("primary_conninfo".to_owned(), "host='a' port=1".to_owned())]);
        assert_eq!(fs::read_to_string(&auto).unwrap(), "# by ALTER SYSTEM\nwork_mem = '1MB'\n");
        put_back(dir.path(), &taken, None).unwrap();
        put_back(dir.path(), &taken, None).unwrap();
        let text = fs::read_to_string(&auto).unwrap();
        assert_eq!(text.matches("primary_conninfo = 'host=''a'' port=1'").count(), 1, "{text}");
    }
}
