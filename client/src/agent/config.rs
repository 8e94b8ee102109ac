//! The agent's configuration: a TOML file, overridden by `REGENT_...` in the environment, overridden by flags.

use super::fence::Place;
use super::hooks::HooksConfig;
use crate::postgres::{Gate, RunAs, Secret, Settings};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use nix::unistd::{Uid, User};
use regent_core::agent::{OnRewindFailure, PROBE_TIMEOUT};
use regent_core::command::Instance;
use regent_core::ids::{GroupName, InstanceName, RegionName};
use regent_core::tags::Tags;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("cannot read the configuration {path}: {source}")]
    Missing {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot be understood.
    #[error("{path}: {what}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A value is not possible.
    #[error("{key}: expected {expected}, got {got:?}")]
    Value {
        /// Which.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}

/// Everything one agent may choose for itself. What all must agree on is in the replicated state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster of nodes this agent belongs to.
    pub cluster: String,
    /// Its group.
    pub group: GroupName,
    /// Its instance.
    pub instance: InstanceName,
    /// Its region.
    pub region: RegionName,
    /// Where it keeps what it must not forget.
    pub state_dir: PathBuf,
    /// A file for the audit events, one JSON object a line.
    pub audit: Option<PathBuf>,
    /// How the log is written: `text` or `json`.
    #[serde(default)]
    pub log_format: LogFormat,
    /// All nodes, as reached from here.
    pub nodes: Vec<NodeConfig>,
    /// What the group shall do, or not do, with this instance.
    #[serde(default)]
    pub tags: TagsConfig,
    /// Its Postgres.
    pub postgres: PostgresConfig,
    /// How to reach an instance from here, where that differs from the address it registered.
    #[serde(default)]
    pub routes: BTreeMap<String, String>,
    /// The operator's own programs.
    #[serde(default)]
    pub hooks: HooksConfig,
    /// The operator's own way to make a new replica, in the place of `pg_basebackup`.
    pub clone: Option<CloneConfig>,
    /// Fences beside the gate.
    #[serde(default)]
    pub fence: FenceConfig,
}

/// Fences beside the gate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceConfig {
    /// A primary's port is open only while its lease lasts; needs CAP_NET_ADMIN and nftables.
    #[serde(default)]
    pub kernel: bool,
}

/// What the group shall do, or not do, with this instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagsConfig {
    /// It never takes over.
    pub no_promote: bool,
    /// Who has more is before who has less in the succession.
    pub priority: u32,
    /// It is not offered to readers.
    pub no_load_balance: bool,
    /// From which standby it receives, instead of from the primary.
    pub replicate_from: Option<InstanceName>,
}

/// A program that makes a new replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneConfig {
    /// The program, and what it is given; no shell is between.
    pub command: Vec<String>,
    /// How long it may take, in seconds.
    #[serde(default = "a_day")]
    pub timeout_s: u64,
}

fn a_day() -> u64 {
    86_400
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A node, as reached from here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its id.
    pub id: u64,
    /// `host:port`.
    pub address: String,
}

/// The Postgres beside the agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where `postgres` and its tools are; searched for when not given.
    pub bin_dir: Option<PathBuf>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub listen_address: String,
    /// The port to listen on.
    pub port: u16,
    /// Where others reach it, `host:port`; `listen_address:port` when not given.
    pub advertise: Option<String>,
    /// Where its unix socket is.
    pub socket_dir: Option<PathBuf>,
    /// The gate: a name in Postgres's library directory, or an absolute path.
    #[serde(default = "gate_library")]
    pub gate_library: String,
    /// Where the lease file is: must be in memory.
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    /// Where the server's output goes.
    pub log_file: Option<PathBuf>,
    /// The role that the agent connects as, over the unix socket only.
    pub superuser: Option<String>,
    /// The role that standbys connect as.
    pub replication_user: Option<String>,
    /// Its password. Better in `REGENT_POSTGRES__REPLICATION_PASSWORD` than in the file.
    pub replication_password: Option<String>,
    /// The networks from which clients and standbys may connect, with a password.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Whether those connections must be encrypted.
    #[serde(default)]
    pub require_tls: bool,
    /// libpq parameters for connections to an upstream.
    #[serde(default)]
    pub upstream_parameters: BTreeMap<String, String>,
    /// The user to run Postgres as when the agent runs as root.
    pub run_as: Option<String>,
    /// For how long, in milliseconds, nothing may be committed before a primary gives its lease up: within
    /// [`PROBE_TIMEOUT_MS`]. Commits that take less than half of it are never too slow.
    #[serde(default = "probe_timeout_ms")]
    pub probe_timeout_ms: u64,
    /// What follows when `pg_rewind` fails for good: `clone` or `halt`.
    #[serde(default)]
    pub on_rewind_failure: OnRewindFailure,
    /// Postgres parameters of the operator's own.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

