//! What is done to Postgres: one task at a time, as the core asks, its end sent back as an event.
//!
//! An end always comes. A task that panics has failed; one that shows no sign of going on is given up, and has failed. What is
//! given up is ended, its programs with all that they have started; what cannot be ended (a file operation on a frozen disk, a
//! process that waits for one) is waited for by whatever would be done in the directory next, but never by a stop.

use super::eyes::{Followed, Look};
use super::hooks::{self, HookError, Hooks, Occasion};
use super::outcome::outcome;
use super::{Config, in_words};
use crate::postgres::{self, CloneCommand, Mode, PostgresError, Rewind, Role, Server, Stopped};
use crate::work::Work;
use regent_core::agent::{Event, Task, Upstream};
use regent_core::ids::{Epoch, InstanceName, Lsn};
use regent_core::tail::Tail;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How long a clean stop may take before it is made a hard one.
const CLEAN_STOP: Duration = Duration::from_secs(5);
/// The same for an immediate stop.
const HARD_STOP: Duration = Duration::from_secs(1);
/// How often a Postgres that is being promoted or started is asked whether it is there.
const POLL: Duration = Duration::from_millis(3);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a task that copies or rewinds may show no sign of going on. Flushing what was copied to a slow disk says little.
const SILENCE: Duration = Duration::from_secs(600);
/// The same for one that starts or promotes: longer than what it waits for by itself.
const STARTING: Duration = Duration::from_secs(300);
/// The same for one that stops: through all its steps, each of them longer than a healthy server needs.
const STOPPING: Duration = Duration::from_secs(60);
/// The same for one that changes a setting of a running server. While it lasts, no stop begins.
const SETTING: Duration = Duration::from_secs(30);

/// How long ending the streams of standbys may take: a stop that waits for them is worth less than that.
const CUT: Duration = Duration::from_millis(100);
/// How long until a connection that failed is made again.
const AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Hands {
    kit: Arc<Kit>,
    /// Who is asked how far it has flushed.
    asking: Option<AbortOnDropHandle<()>>,
}

struct Kit {
    server: Arc<Server>,
    /// How to reach an instance from here, where that differs from the address it registered.
    routes: BTreeMap<String, String>,
    instance: InstanceName,
    /// Where what a change of primary left behind is kept.
    lost: PathBuf,
    hooks: Hooks,
    /// What makes copies, if not `pg_basebackup`.
    copier: Option<CloneCommand>,
    events: mpsc::Sender<Event>,
    look: Arc<Look>,
    /// What is under way, whether it is still waited for or not.
    left: TaskTracker,
    patience: fn(&Task) -> Duration,
}

impl Hands {
    pub fn new(
        server: Arc<Server>,
        config: &Config,
        hooks: Hooks,
        events: mpsc::Sender<Event>,
        look: Arc<Look>,
    ) -> Hands {
        let (routes, instance) = (config.routes.clone(), config.instance.clone());
        let lost = config.state_dir.join("lost");
        let copier = config.clone.as_ref().map(|clone| CloneCommand {
            command: clone.command.clone(),
            timeout: Duration::from_secs(clone.timeout_s),
            environment: hooks::environment(config),
        });
        let left = TaskTracker::new();
        left.close(); // so that it can be waited for until it is empty
        let kit = Kit { server, routes, instance, lost, hooks, copier, events, look, left, patience };
        Hands { kit: Arc::new(kit), asking: None }
    }

    /// Has that instance say how far it has flushed from now on, in place of whom was asked before.
    pub fn ask(&mut self, of: Option<Upstream>) {
        let kit = self.kit.clone();
        self.asking = of.map(|of| AbortOnDropHandle::new(tokio::spawn(async move { kit.ask(&of).await })));
    }

