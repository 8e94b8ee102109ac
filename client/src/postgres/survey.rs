//! Looking at a server that the agent has not made, before it is adopted. Nothing is changed here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::conf::{self, Found};
use super::error::PostgresError;
use super::initialise::REWIND_FUNCTIONS;
use super::lockfile::{self, Holder};
use super::own::{AUTO_FILE, Own};
use super::settings::Settings;
use super::{Cluster, Server, config, directory, files, session};

/// What the agent changes while the server runs, so that nothing may win over its files there.
pub(super) const MOVED: [&str; 3] = ["primary_conninfo", "primary_slot_name", "synchronous_standby_names"];
/// What belongs to how a server is started, not to what it is.
const OF_THE_START: [&str; 2] = ["config_file", "data_directory"];

/// What there is.
#[derive(Debug)]
pub struct Survey {
    /// The data directory.
    pub cluster: Cluster,
    /// The user that owns it.
    pub owner: u32,
    /// The configuration that it keeps.
    pub own: Own,
    /// Whether it is, or would start as, a standby.
    pub standby: bool,
    /// What its files set.
    pub set: Found,
    /// What `ALTER SYSTEM` has set.
    pub auto: Found,
    /// What it was given on its command line when it was last started.
    pub command_line: Vec<(String, String)>,
    /// The server, if it runs.
    pub live: Option<Live>,
    /// Whether it has tablespaces of its own.
    pub tablespaces: bool,
    /// Whether an agent's file is in the directory already.
    pub managed: bool,
}

/// What a running server says.
#[derive(Debug)]
pub struct Live {
    /// Its postmaster.
    pub pid: i32,
    /// Its first socket's directory.
    pub socket_dir: PathBuf,
    /// Its port.
    pub port: u16,
    /// The systemd unit that started it.
    pub unit: Option<String>,
    /// Client connections.
    pub clients: i64,
    /// Who streams from it, in words.
    pub standbys: Vec<String>,
    /// Its physical replication slots.
    pub slots: Vec<String>,
    /// Bytes of WAL since the last checkpoint began.
    pub since_checkpoint: i64,
    /// Every parameter's value, as `SHOW` would print it.
    pub values: BTreeMap<String, String>,
    /// Whether the role that standbys connect as exists.
    pub role: bool,
    /// The functions that `pg_rewind` would lack.
    pub lacks: Vec<&'static str>,
    /// Whether a line of `pg_hba.conf` seems to let that role replicate from elsewhere.
    pub admitted: bool,
}

/// A parameter that adoption changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its value now; none when no file says one.
    pub from: Option<String>,
    /// Its value then.
    pub to: String,
}

impl Survey {
    /// A parameter's value now, as far as it is known.
    pub fn value(&self, name: &str) -> Option<&str> {
        if let Some(live) = &self.live {
            return live.values.get(name).map(String::as_str);
        }
        let given = self.command_line.iter().rev().find(|(given, _)| given == name);
        let filed =
            || self.auto.get(name).or_else(|| self.set.get(name)).map(|setting| setting.value.as_str());
        given.map(|(_, value)| value.as_str()).or_else(filed)
    }

    /// What a standby streams from, in libpq's words.
    pub fn upstream(&self) -> Option<&str> {
        self.value("primary_conninfo").filter(|conninfo| self.standby && !conninfo.is_empty())
    }

    /// The settings with which the agent will run it.
    pub fn adopted(&self, settings: &Settings) -> Settings {
        Settings { own: Some(self.own.clone()), ..settings.clone() }
    }

    /// What the agent will set otherwise than it is.
    pub fn changes(&self, settings: &Settings) -> Result<Vec<Change>, PostgresError> {
        let settings = self.adopted(settings);
        let kept = settings.kept(&settings.data_dir)?;
        let mut to: BTreeMap<String, String> = config::chosen(&settings, &kept).into_iter().collect();
        to.insert("synchronous_standby_names".into(), String::new());
        let changes = to.into_iter().filter_map(|(name, to)| {
            let from = self.value(&name).map(str::to_owned);
            (from.as_deref().unwrap_or_default() != to).then_some(Change { name, from, to })
        });
        Ok(changes.collect())
    }

    /// What `ALTER SYSTEM` has set and the agent has to change while the server runs.
    pub fn moved(&self) -> Vec<(String, String)> {
        let moved = self.auto.iter().filter(|(name, _)| MOVED.contains(&name.as_str()));
        moved.map(|(name, setting)| (name.clone(), setting.value.clone())).collect()
    }
}

