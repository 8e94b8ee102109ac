//! What one process may choose for itself: paths, addresses, names. What all must agree on is in the log.
//!
//! A TOML file, overridden by the environment (`REGENT_LISTEN` and so on), overridden by flags.

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use regent_core::ids::{GroupName, RegionName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The keys that the environment and the flags can override.
const SCALARS: [&str; 8] =
    ["cluster", "node", "region", "listen", "data_dir", "max_round_trip_ms", "audit", "log_format"];

/// The configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster; nodes and agents of another are refused.
    pub cluster: String,
    /// This node's id, for ever.
    pub node: u64,
    /// The failure domain it stands in.
    pub region: RegionName,
    /// Where it serves. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// The longest round trip between two nodes at which the cluster has to work.
    #[serde(default = "default_round_trip")]
    pub max_round_trip_ms: u64,
    /// Where votes, decisions and changes of the leader are appended, a JSON object a line.
    #[serde(default)]
    pub audit: Option<PathBuf>,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// All nodes, this one among them.
    pub peers: Vec<Peer>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its id.
    pub id: u64,
    /// Its region.
    pub region: RegionName,
    /// Where *this* node reaches it: `host:port`.
    pub address: String,
    /// Where everybody reaches it, when that is not the same; the same words on every node.
    #[serde(default)]
    pub advertise: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

fn default_round_trip() -> u64 {
    150
}

/// What flags can override.
#[derive(Clone, Debug, Default, Serialize, clap::Args)]
pub struct Flags {
    /// The cluster's name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// This node's id
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// This node's region
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where to serve: ip:port
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where to keep everything
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Longest round trip between two nodes, in milliseconds
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_round_trip_ms: Option<u64>,
    /// File to append the audit to
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<PathBuf>,
    /// How log lines look
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

/// Why a configuration is refused. One line each.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; give the configuration file with --config FILE", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file, or what overrides it, does not say what it should.
    #[error("{at}: {what}")]
    Malformed {
        /// File and line, or the variable.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// A value makes no sense.
    #[error("{key}: expected {expected}, got {got}")]
    Value {
        /// Its key.
        key: String,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// This node is not among its own peers.
    #[error(
        "peers: node {node} is not in the list {listed:?}: add an entry with id = {node}, or correct `node`"
    )]
    NotAPeer {
        /// This node.
        node: u64,
        /// Who is.
        listed: Vec<u64>,
    },
    /// Two nodes with one id.
    #[error("peers: two nodes with id {id} ({first} and {second}): give each an id of its own")]
    Twice {
        /// The id.
        id: u64,
        /// The address of one.
        first: String,
        /// The address of the other.
        second: String,
    },
}

impl Config {
    /// Reads and checks the file with what overrides it.
    pub fn load(file: &Path, flags: &Flags) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        let config: Config = Figment::from(Toml::string(&text))
            .merge(Env::prefixed("REGENT_").only(&SCALARS))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| malformed(file, &text, &error))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types alone cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key: &str, expected: &str, got: String| {
            Err(ConfigError::Value { key: key.to_owned(), expected: expected.to_owned(), got })
        };
        if GroupName::new(self.cluster.as_str()).is_err() {
            let expected = "1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit";
            return value("cluster", expected, format!("{:?}", self.cluster));
        }
        if !(1..=10_000).contains(&self.max_round_trip_ms) {
            return value("max_round_trip_ms", "1 to 10000", self.max_round_trip_ms.to_string());
        }
        let mut seen: BTreeMap<u64, &Peer> = BTreeMap::new();
        for peer in &self.peers {
            if peer.id == 0 {
                return value("peers.id", "1 or more", "0".to_owned());
            }
            for (key, address) in [("address", Some(&peer.address)), ("advertise", peer.advertise.as_ref())] {
                if let Some(bad) = address.filter(|address| !is_address(address)) {
                    let key = format!("{key} of peer {}", peer.id);
                    return value(&key, "host:port with a port of 1 to 65535", format!("{bad:?}"));
                }
            }
            if let Some(first) = seen.insert(peer.id, peer) {
                let (first, second) = (first.address.clone(), peer.address.clone());
                return Err(ConfigError::Twice { id: peer.id, first, second });
            }
        }
        let Some(me) = seen.get(&self.node) else {
            return Err(ConfigError::NotAPeer { node: self.node, listed: seen.into_keys().collect() });
        };
        if me.region != self.region {
            let expected = format!("{}, as `region` says", self.region);
            return value(&format!("region of peer {}", self.node), &expected, me.region.to_string());
        }
        Ok(())
    }

    /// The longest round trip.
    pub fn max_round_trip(&self) -> Duration {
        Duration::from_millis(self.max_round_trip_ms)
    }

    /// All nodes but this one.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.id != self.node)
    }
}

