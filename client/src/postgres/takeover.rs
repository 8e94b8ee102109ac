//! Taking over a server that the agent has not made, and giving it back. Each is one restart at most, and nothing when the
//! server is stopped. What is changed in its files is told by [`Survey`], and undone by the same names.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::PostgresError;
use super::files::off_thread;
use super::initialise::{create_role, grant};
use super::own::{self, Own};
use super::run::{given, ports_are_free};
use super::settings::Settings;
use super::survey::{Live, MOVED, Survey};
use super::{Mode, Role, Server, config, configure, files, session};

/// How long a server may take to write its last checkpoint, and to come up.
const PATIENCE: Duration = Duration::from_secs(120);

/// As what a server is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// Whether it goes on as a primary, without what would make it a standby.
    pub primary: bool,
    /// Lines for the file that `ALTER SYSTEM` writes.
    pub auto: Vec<(String, String)>,
}

impl Server {
    /// Makes what the other instances connect as, as far as it is missing; says what it did.
    pub async fn make_replication_role(&self, live: &Live) -> Result<Vec<String>, PostgresError> {
        let mut statements: Vec<String> = Vec::new();
        if !live.role {
            statements.push(create_role(&self.settings));
        }
        statements.extend(live.lacks.iter().map(|function| grant(&self.settings, function)));
        if statements.is_empty() {
            return Ok(statements);
        }
        let (client, driver) = session::connect(&self.settings).await?;
        let done = client.batch_execute(&statements.join(";\n")).await;
        driver.abort();
        done.map_err(|error| session::failed(&self.settings, &error))?;
        Ok(statements)
    }

    /// Ends the server in order, after a checkpoint that it makes while it still serves.
    pub async fn stop_in_order(&self) -> Result<(), PostgresError> {
        if self.running().is_some()
            && let Err(error) = self.checkpoint().await
        {
            tracing::warn!(%error, "no checkpoint before the stop, which will take longer for it");
        }
        self.stop(Mode::Fast, PATIENCE).await.map(drop)
    }

    /// Writes the agent's files, and the line that leads to them. For a stopped server.
    pub async fn take_files(&self, survey: &Survey) -> Result<(), PostgresError> {
        let (settings, upstream) = (self.settings.clone(), survey.upstream().unwrap_or_default().to_owned());
        off_thread(move || {
            let (dir, owner) = (&settings.data_dir, settings.run_as);
            own::take_out(dir, &MOVED)?;
            write_one(dir, config::UPSTREAM_FILE, "primary_conninfo", &upstream, owner)?;
            write_one(dir, config::SYNCHRONOUS_FILE, "synchronous_standby_names", "", owner)?;
            configure::write_fixed(&settings, dir)
        })
        .await
    }

    /// Starts an adopted server as a standby: of whom it followed before, or of nobody. So it serves reads and cannot be
    /// written to before the group has made it the primary. Fails when its gate is not armed.
    pub async fn start_adopted(&self, survey: &Survey) -> Result<(), PostgresError> {
        {
            let _alone = self.changing.lock().await;
            self.make_way().await?;
            ports_are_free(&self.settings)?;
            self.prepare(&Role::Standby { upstream: None }).await?;
            self.take_files(survey).await?;
            self.launch(given(&self.settings)?).await?;
        }
        let armed = |seen: &super::Observation| seen.accepting && seen.gate_armed;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.observe().await;
            if armed(&seen) {
                return Ok(());
            }
            if seen.accepting || seen.pid.is_none() || Instant::now() > deadline {
                let what = match seen.trouble {
                    _ if seen.accepting => "it runs, but its gate is not armed".to_owned(),
                    Some(trouble) => trouble,
                    None => "it ended".to_owned(),
                };
                return Err(session::sql(&self.settings, what));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Removes the agent's files and the line, and makes it what it is given back as. For a stopped server.
    pub async fn give_files_back(&self, own: &Own, back: Back) -> Result<(), PostgresError> {
        let (settings, own) = (self.settings.clone(), own.clone());
        off_thread(move || {
            let dir = &settings.data_dir;
            own.exclude(dir)?;
            own::put_back(dir, &back.auto, settings.run_as)?;
            if back.primary {
                files::remove_if_there(&dir.join("standby.signal"))?;
            }
            config::FILES.iter().try_for_each(|name| files::remove_if_there(&dir.join(name)))
        })
        .await
    }

    /// Starts the server as its operator's own: with its own files, and with what it was given on its command line.
    pub async fn start_as_own(&self, own: &Own) -> Result<i32, PostgresError> {
        let _alone = self.changing.lock().await;
        self.make_way().await?;
        let file = own.config_file.iter().map(|file| ("config_file".to_owned(), file.display().to_string()));
        self.launch(file.chain(own.carried.iter().cloned()).collect()).await
    }

    /// From whom the agent's file makes it stream, if it is there and names anybody.
    pub fn filed_upstream(&self) -> Result<Option<String>, PostgresError> {
        let found = super::conf::read_if_there(&self.data_dir().join(config::UPSTREAM_FILE))?;
        let conninfo = found.get("primary_conninfo").map(|setting| setting.value.clone());
        Ok(conninfo.filter(|conninfo| !conninfo.is_empty()))
    }
}

fn write_one(
    dir: &Path,
    file: &str,
    name: &str,
    value: &str,
    owner: Option<super::RunAs>,
) -> Result<(), PostgresError> {
    files::write_if_different(&dir.join(file), &config::single(name, value), owner)
}

impl Settings {
    /// The same server as it is reached now, before it is adopted.
    pub fn before(&self, live: &Live) -> Settings {
        Settings { socket_dir: live.socket_dir.clone(), port: live.port, ..self.clone() }
    }
}