impl Server {
    /// Looks at what is there. `postgresql_conf` is where its configuration is, when the server itself does not tell.
    ///
    /// # Errors
    /// When there is no cluster, its files cannot be read, or it runs and does not let the agent in.
    pub async fn survey(&self, postgresql_conf: Option<&Path>) -> Result<Survey, PostgresError> {
        let cluster = self.expect_cluster().await?;
        let data_dir = self.data_dir().to_owned();
        let command_line = command_line(&data_dir);
        let told = command_line.iter().rev().find(|(name, _)| name == "config_file");
        let told = told.map(|(_, file)| PathBuf::from(file));
        let config_file = postgresql_conf.map(Path::to_owned).or(told);
        let config_file = config_file.filter(|file| file.parent() != Some(&data_dir));
        let live = match lockfile::holder(&data_dir)? {
            Holder::Server(postmaster) => Some(self.live(postmaster.pid).await?),
            Holder::SingleUser(pid) => return Err(PostgresError::Running { pid, path: data_dir }),
            Holder::Nobody | Holder::Stale(_) => None,
        };
        let mut own = Own { config_file, ..Own::default() };
        let set = conf::read(&own.file(&data_dir))?;
        own.carried = carried(&self.settings, &command_line);
        own.sockets = match &live {
            Some(live) => live.values.get("unix_socket_directories").cloned().unwrap_or_default(),
            None => self.configured(&own, "unix_socket_directories").await?,
        };
        Ok(Survey {
            owner: fs::metadata(&data_dir).map_err(PostgresError::file("examine", &data_dir))?.uid(),
            standby: cluster.standby_signal,
            auto: conf::read_if_there(&data_dir.join(AUTO_FILE))?,
            tablespaces: fs::read_dir(data_dir.join("pg_tblspc"))
                .is_ok_and(|mut found| found.next().is_some()),
            managed: data_dir.join(config::FIXED_FILE).exists(),
            cluster,
            own,
            set,
            command_line,
            live,
        })
    }

    async fn live(&self, pid: i32) -> Result<Live, PostgresError> {
        let (port, socket_dir) = sockets(self.data_dir())?;
        let settings = Settings { socket_dir, port, ..(*self.settings).clone() };
        let (client, driver) = session::connect(&settings).await?;
        let told = ask(&client, &settings).await;
        driver.abort();
        let told = told.map_err(|error| session::failed(&settings, &error))?;
        Ok(Live { pid, socket_dir: settings.socket_dir, port, unit: unit(pid), ..told })
    }

    /// A parameter's value as the files, or Postgres's own defaults, have it.
    async fn configured(&self, own: &Own, name: &'static str) -> Result<String, PostgresError> {
        let file = own.file(self.data_dir());
        let tool = self.tool("postgres").arg("-D").arg(self.data_dir()).args(["-C", name]);
        let said = tool.arg("-c").arg(format!("config_file={}", file.display())).run().await?;
        Ok(said.stdout.trim().to_owned())
    }

    /// Has Postgres load the libraries as it would at its start, beside the server and without disturbing it: why it could
    /// not, or nothing. Versions before 15 cannot be asked.
    pub async fn try_gate(&self, survey: &Survey) -> Result<Option<String>, PostgresError> {
        if self.version() < 15 || self.settings.gate.is_none() {
            return Ok(None);
        }
        let settings = survey.adopted(&self.settings);
        let file = survey.own.file(&settings.data_dir);
        let given = config::required(&settings, &settings.kept(&settings.data_dir)?);
        let (data_dir, owner) = (settings.data_dir.clone(), settings.run_as);
        let scratch = tempdir(&data_dir);
        let made = scratch.clone();
        files::off_thread(move || {
            // What Postgres wants to see before it goes on to load libraries, and nothing more.
            files::make_directory(&made, owner)?;
            files::make_directory(&made.join("global"), owner)?;
            for name in ["PG_VERSION", directory::CONTROL_FILE] {
                let copy = made.join(name);
                fs::copy(data_dir.join(name), &copy).map_err(PostgresError::file("write", &copy))?;
                files::own(&copy, owner)?;
            }
            Ok(())
        })
        .await?;
        let mut tool = self.tool("postgres").arg("-D").arg(&scratch).args(["-C", "shared_memory_size"]);
        tool = tool.arg("-c").arg(format!("config_file={}", file.display()));
        tool = tool.arg("-c").arg(format!("data_directory={}", scratch.display()));
        for (name, value) in given.iter().filter(|(name, _)| LOADING.contains(name)) {
            tool = tool.arg("-c").arg(format!("{name}={value}"));
        }
        let tried = tool.run().await;
        files::discard_scratch(&scratch);
        match tried {
            Ok(_) => Ok(None),
            Err(PostgresError::Tool { output, .. }) => {
                let fatal = output.lines().find_map(|line| line.split_once("FATAL:"));
                Ok(Some(fatal.map_or(output.as_str(), |(_, why)| why).trim().to_owned()))
            }
            Err(other) => Err(other),
        }
    }
}

/// What decides which libraries are loaded.
const LOADING: [&str; 2] = ["shared_preload_libraries", "regent.lease_file"];

fn tempdir(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.as_os_str().to_owned();
    name.push(format!(".trial-{}", std::process::id()));
    PathBuf::from(name)
}