impl Peer {
    /// Where others find it, as the log shall say.
    pub fn advertised(&self) -> &str {
        self.advertise.as_ref().unwrap_or(&self.address)
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn malformed(file: &Path, text: &str, error: &figment::Error) -> ConfigError {
    let source = error.metadata.as_ref().map_or("", |metadata| metadata.name.as_ref());
    let key = error.path.join(".");
    let at = if source.starts_with("TOML") || source.is_empty() {
        let line = line_of(text, &error.path).or_else(|| named_line(&error.kind.to_string()));
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}", file.display())
    } else if source.contains("environment") {
        format!("environment variable REGENT_{}", key.to_uppercase())
    } else {
        "command line".to_owned()
    };
    let kind = error.kind.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let what = if key.is_empty() { kind } else { format!("{key}: {kind}") };
    ConfigError::Malformed { at, what }
}

/// The line of a key: in the n-th `[[table]]` for a path like `peers.1.id`. The parser keeps no lines of values.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let is_key = |line: &str, key: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    match path {
        [key] => lines.find(|(_, line)| is_key(line, key)).map(|(number, _)| number),
        [table, nth, rest @ ..] => {
            let nth: usize = nth.parse().ok()?;
            let header = format!("[[{table}]]");
            let start = lines.by_ref().filter(|(_, line)| line.trim() == header).nth(nth)?.0;
            let Some(key) = rest.first() else { return Some(start) };
            let within = lines.take_while(|(_, line)| !line.trim_start().starts_with('['));
            Some(within.into_iter().find(|(_, line)| is_key(line, key)).map_or(start, |(number, _)| number))
        }
        [] => None,
    }
}

/// The line that a syntax error names in its text.
fn named_line(text: &str) -> Option<usize> {
    let after = text.split_once("at line ")?.1;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
cluster = "demo"
node = 1
region = "us-east"
listen = "127.0.1.1:7001"
data_dir = "data"

[[peers]]
id = 1
region = "us-east"
address = "127.0.1.1:7001"

[[peers]]
id = 2
region = "us-west"
address = "127.0.1.1:7002"
advertise = "west:7002"
"#;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(&file, &Flags::default());
        loaded.map_err(|error| error.to_string().replace(&format!("{}", file.display()), "FILE"))
    }

    #[test]
    fn a_good_file_is_read_with_its_defaults() {
        let config = load(GOOD).unwrap();
        assert_eq!((config.max_round_trip_ms, config.log_format), (150, LogFormat::Text));
        let advertised: Vec<_> = config.peers.iter().map(Peer::advertised).collect();
        assert_eq!(advertised, ["127.0.1.1:7001", "west:7002"]);
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, GOOD).unwrap();
        let flags = Flags { data_dir: Some("elsewhere".into()), ..Flags::default() };
        assert_eq!(Config::load(&file, &flags).unwrap().data_dir, Path::new("elsewhere"));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_its_place() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("node = 1\n", "node = \"one\"\n", &["FILE:3: node:", "u64"]),
            ("node = 1\n", "", &["FILE: ", "missing field `node`"]),
            ("region = \"us-east\"\nlisten", "region = \"US\"\nlisten", &["FILE:4: region:", "\"US\""]),
            ("data_dir", "colour = 1\ndata_dir", &["FILE:6: colour:", "unknown field", "data_dir"]),
            ("id = 2", "id = -2", &["FILE:14: peers.1.id:"]),
            ("address = \"127.0.1.1:7002\"\n", "", &["peers.1", "missing field `address`"]),
            ("node = 1\n", "node = \n", &["FILE:3", "TOML"]),
            ("id = 2", "id = 1", &["two nodes with id 1", "127.0.1.1:7002"]),
            ("node = 1\n", "node = 7\n", &["node 7 is not in the list [1, 2]"]),
            ("\"127.0.1.1:7002\"", "\"nowhere\"", &["address of peer 2: expected host:port", "nowhere"]),
            ("cluster = \"demo\"", "cluster = \"De mo\"", &["cluster: expected", "\"De mo\""]),
            ("node = 1\nregion = \"us-east\"", "node = 1\nregion = \"mars\"", &["region of peer 1", "mars"]),
            ("node = 1\n", "node = 1\nmax_round_trip_ms = 0\n", &["max_round_trip_ms: expected 1 to 10000"]),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let error = load(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(expected.iter().all(|part| error.contains(part)), "{to:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