/// What `probe_timeout_ms` may be. Below, the stalls of any busy disk would cost a promotion.
pub const PROBE_TIMEOUT_MS: RangeInclusive<u64> = 1_000..=60_000;

fn probe_timeout_ms() -> u64 {
    u64::try_from(PROBE_TIMEOUT.as_millis()).unwrap_or(*PROBE_TIMEOUT_MS.end())
}

impl PostgresConfig {
    /// For how long nothing may be committed before a primary gives its lease up.
    pub fn probe_timeout(&self) -> Duration {
        Duration::from_millis(self.probe_timeout_ms)
    }
}

fn gate_library() -> String {
    "regent_gate".to_owned()
}

fn run_dir() -> PathBuf {
    PathBuf::from("/dev/shm/regent")
}

impl Config {
    /// Reads and checks the file, with the environment over it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let missing = |source| ConfigError::Missing { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(missing)?;
        let config: Config = Figment::new()
            .merge(Toml::string(&text))
            .merge(Env::prefixed("REGENT_").filter(|key| is_ours(key.as_str())).split("__"))
            .extract()
            .map_err(|error| ConfigError::Malformed { path: path.to_owned(), what: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let value = |key, expected, got: String| Err(ConfigError::Value { key, expected, got });
        let ids: BTreeSet<u64> = self.nodes.iter().map(|node| node.id).collect();
        if self.nodes.is_empty() {
            return value("nodes", "at least one node", "none".to_owned());
        }
        if ids.len() != self.nodes.len() {
            return value("nodes", "each id once", format!("{:?}", ids));
        }
        let addresses = self.nodes.iter().map(|node| &node.address).chain(self.routes.values());
        for address in addresses.chain(&self.postgres.advertise) {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                return value("address", "host:port", address.clone());
            }
        }
        if !PROBE_TIMEOUT_MS.contains(&self.postgres.probe_timeout_ms) {
            let expected = "1000 to 60000: below, a busy disk's stalls would cost promotions";
            return value("postgres.probe_timeout_ms", expected, self.postgres.probe_timeout_ms.to_string());
        }
        if self.tags.replicate_from.as_ref() == Some(&self.instance) {
            let expected = "another instance of the group";
            return value("tags.replicate_from", expected, self.instance.to_string());
        }
        let clone = self.clone.as_ref();
        if clone.is_some_and(|clone| clone.command.first().is_none_or(String::is_empty)) {
            return value("clone.command", "a program and its arguments", "none".to_owned());
        }
        if clone.is_some_and(|clone| clone.timeout_s == 0) {
            return value("clone.timeout_s", "at least 1: how long the command may take", "0".to_owned());
        }
        if self.cluster.is_empty() {
            return value("cluster", "a name", self.cluster.clone());
        }
        Ok(())
    }

    /// Where this instance is, as it registers.
    pub fn place(&self) -> Instance {
        let own = || format!("{}:{}", self.postgres.listen_address, self.postgres.port);
        let TagsConfig { no_promote, priority, no_load_balance, replicate_from } = self.tags.clone();
        Instance {
            region: self.region.clone(),
            address: self.postgres.advertise.clone().unwrap_or_else(own),
            tags: Tags { no_promote, priority, no_load_balance, replicate_from },
        }
    }

    /// The instance, with its group.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.instance)
    }

    /// The lease file; its directory is made if it is missing.
    pub(super) fn lease_file(&self) -> Result<PathBuf, ConfigError> {
        let dir = &self.postgres.run_dir;
        std::fs::create_dir_all(dir).map_err(|source| ConfigError::Missing { path: dir.clone(), source })?;
        Ok(self.lease_path())
    }

    /// Whose port the kernel's fence is for.
    pub(super) fn fence_place(&self) -> Place {
        let PostgresConfig { listen_address, port, .. } = &self.postgres;
        let address = listen_address.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
        let name = format!("regent.{}.{}.{}", self.cluster, self.group, self.instance);
        let fits = |one: char| one.is_ascii_alphanumeric() || "._-".contains(one);
        let table = name.chars().map(|one| if fits(one) { one } else { '_' }).collect();
        Place { table, address, port: *port }
    }

    fn lease_path(&self) -> PathBuf {
        self.postgres.run_dir.join(format!("{}.{}.{}.lease", self.cluster, self.group, self.instance))
    }

    /// The settings of the local Postgres.
    pub(super) fn server(&self) -> Result<Settings, ConfigError> {
        let postgres = &self.postgres;
        let base = Settings::new(self.instance.as_str(), &postgres.data_dir);
        Ok(Settings {
            bin_dir: postgres.bin_dir.clone(),
            listen_addresses: vec![postgres.listen_address.clone()],
            port: postgres.port,
            socket_dir: postgres.socket_dir.clone().unwrap_or(base.socket_dir),
            superuser: postgres.superuser.clone().unwrap_or(base.superuser),
            replication_user: postgres.replication_user.clone().unwrap_or(base.replication_user),
            replication_password: postgres.replication_password.clone().map(Secret),
            upstream_parameters: postgres.upstream_parameters.clone(),
            networks: postgres.networks.clone(),
            require_tls: postgres.require_tls,
            gate: Some(Gate { library: postgres.gate_library.clone(), lease_file: self.lease_path() }),
            log_file: postgres.log_file.clone().unwrap_or(base.log_file),
            run_as: postgres.run_as.as_deref().map(user).transpose()?,
            parameters: postgres.parameters.clone(),
            ..Settings::new(self.instance.as_str(), &postgres.data_dir)
        })
    }
}