    /// Begins a task, in the office of that epoch if it is about one, in the group with that database; its end comes back as `Event::Done`.
    pub fn begin(&self, task: Task, office: Epoch, database: Option<u64>) {
        let kit = self.kit.clone();
        tokio::spawn(async move {
            let (doing, what) = (kit.clone(), task.clone());
            let work = async move {
                doing.may(&what, office).await.map_err(|veto| veto.to_string())?;
                doing.carry_out(&what, database).await.map_err(|error| in_words(&error))
            };
            kit.see_through(task, work).await;
        });
    }
}

impl Kit {
    /// Has the work done, and reports its end, whatever that is.
    async fn see_through(&self, task: Task, work: impl Future<Output = Result<(), String>> + Send + 'static) {
        let patience = (self.patience)(&task);
        let result = match self.place_for(&task, patience).await {
            Ok(()) => outcome(Work::new(&self.left), patience, work).await,
            Err(occupied) => Err(occupied),
        };
        // The core must not decide on what it saw before.
        self.look.afresh().await;
        let _ = self.events.send(Event::Done(task, result)).await; // the agent has ended if it does not listen
    }

    /// Nothing is done to a directory beside what was given up and could not be ended. A stop touches none.
    async fn place_for(&self, task: &Task, patience: Duration) -> Result<(), String> {
        if stops(task) || matches!(task, Task::Checkpoint { .. }) {
            return Ok(());
        }
        tokio::time::timeout(patience, self.left.wait()).await.map_err(|_| {
            "what was given up before could not be ended: its disk may hang; nothing else is begun until it is gone".to_owned()
        })
    }

    /// The operator's word on a promotion.
    async fn may(&self, task: &Task, office: Epoch) -> Result<(), HookError> {
        match task {
            Task::Promote { .. } => {
                let occasion = Occasion { role: regent_core::message::Role::Primary, epoch: office };
                self.hooks.before_promote(&occasion).await
            }
            _ => Ok(()),
        }
    }

    async fn carry_out(&self, task: &Task, database: Option<u64>) -> Result<(), PostgresError> {
        match task {
            Task::Initialise => self.server.initialise().await,
            Task::Clone(from) => self.clone_from(from, database).await,
            Task::Keep { from, epoch } => self.keep(from, *epoch).await,
            Task::Rewind(from) => self.rewind(from).await,
            Task::StartPrimary => self.start(Role::Primary, None).await,
            Task::StartStandby(of) => {
                let followed = of.as_ref().map(|of| self.followed(of)).transpose()?;
                let upstream = followed.as_ref().map(|followed| followed.at.clone());
                self.start(Role::Standby { upstream }, followed).await
            }
            Task::Promote { timeline } => self.promote(*timeline).await,
            Task::Synchronise(waits) => self.server.set_synchronous_names(&postgres::at_places(waits)).await,
            Task::Follow(of) => {
                let followed = self.followed(of)?;
                self.server.follow(&followed.at).await?;
                self.look.follows(Some(followed));
                Ok(())
            }
            Task::Checkpoint { within } => self.checkpoint(*within).await,
            Task::StopImmediately => self.stop(Mode::Immediate, HARD_STOP).await,
            Task::StopCleanly => self.stop(Mode::Fast, CLEAN_STOP).await,
            Task::StopFor { without } => self.stop_for(without).await,
        }
    }