async fn ask(client: &tokio_postgres::Client, settings: &Settings) -> Result<Live, tokio_postgres::Error> {
    let values = client.query("select name, current_setting(name) from pg_settings", &[]).await?;
    let row = client
        .query_one(
            "select (select count(*) from pg_stat_activity where backend_type = 'client backend'
                     and pid <> pg_backend_pid()),
               array(select format('%s from %s (%s)', application_name, coalesce(host(client_addr), 'the socket'), state)
                     from pg_stat_replication order by 1),
               array(select slot_name::text from pg_replication_slots where slot_type = 'physical' order by 1),
               pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
                     else pg_current_wal_lsn() end, (select redo_lsn from pg_control_checkpoint()))::int8,
               exists (select from pg_roles where rolname = $1::text and rolreplication),
               exists (select from pg_hba_file_rules where type <> 'local' and error is null
                     and 'replication' = any (database) and (user_name && array[$1::text, 'all']))",
            &[&settings.replication_user],
        )
        .await?;
    let role: bool = row.get(4);
    let mut lacks = Vec::new();
    for function in REWIND_FUNCTIONS {
        let may = "select has_function_privilege($1::text, $2::text, 'execute')";
        if !role || !client.query_one(may, &[&settings.replication_user, &function]).await?.get::<_, bool>(0)
        {
            lacks.push(function);
        }
    }
    Ok(Live {
        pid: 0,
        socket_dir: PathBuf::new(),
        port: 0,
        unit: None,
        clients: row.get(0),
        standbys: row.get(1),
        slots: row.get(2),
        since_checkpoint: row.get(3),
        values: values.iter().map(|row| (row.get(0), row.get(1))).collect(),
        role,
        lacks,
        admitted: row.get(5),
    })
}

/// The port and the first socket's directory, as the server has written them down.
fn sockets(data_dir: &Path) -> Result<(u16, PathBuf), PostgresError> {
    let path = lockfile::lock_path(data_dir);
    let text = fs::read_to_string(&path).map_err(PostgresError::file("read", &path))?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let port = lines.get(3).and_then(|port| port.parse().ok());
    match (port, lines.get(4).filter(|dir| !dir.is_empty())) {
        (Some(port), Some(dir)) => Ok((port, PathBuf::from(dir))),
        _ => Err(PostgresError::Setting {
            setting: "unix_socket_directories".into(),
            expected: "a unix socket, through which the agent connects",
            got: "none (see postmaster.pid)".into(),
        }),
    }
}

/// The systemd unit whose processes it is among.
fn unit(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let name = text.lines().find_map(|line| line.rsplit('/').find(|part| part.ends_with(".service")))?;
    Some(name.to_owned()).filter(|name| name.contains("postgres"))
}

/// The parameters on the command line of the last start, as Postgres has noted it.
fn command_line(data_dir: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(data_dir.join("postmaster.opts")).unwrap_or_default();
    // The program, then each argument in double quotes.
    let mut arguments = text.split('"').skip(1).step_by(2);
    let mut found = Vec::new();
    while let Some(argument) = arguments.next() {
        let letter = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        let (letter, joined) = match letter {
            Some(rest) => rest.split_at(rest.len().min(1)),
            None => ("", ""),
        };
        let name = match letter {
            "p" => "port",
            "h" => "listen_addresses",
            "k" => "unix_socket_directories",
            "N" => "max_connections",
            "B" => "shared_buffers",
            "S" => "work_mem",
            "F" => {
                found.push(("fsync".to_owned(), "off".to_owned()));
                continue;
            }
            "D" => "data_directory",
            "c" => "",
            _ => {
                found.extend(argument.strip_prefix("--").and_then(pair));
                continue;
            }
        };
        let value = if joined.is_empty() { arguments.next().unwrap_or_default() } else { joined };
        match name {
            "" => found.extend(pair(value)),
            name => found.push((name.to_owned(), value.to_owned())),
        }
    }
    found
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((name.replace('-', "_").to_ascii_lowercase(), value.to_owned()))
}

/// What of the command line goes into the agent's file: what it does not decide itself.
fn carried(settings: &Settings, command_line: &[(String, String)]) -> Vec<(String, String)> {
    let required = config::required(settings, &super::own::Kept::default());
    let decided = |name: &str| required.iter().any(|(required, _)| *required == name);
    let carries = |(name, _): &&(String, String)| {
        let name = name.as_str();
        !OF_THE_START.contains(&name) && !MOVED.contains(&name) && !decided(name)
    };
    command_line.iter().filter(carries).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_the_last_start_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(command_line(dir.path()), []);
        let text = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/srv/my data\" \"-c\" \"config_file=/etc/pg.conf\" \
                    \"-p\" \"5433\" \"-N200\" \"--work-mem=8MB\" \"-F\" \"-i\"\n";
        fs::write(dir.path().join("postmaster.opts"), text).unwrap();
        let found = command_line(dir.path());
        let expected = [
            ("data_directory", "/srv/my data"),
            ("config_file", "/etc/pg.conf"),
            ("port", "5433"),
            ("max_connections", "200"),
            ("work_mem", "8MB"),
            ("fsync", "off"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let kept = carried(&Settings::new("a", "/srv/a"), &found);
        assert_eq!(
            kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["max_connections", "work_mem"]
        );
    }
}
