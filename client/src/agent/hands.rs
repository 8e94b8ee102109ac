//! What is done to Postgres: one task at a time, as the core asks, its end sent back as an event.

use super::eyes::{Followed, Look};
use super::hooks::{HookError, Hooks, Occasion};
use super::{Config, in_words};
use crate::postgres::{self, Mode, PostgresError, Rewind, Role, Server, Stopped};
use regent_core::agent::{Event, Task, Upstream};
use regent_core::ids::{Epoch, InstanceName, Lsn};
use regent_core::tail::Tail;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long a clean stop may take before it is made a hard one.
const CLEAN_STOP: Duration = Duration::from_secs(5);
/// The same for an immediate stop.
const HARD_STOP: Duration = Duration::from_secs(1);
/// How often a Postgres that is being promoted or started is asked whether it is there.
const POLL: Duration = Duration::from_millis(3);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(120);

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
    events: mpsc::Sender<Event>,
    look: Arc<Look>,
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
        Hands { kit: Arc::new(Kit { server, routes, instance, lost, hooks, events, look }), asking: None }
    }

    /// Has that instance say how far it has flushed from now on, in place of whom was asked before.
    pub fn ask(&mut self, of: Option<Upstream>) {
        let kit = self.kit.clone();
        self.asking = of.map(|of| AbortOnDropHandle::new(tokio::spawn(async move { kit.ask(&of).await })));
    }

    /// Begins a task, in the office of that epoch if it is about one; its end comes back as `Event::Done`.
    pub fn begin(&self, task: Task, office: Epoch) {
        let kit = self.kit.clone();
        tokio::spawn(async move {
            let result = match kit.may(&task, office).await {
                Ok(()) => kit.carry_out(&task).await.map_err(|error| in_words(&error)),
                Err(veto) => Err(veto.to_string()),
            };
            // The core must not decide on what it saw before.
            kit.look.afresh().await;
            let _ = kit.events.send(Event::Done(task, result)).await;
        });
    }
}

impl Kit {
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

    async fn carry_out(&self, task: &Task) -> Result<(), PostgresError> {
        match task {
            Task::Initialise => self.server.initialise().await,
            Task::Clone(from) => self.clone_from(from).await,
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

    async fn clone_from(&self, from: &Upstream) -> Result<(), PostgresError> {
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
        let cloned = Server::clone_from(&self.server, &self.route(from)?, &mut progress).await?;
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
            let gone = matches!(answer, Err(PostgresError::NotRunning(_)));
            if let Err(error) = answer
                && (gone || tokio::time::Instant::now() > deadline)
            {
                return Err(error);
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

/// How much of a copy is there: `pg_basebackup` says `23456/45678 kB (51%), 0/1 tablespace`.
fn percent(line: &str) -> Option<u8> {
    line.split_once(" kB (")?.1.split_once('%')?.0.parse().ok()
}