/// Other programs of Regent read other variables of the same prefix.
fn is_ours(key: &str) -> bool {
    const KEYS: [&str; 9] =
        ["cluster", "group", "instance", "region", "state_dir", "audit", "log_format", "nodes", "routes"];
    const TABLES: [&str; 5] = ["postgres__", "hooks__", "clone__", "tags__", "fence__"];
    let key = key.to_ascii_lowercase();
    KEYS.contains(&key.as_str()) || TABLES.iter().any(|table| key.starts_with(table))
}

/// A user of this machine, to run Postgres as; nobody when the agent is that user already.
fn user(name: &str) -> Result<RunAs, ConfigError> {
    let unknown = || ConfigError::Value {
        key: "postgres.run_as",
        expected: "a user of this machine (and the agent to run as root)",
        got: name.to_owned(),
    };
    let found = User::from_name(name).ok().flatten().ok_or_else(unknown)?;
    if !Uid::effective().is_root() && Uid::effective() != found.uid {
        return Err(unknown());
    }
    Ok(RunAs { uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
cluster = "demo"
group = "orders"
instance = "orders-east"
region = "us-east"
state_dir = "/var/lib/regent"
[[nodes]]
id = 1
address = "127.0.0.1:7001"
[postgres]
data_dir = "/var/lib/postgresql/15/main"
listen_address = "127.0.0.1"
port = 5432
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.place().address, "127.0.0.1:5432");
        assert_eq!(config.postgres.gate_library, "regent_gate");
        assert!(config.place().tags.is_plain());
        let tagged = "[tags]\nno_promote = true\npriority = 3\nreplicate_from = \"orders-west\"\n[postgres]";
        let tags = load(&GOOD.replacen("[postgres]", tagged, 1)).unwrap().place().tags;
        assert_eq!(tags.to_string(), "no_promote, priority 3, replicate_from orders-west");
        assert!(!config.fence.kernel);
    }

    #[test]
    fn the_kernel_fences_an_address_only_where_one_is_listened_on() {
        for (listens, address) in
            [("10.0.1.5", Some("10.0.1.5")), ("0.0.0.0", None), ("::", None), ("db.east", None)]
        {
            let text = GOOD.replacen(
                "listen_address = \"127.0.0.1\"",
                &format!("listen_address = \"{listens}\""),
                1,
            );
            let config = load(&format!("{text}[fence]\nkernel = true\n")).unwrap();
            assert!(config.fence.kernel);
            let place = config.fence_place();
            assert_eq!(place.address, address.map(|address| address.parse().unwrap()), "{listens}");
            assert_eq!((place.table.as_str(), place.port), ("regent.demo.orders.orders-east", 5432));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let second = "[[nodes]]\nid = 1\naddress = \"127.0.0.1:7002\"\n[postgres]";
        for (from, to, expected) in [
            ("cluster = \"demo\"", "cluster = \"\"", "cluster: expected a name"),
            ("orders-east", "Orders East", "instance name \"Orders East\" is not valid"),
            ("127.0.0.1:7001", "127.0.0.1", "expected host:port, got \"127.0.0.1\""),
            ("[postgres]", second, "each id once"),
            ("port = 5432", "port = 99999", "port"),
            ("port = 5432", "port = 5432\nprot = 1", "prot"),
            ("port = 5432", "port = 5432\nprobe_timeout_ms = 500", "1000 to 60000: below, a busy disk's"),
            ("port = 5432", "port = 5432\nprobe_timeout_ms = 90000", "got \"90000\""),
            (
                "[postgres]",
                "[tags]\nreplicate_from = \"orders-east\"\n[postgres]",
                "another instance of the group",
            ),
            ("[postgres]", "[tags]\nno_promotion = true\n[postgres]", "no_promotion"),
            ("[postgres]", "[fence]\nkernal = true\n[postgres]", "kernal"),
            ("[postgres]", "[clone]\ncommand = []\n[postgres]", "clone.command: expected a program"),
            ("[postgres]", "[clone]\ncommand = [\"x\"]\ntimeout_s = 0\n[postgres]", "clone.timeout_s"),
            ("[postgres]", "[clone]\ntimeout_s = 9\n[postgres]", "command"),
            ("state_dir", "state_dri", "state_dri"),
            ("region = \"us-east\"", "region = ", "region"),
        ] {
            let error = load(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
        let missing = Config::load(Path::new("/nowhere/agent.toml")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/agent.toml"), "{missing}");
    }
}
