//! Starting, adopting, watching and stopping the postmaster.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::error::PostgresError;
use super::files::off_thread;
use super::lockfile::{self, Holder};
use super::process::{Postmaster, kill_children, kill_leftovers};
use super::settings::{Settings, Upstream};
use super::{Server, config, configure, files, log, timelines};

/// How long a postmaster may take to open its sockets; recovery comes after that.
const LISTEN_PATIENCE: Duration = Duration::from_secs(30);

/// As what to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Writable as soon as it has recovered.
    Primary,
    /// Replays what it has, and streams from the upstream if one is given.
    Standby {
        /// Whom to follow.
        upstream: Option<Upstream>,
    },
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ends sessions, writes a checkpoint, sends all log to the standbys.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
    /// SIGKILL. Only ever an outcome: `stop` comes to it when the others do not help.
    Killed,
}

/// How stopping went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing was running.
    WasNotRunning,
    /// It ended, by what was needed in the end.
    By(Mode),
}

/// What was found running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// A server, now supervised.
    Running {
        /// Its postmaster.
        pid: i32,
    },
    /// Nothing. What a dead postmaster left behind has been killed.
    NotRunning {
        /// How many processes that were.
        leftovers: usize,
    },
}

/// A postmaster ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its process.
    pub pid: i32,
    /// How; unknown when it was not started by this agent.
    pub status: Option<ExitStatus>,
    /// Whether `stop` had asked it to.
    pub asked: bool,
}

impl Server {
    /// Starts the postmaster, and returns its process when it listens. Recovery goes on after that: see `observe`.
    pub async fn start(&self, role: &Role) -> Result<i32, PostgresError> {
        let _alone = self.changing.lock().await;
        let cluster = self.expect_cluster().await?;
        if *role == Role::Primary && cluster.was_standby() {
            return Err(PostgresError::WasStandby { path: self.data_dir().to_owned(), state: cluster.state });
        }
        self.make_way().await?;
        ports_are_free(&self.settings)?;
        self.prepare(role).await?;
        let given = given(&self.settings)?;
        self.launch(given).await
    }

    /// Starts what is prepared, with these parameters on its command line, and returns its process when it listens.
    pub(super) async fn launch(&self, given: Vec<(String, String)>) -> Result<i32, PostgresError> {
        let before = log::length(&self.settings.log_file);
        let settings = self.settings.clone();
        let program = self.binaries.path("postgres");
        let child = off_thread(move || spawn(&settings, &program, &given)).await?;
        let postmaster = Postmaster::of_child(child)
            .map_err(PostgresError::file("hold the process started from", self.binaries.path("postgres")))?;
        let postmaster = self.supervise(postmaster);
        self.until_listening(&postmaster, before).await?;
        Ok(postmaster.pid)
    }

    /// Finds a server that an earlier agent left running, and supervises it without touching it.
    pub async fn adopt(&self) -> Result<Adopted, PostgresError> {
        let _alone = self.changing.lock().await;
        match lockfile::holder(self.data_dir())? {
            Holder::Server(postmaster) => {
                let pid = self.supervise(postmaster).pid;
                Ok(Adopted::Running { pid })
            }
            Holder::SingleUser(pid) => Err(PostgresError::Running { pid, path: self.data_dir().to_owned() }),
            Holder::Nobody | Holder::Stale(_) => {
                self.postmaster.send_replace(None);
                Ok(Adopted::NotRunning { leftovers: kill_leftovers(self.data_dir()).await? })
            }
        }
    }

    /// Resolves when the supervised postmaster ends, within milliseconds, once for each. While none is supervised it waits
    /// for one.
    pub async fn wait_exit(&self) -> Exit {
        let mut watched = self.postmaster.subscribe();
        loop {
            let current = watched.borrow_and_update().clone();
            let Some(postmaster) = current else {
                // The sender lives as long as this server does.
                let _ = watched.changed().await;
                continue;
            };
            tokio::select! {
                status = postmaster.ended() => {
                    if self.forget(&postmaster) {
                        return Exit { pid: postmaster.pid, status, asked: postmaster.was_asked() };
                    }
                }
                _ = watched.changed() => {}
            }
        }
    }