    /// Asks for as long as somebody wants to know.
    async fn ask(&self, of: &Upstream) {
        loop {
            let mut say = |flushed: postgres::Lsn| {
                let reached = Event::Reached { instance: of.instance.clone(), flushed: Lsn(flushed.0) };
                let _ = self.events.try_send(reached); // the next one will do as well
            };
            let ended = match self.route(of) {
                Ok(at) => self.server.hear_flushed(&at, &mut say).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                tracing::warn!(instance = %of.instance, "does not say how far it is: {}", in_words(&error));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn route(&self, to: &Upstream) -> Result<postgres::Upstream, PostgresError> {
        let address = self.routes.get(to.instance.as_str()).unwrap_or(&to.address);
        let parsed = address.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some(postgres::Upstream { host: host.to_owned(), port: port.parse().ok()? })
        });
        parsed.ok_or_else(|| PostgresError::Setting {
            setting: format!("address of {}", to.instance),
            expected: "host:port",
            got: address.clone(),
        })
    }

    fn followed(&self, upstream: &Upstream) -> Result<Followed, PostgresError> {
        Ok(Followed { upstream: upstream.clone(), at: self.route(upstream)? })
    }

    async fn clone_from(&self, from: &Upstream, database: Option<u64>) -> Result<(), PostgresError> {
        let (instance, events) = (from.instance.clone(), self.events.clone());
        let mut last = None;
        let mut progress = move |line: &str| match percent(line) {
            // It says so every second: what is new is worth a line.
            Some(percent) if last.replace(percent) == Some(percent) => {}
            Some(percent) => {
                tracing::info!(from = %instance, "cloning: {line}");
                let _ = events.try_send(Event::Copied(percent)); // the next one will do as well
            }
            None => tracing::info!(from = %instance, "cloning: {line}"),
        };
        let at = self.route(from)?;
        let cloned = match (&self.copier, database) {
            (Some(copier), Some(database)) => {
                self.server.clone_by(copier, &at, database, &mut progress).await?
            }
            (Some(_), None) => {
                tracing::info!(
                    "the clone command is not used: in this mode a backup may lack what was acknowledged"
                );
                Server::clone_from(&self.server, &at, &mut progress).await?
            }
            (None, _) => Server::clone_from(&self.server, &at, &mut progress).await?,
        };
        if let Some(replaced) = cloned.replaced {
            tracing::warn!(kept = %replaced.display(), "the data directory was replaced; the old one is kept");
        }
        Ok(())
    }

    async fn keep(&self, from: &Upstream, epoch: Epoch) -> Result<(), PostgresError> {
        let upstream = self.route(from)?;
        let Some(kept) = self.server.keep_tail(&upstream, &self.lost, epoch.0).await? else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let tail = Tail {
            instance: self.instance.clone(),
            epoch,
            timeline: kept.timeline,
            from: Lsn(kept.from.0),
            to: Lsn(kept.to.0),
            commits: kept.commits,
            kept: kept.path.display().to_string(),
            found_unix_ms: u64::try_from(now.as_millis()).unwrap_or_default(),
        };
        let _ = self.events.send(Event::Kept(tail)).await; // the agent has ended if it does not listen
        Ok(())
    }

    async fn rewind(&self, from: &Upstream) -> Result<(), PostgresError> {
        match self.server.rewind_from(&self.route(from)?).await? {
            Rewind::NotNeeded => tracing::info!(from = %from.instance, "nothing had to be rewound"),
            Rewind::Rewound { diverged_at, timeline } => {
                tracing::warn!(from = %from.instance, %diverged_at, timeline, "rewound: what came after was only here");
            }
            Rewind::Failed { reason } => {
                return Err(PostgresError::Tool {
                    program: "pg_rewind".into(),
                    status: "failed".into(),
                    output: reason,
                });
            }
        }
        Ok(())
    }

    async fn start(&self, role: Role, follows: Option<Followed>) -> Result<(), PostgresError> {
        self.server.start(&role).await?;
        self.look.follows(follows);
        self.until(|answer| answer.is_ok()).await
    }

    async fn promote(&self, onto: Option<u32>) -> Result<(), PostgresError> {
        match onto {
            Some(timeline) => self.server.promote_onto(timeline).await?,
            None => self.server.promote().await?,
        }
        self.until(|answer| matches!(answer, Ok(false))).await?;
        self.look.follows(None);
        // Others can be rewound to this instance only after a checkpoint on the new timeline.
        let server = self.server.clone();
        tokio::spawn(async move {
            say_if_other(onto, server.observe().await.timeline);
            if let Err(error) = server.checkpoint().await {
                tracing::warn!(%error, "no checkpoint after the promotion: rewinding others has to wait for the next");
            }
        });
        Ok(())
    }

    /// Waits until asking whether Postgres is in recovery gets the wanted answer.
    async fn until(
        &self,
        wanted: impl Fn(&Result<bool, PostgresError>) -> bool,
    ) -> Result<(), PostgresError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.server.in_recovery().await;
            if wanted(&answer) {
                return Ok(());
            }
            if let Err(error) = answer {
                // Who listened and died since will not answer any more.
                self.server.must_run()?;
                if tokio::time::Instant::now() > deadline {
                    return Err(error);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn checkpoint(&self, within: Duration) -> Result<(), PostgresError> {
        tokio::time::timeout(within, self.server.checkpoint()).await.unwrap_or_else(|_| {
            Err(PostgresError::Tool {
                program: "postgres".into(),
                status: format!("CHECKPOINT has not ended within {} ms", within.as_millis()),
                output: "it goes on by itself: try again later, or give it more time".into(),
            })
        })
    }

    async fn stop(&self, mode: Mode, patience: Duration) -> Result<(), PostgresError> {
        if mode == Mode::Fast && self.server.in_recovery().await.unwrap_or(false) {
            // What a standby would write while it stops is written before. A primary's is a step of its own.
            let _ = tokio::time::timeout(CLEAN_STOP, self.server.checkpoint()).await;
        }
        self.stop_in(mode, patience).await
    }

    /// Of those who stream, only who is left is waited for.
    async fn stop_for(&self, without: &BTreeSet<InstanceName>) -> Result<(), PostgresError> {
        let names: Vec<String> = without.iter().map(InstanceName::to_string).collect();
        if names.is_empty() {
            return self.stop(Mode::Fast, CLEAN_STOP).await;
        }
        match tokio::time::timeout(CUT, self.server.end_streams(&names)).await {
            Ok(Ok(())) => {}
            // Then the stop takes as long as they do.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the streams of {} could not be ended", names.join(", "))
            }
            Err(_) => tracing::warn!("the streams of {} were not ended in time", names.join(", ")),
        }
        self.stop_in(Mode::Fast, CLEAN_STOP).await
    }

    async fn stop_in(&self, mode: Mode, patience: Duration) -> Result<(), PostgresError> {
        match self.server.stop(mode, patience).await? {
            Stopped::By(how) if mode == Mode::Fast && how != Mode::Fast => Err(PostgresError::Tool {
                program: "postgres".into(),
                status: format!("did not stop cleanly within {} s", patience.as_secs()),
                output: "what it had not sent to its standbys yet is only here".into(),
            }),
            _ => Ok(()),
        }
    }
}

fn stops(task: &Task) -> bool {
    matches!(task, Task::StopImmediately | Task::StopCleanly | Task::StopFor { .. })
}

/// How long a task may show no sign of going on before it is given up.
fn patience(task: &Task) -> Duration {
    match task {
        Task::Initialise | Task::Clone(_) | Task::Keep { .. } | Task::Rewind(_) => SILENCE,
        Task::StartPrimary | Task::StartStandby(_) | Task::Promote { .. } => STARTING,
        Task::StopImmediately | Task::StopCleanly | Task::StopFor { .. } => STOPPING,
        Task::Synchronise(_) | Task::Follow(_) => SETTING,
        Task::Checkpoint { within } => *within + SETTING,
    }
}

/// Only where somebody else has used that number, or a later one.
fn say_if_other(wanted: Option<u32>, got: Option<u32>) {
    if let (Some(wanted), Some(got)) = (wanted, got)
        && wanted != got
    {
        tracing::warn!(
            wanted,
            got,
            "promoted onto another timeline than that of its epoch: a history of that number was there already, perhaps in an \
             archive that several clusters share"
        );
    }
}

/// How much of a copy is there: `pg_basebackup` says `23456/45678 kB (51%), 0/1 tablespace`, others say it in their own way.
fn percent(line: &str) -> Option<u8> {
    let before = line.split_once('%')?.0.trim_end();
    let number = before.rsplit(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let whole = number.split('.').next()?.parse().ok()?;
    (whole <= 100).then_some(whole)
}

#[cfg(test)]
#[path = "hands_tests.rs"]
mod tests;
