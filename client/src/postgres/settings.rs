//! What the operator says about one local Postgres server.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config;
use super::error::PostgresError;
use super::own::Own;

/// All that is needed to run the server of one instance.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `postgres` and its tools are; searched for when not given.
    pub bin_dir: Option<PathBuf>,
    /// The data directory. Its parent must be on the same file system: it is replaced by renaming.
    pub data_dir: PathBuf,
    /// The name of the instance: `cluster_name` here, `application_name` at its upstream.
    pub instance: String,
    /// The addresses to listen on.
    pub listen_addresses: Vec<String>,
    /// The TCP port, also part of the socket's name.
    pub port: u16,
    /// Where the unix socket is; made with mode 0700 if missing.
    pub socket_dir: PathBuf,
    /// The role that the agent connects as, over the unix socket only.
    pub superuser: String,
    /// The database that the agent connects to.
    pub database: String,
    /// The role that standbys connect as.
    pub replication_user: String,
    /// Its password; without one, `upstream_parameters` must say how to authenticate.
    pub replication_password: Option<Secret>,
    /// libpq parameters for connections to an upstream: `sslmode`, `sslrootcert`, `passfile`.
    pub upstream_parameters: BTreeMap<String, String>,
    /// The networks (`10.1.0.0/16`) from which clients and standbys may connect, with a password.
    pub networks: Vec<String>,
    /// Whether those connections must be encrypted.
    pub require_tls: bool,
    /// The locale of a new cluster. The default sorts by code point, the same on every machine of a group.
    pub locale: String,
    /// The fence inside Postgres.
    pub gate: Option<Gate>,
    /// A server that was adopted has a configuration of its own; one that the agent has made has none.
    pub own: Option<Own>,
    /// Where the server's output goes, appended.
    pub log_file: PathBuf,
    /// The user to run Postgres as, when the agent runs as root.
    pub run_as: Option<RunAs>,
    /// Postgres parameters of the operator's own.
    pub parameters: BTreeMap<String, String>,
    /// How long a statement on the local connection may take.
    pub sql_timeout: Duration,
    /// Whether the server keeps its logical slots on its standbys as well. [`super::Server::new`] says, not the operator: they need
    /// version 17, and `wal_level = logical`.
    pub failover_slots: bool,
}

/// The extension that lets nobody commit without a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// A name in Postgres's library directory, or an absolute path.
    pub library: String,
    /// The file through which the agent tells it the lease.
    pub lease_file: PathBuf,
}

/// The user and group of the Postgres processes and of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A password that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a server streams from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Settings {
    /// Defaults for an instance whose files are beside its data directory.
    pub fn new(instance: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let beside = |ending: &str| sibling(&data_dir, ending);
        Settings {
            bin_dir: None,
            instance: instance.into(),
            listen_addresses: vec!["127.0.0.1".into()],
            port: 5432,
            socket_dir: beside("socket"),
            superuser: "postgres".into(),
            database: "postgres".into(),
            replication_user: "regent_replication".into(),
            replication_password: None,
            upstream_parameters: BTreeMap::new(),
            networks: Vec::new(),
            require_tls: false,
            locale: "C.UTF-8".into(),
            gate: None,
            own: None,
            log_file: beside("log"),
            run_as: None,
            parameters: BTreeMap::new(),
            sql_timeout: Duration::from_millis(1000),
            failover_slots: false,
            data_dir,
        }
    }

    /// Whether its WAL can be decoded: without that it has no logical slots.
    pub(super) fn decodes(&self) -> bool {
        let logical = |value: &str| value.eq_ignore_ascii_case("logical");
        match self.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("wal_level")) {
            Some((_, value)) => logical(value),
            None => self.kept(&self.data_dir).is_ok_and(|kept| kept.is("wal_level", logical)),
        }
    }

    /// Refuses what would break a file that is written from it, or what the agent must own.
    pub(super) fn check(&self) -> Result<(), PostgresError> {
        for (setting, name) in [
            ("instance", &self.instance),
            ("superuser", &self.superuser),
            ("database", &self.database),
            ("replication_user", &self.replication_user),
        ] {
            if !is_plain_name(name) {
                return Err(invalid(setting, "1 to 63 of A-Z a-z 0-9 _ . -", name));
            }
        }
        for network in &self.networks {
            if !is_network(network) {
                return Err(invalid("networks", "an address and a prefix length, like 10.1.0.0/16", network));
            }
        }
        if !self.data_dir.is_absolute() || self.data_dir.file_name().is_none() {
            return Err(invalid("data_dir", "an absolute path", &self.data_dir.display().to_string()));
        }
        self.check_socket_dir()?;
        for (name, value) in &self.parameters {
            if config::is_owned(name) {
                return Err(PostgresError::OwnedParameter { name: name.clone() });
            }
            if !is_plain_name(name) {
                return Err(invalid("parameters", "the name of a Postgres parameter", name));
            }
            if value.chars().any(char::is_control) {
                return Err(invalid(name, "no control characters", value));
            }
        }
        Ok(())
    }

    /// The kernel allows 107 bytes for the name of a unix socket; Postgres would only say so in its log.
    fn check_socket_dir(&self) -> Result<(), PostgresError> {
        let socket = self.socket_dir.join(format!(".s.PGSQL.{}.lock", self.port));
        if !self.socket_dir.is_absolute() || socket.as_os_str().len() > 107 {
            let shown = self.socket_dir.display().to_string();
            return Err(invalid("socket_dir", "an absolute path of at most 80 bytes", &shown));
        }
        Ok(())
    }
}

fn invalid(setting: &str, expected: &'static str, got: &str) -> PostgresError {
    PostgresError::Setting { setting: setting.to_owned(), expected, got: got.to_owned() }
}

/// `<path>.<ending>` beside `path`.
pub(super) fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse::<IpAddr>(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::new("a", "/srv/pg/a");
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn says_what_was_expected_and_got() {
        assert!(Settings::new("a", "/srv/pg/a").check().is_ok());
        assert!(refused(|s| s.instance = "a'b".into()).contains("got \"a'b\""));
        assert!(refused(|s| s.networks = vec!["10.0.0.0/33".into()]).contains("10.0.0.0/33"));
        assert!(refused(|s| s.networks = vec!["all".into()]).contains("prefix length"));
        assert!(refused(|s| s.data_dir = "pg".into()).contains("absolute"));
        assert!(refused(|s| s.socket_dir = format!("/{}", "x".repeat(100)).into()).contains("80 bytes"));
        let owned = refused(|s| drop(s.parameters.insert("Port".into(), "1".into())));
        assert!(owned.contains("Port"), "{owned}");
    }

    #[test]
    fn a_password_is_not_printed() {
        let mut settings = Settings::new("a", "/srv/pg/a");
        settings.replication_password = Some(Secret("hush".into()));
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