    /// Stops the server, harder each time `patience` runs out: fast, immediate, SIGKILL. When it returns, no process of the
    /// server is left. May be dropped and called again.
    pub async fn stop(&self, mode: Mode, patience: Duration) -> Result<Stopped, PostgresError> {
        let Some(postmaster) = self.running() else {
            kill_leftovers(self.data_dir()).await?;
            return Ok(Stopped::WasNotRunning);
        };
        postmaster.ask();
        let steps = [
            (Mode::Fast, Signal::SIGINT),
            (Mode::Immediate, Signal::SIGQUIT),
            (Mode::Killed, Signal::SIGKILL),
        ];
        for (step, signal) in steps.into_iter().skip_while(|(step, _)| *step != mode) {
            if step == Mode::Killed {
                // A child that waits for its disk does not die. Then the postmaster stays, so that what runs is known,
                // and this is asked for again.
                kill_children(self.data_dir(), postmaster.pid).await?;
            }
            postmaster.signal(signal);
            if postmaster.ends_within(patience).await {
                kill_leftovers(self.data_dir()).await?;
                self.session.lock().await.take();
                return Ok(Stopped::By(step));
            }
        }
        Err(PostgresError::Unkillable { pids: vec![postmaster.pid] })
    }

    /// Ends the streams of these standbys, so that a clean stop does not wait for them. A server that stops takes no new
    /// connections: who is cut off does not come back before it has stopped.
    pub async fn end_streams(&self, of: &[String]) -> Result<(), PostgresError> {
        let of = of.to_vec();
        let question =
            "select pg_terminate_backend(pid) from pg_stat_replication where application_name = any($1)";
        self.query(|session| async move { session.client.execute(question, &[&of]).await.map(drop) }).await
    }

    fn supervise(&self, postmaster: Postmaster) -> Arc<Postmaster> {
        let postmaster = Arc::new(postmaster);
        self.postmaster.send_replace(Some(postmaster.clone()));
        postmaster
    }

    /// Ends the supervision of this one; whether it was supervised.
    fn forget(&self, postmaster: &Arc<Postmaster>) -> bool {
        self.postmaster.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, postmaster));
            if same {
                *current = None;
            }
            same
        })
    }

    /// Makes sure that nothing works in the directory, and that nothing looks as if it did.
    pub(super) async fn make_way(&self) -> Result<(), PostgresError> {
        let stale = match lockfile::holder(self.data_dir())? {
            Holder::Server(Postmaster { pid, .. }) | Holder::SingleUser(pid) => {
                return Err(PostgresError::Running { pid, path: self.data_dir().to_owned() });
            }
            Holder::Stale(pid) => Some(pid),
            Holder::Nobody => None,
        };
        kill_leftovers(self.data_dir()).await?;
        if let Some(pid) = stale {
            // Postgres itself goes by the number alone, and would refuse to start.
            tracing::info!(
                pid,
                "postmaster.pid names a process that is no server of this directory: removed"
            );
            let path = lockfile::lock_path(self.data_dir());
            off_thread(move || files::remove_if_there(&path)).await?;
        }
        Ok(())
    }

    pub(super) async fn prepare(&self, role: &Role) -> Result<(), PostgresError> {
        let settings = self.settings.clone();
        let standby = *role != Role::Primary;
        off_thread(move || {
            files::make_directory(&settings.socket_dir, settings.run_as)?;
            configure::write_fixed(&settings, &settings.data_dir)?;
            files::remove_if_there(&settings.data_dir.join("recovery.signal"))?;
            // Left by a promotion that a crash interrupted, it would promote this start.
            files::remove_if_there(&settings.data_dir.join("promote"))?;
            timelines::settle(&settings.data_dir, settings.run_as)?;
            let signal = settings.data_dir.join("standby.signal");
            if standby {
                files::write_if_different(&signal, "", settings.run_as)
            } else {
                files::remove_if_there(&signal)
            }
        })
        .await?;
        match role {
            Role::Primary => Ok(()),
            Role::Standby { upstream } => self.write_upstream(upstream.as_ref()).await,
        }
    }

    /// Waits until it says that its sockets are open, or ends.
    async fn until_listening(&self, postmaster: &Arc<Postmaster>, before: u64) -> Result<(), PostgresError> {
        let deadline = Instant::now() + LISTEN_PATIENCE;
        let log = self.settings.log_file.clone();
        loop {
            if postmaster.ends_within(Duration::from_millis(2)).await {
                self.forget(postmaster);
                let status = postmaster.ended().await;
                let status = status.map_or("unknown".to_owned(), |status| status.to_string());
                let tail = log::since(&log, before);
                return Err(PostgresError::StartFailed { status, log, tail });
            }
            let lock = lockfile::read(self.data_dir());
            if lock.is_some_and(|lock| lock.pid == postmaster.pid && lock.listening) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seconds = LISTEN_PATIENCE.as_secs();
                return Err(PostgresError::StartTimeout { pid: postmaster.pid, seconds, log });
            }
        }
    }
}

/// Postgres would start with a warning if only one of several addresses is taken, and serve half of its clients.
pub(super) fn ports_are_free(settings: &Settings) -> Result<(), PostgresError> {
    let port = settings.port;
    for address in &settings.listen_addresses {
        let host = if address == "*" { "0.0.0.0" } else { address.as_str() };
        match TcpListener::bind((host, port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(PostgresError::PortInUse { address: address.clone(), port });
            }
            // Whatever else it is, Postgres says it better.
            _ => {}
        }
    }
    Ok(())
}

/// What beats every file: all that has to hold while the agent is responsible.
pub(super) fn given(settings: &Settings) -> Result<Vec<(String, String)>, PostgresError> {
    let elsewhere = settings.own.as_ref().and_then(|own| own.config_file.as_ref());
    let file = elsewhere.map(|file| ("config_file".to_owned(), file.display().to_string()));
    let required = config::required(settings, &settings.kept(&settings.data_dir)?);
    Ok(file.into_iter().chain(required.into_iter().map(|(name, value)| (name.to_owned(), value))).collect())
}

fn spawn(
    settings: &Settings,
    program: &std::path::Path,
    given: &[(String, String)],
) -> Result<std::process::Child, PostgresError> {
    let log = log::open(&settings.log_file, settings.run_as)?;
    let errors = log.try_clone().map_err(PostgresError::file("open", &settings.log_file))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.arg("-D").arg(&settings.data_dir).current_dir("/");
    for (name, value) in given {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    if let Some(run_as) = settings.run_as {
        command.uid(run_as.uid).gid(run_as.gid);
    }
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    // SAFETY: both are plain system calls, and nothing else is done between fork and exec.
    unsafe {
        command.pre_exec(|| {
            keep_no_privilege();
            nix::unistd::setsid().map(drop).map_err(std::io::Error::from)
        });
    }
    command.spawn().map_err(|source| PostgresError::Spawn { program: program.to_owned(), source })
}

/// An agent that fences its Postgres's port in the kernel may have been given the power to by its service manager, to hand on to
/// `nft`: Postgres, whose superusers run programs, must not be able to open that fence.
fn keep_no_privilege() {
    let (clear, none): (libc::c_int, libc::c_ulong) = (libc::PR_CAP_AMBIENT_CLEAR_ALL, 0);
    // SAFETY: changes nothing but this process's ambient capabilities. A kernel that has none fails, and has none to keep.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, clear as libc::c_ulong, none, none, none);
    }
}
