//! The agent's shell: one loop that hands events to the pure `Agent::step` and carries out what it returns, in order.
//!
//! Nothing here decides. The loop owns the clock, the lease file and the durable record; links to the witnesses (`link`),
//! what Postgres is doing (`eyes`), whether it commits (`pulse`), the WAL it keeps for others (`slots`) and what is done to it (`hands`) are tasks of their own, so
//! that a slow one of them never keeps a report from being sent or the gate from being written.

pub mod adoption;
mod audit;
mod config;
mod eyes;
pub mod fence;
mod hands;
mod hooks;
mod link;
mod outcome;
mod pulse;
mod slots;
mod store;

pub use config::{CloneConfig, Config, ConfigError, FenceConfig, LogFormat};
pub use hooks::{HookError, HooksConfig};

use crate::gate::{GateError, LeaseFile, boottime_ns};
use crate::postgres::{Adopted, PostgresError, Server, Settings};
use audit::Audit;
use fence::Fence;
use hooks::{Crier, Hooks};
use regent_core::agent::{Agent, Durable, Effect, Event, Identity};
use regent_core::ids::NodeId;
use regent_core::state::TTL_RANGE;
use regent_core::time::Time;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::mpsc;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the agent must not forget cannot be written or read. It ends: after a failed flush nothing is known.
    #[error("cannot {action} {path}: {source}; make room or mend the disk, then start the agent again")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The fence of an earlier start may be closed for ever.
    #[error(
        "the kernel fence is not asked for any more, and the table that an earlier start made cannot be removed: {source}. As root: `nft \
         delete table inet {table}`, then remove {mark}; or start the agent once with CAP_NET_ADMIN"
    )]
    FenceLeft {
        /// The table.
        table: String,
        /// The file that remembers it.
        mark: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The durable record is damaged.
    #[error(
        "{path} is damaged ({what}): what this instance promised is not known; \
         move the file aside only if this instance is not and will not be the primary"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// What was noted at the adoption is damaged.
    #[error(
        "{path} is damaged ({what}): where this instance's own configuration is, is not known; restore the file"
    )]
    DamagedAdoption {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// Somebody else uses the record.
    #[error("another agent uses {path}: every instance has one agent, and a state_dir of its own")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The record belongs to another instance.
    #[error("{path} is the record of {expected}, this agent is {got}: check state_dir, group and instance")]
    OtherInstance {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        expected: String,
        /// Who we are.
        got: String,
    },
    /// The lease file cannot be used.
    #[error("{error}{}", because(.error))]
    Gate {
        /// What is wrong with it.
        #[from]
        error: GateError,
    },
    /// The lease file is on a disk.
    #[error(
        "the lease file {0} is not on tmpfs: a disk could keep it from being closed; set postgres.run_dir to a directory \
         under /dev/shm or /run"
    )]
    NotInMemory(PathBuf),
    /// The local Postgres cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

fn because(error: &GateError) -> String {
    std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default()
}

/// An error with what caused it.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

/// The record of an instance that has none. An instance whose disk was replaced comes back under its old name: its reports
/// must not look older than those that were heard before. Nothing is decided on this clock, it only has to have moved on.
fn first_record() -> Durable {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Durable { incarnation: unix.as_millis() as u64, ..Durable::default() }
}

/// The fence in the kernel, where it is asked for. Where it is not, none is left of an agent for which it was: nobody would open
/// it any more. A file remembers that there may be one, for an agent that may not look.
fn fenced(config: &Config) -> Result<Option<Fence>, AgentError> {
    let (place, mark) = (config.fence_place(), config.state_dir.join("kernel-fence"));
    let cannot = |action| {
        let path = mark.clone();
        move |source| AgentError::Store { action, path, source }
    };
    if config.fence.kernel {
        std::fs::write(&mark, &place.table).map_err(cannot("write"))?;
        return Ok(Some(Fence::new(place)));
    }
    let marked = mark.exists();
    match fence::remove_left(&place) {
        Err(source) if marked => return Err(AgentError::FenceLeft { table: place.table, mark, source }),
        Ok(true) => tracing::info!(
            table = place.table,
            "kernel fence: not asked for any more, removed what was left of it"
        ),
        _ => {}
    }
    if marked {
        std::fs::remove_file(&mark).map_err(cannot("remove"))?;
    }
    Ok(None)
}

/// Now, on the clock of all decisions.
fn now() -> Time {
    Time(boottime_ns())
}

/// Runs the agent until `shutdown` resolves or it cannot go on. A Postgres that runs is left running: its gate closes by
/// itself when the lease ends, and the next start of the agent finds it.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let own = adoption::Record::load(&config.state_dir)?.map(|record| record.own);
    let server = Arc::new(Server::new(Settings { own, ..config.server()? })?);
    let store = Store::open(&config.state_dir, &config.full_name())?;
    let audit = Audit::open(config.audit.as_deref(), &config)?;
    let me = Identity { group: config.group.clone(), instance: config.instance.clone(), at: config.place() };
    let (mut agent, first) = Agent::new(me, Some(store.load()?.unwrap_or_else(first_record)), now());
    let patience = config.postgres.probe_timeout();
    agent.set_probe_timeout(patience);
    agent.set_on_rewind_failure(config.postgres.on_rewind_failure);
    let lease = LeaseFile::open(&config.lease_file()?, agent.durable().incarnation)?;
    if !lease.is_tmpfs() {
        return Err(AgentError::NotInMemory(config.lease_file()?));
    }
    match server.adopt().await? {
        Adopted::Running { pid } if lease.was_created() => {
            tracing::error!(
                pid,
                "Postgres is running and its lease file was gone: what it still has mapped cannot be closed, and is waited \
                 for; sessions of before will refuse to commit and have to reconnect"
            );
            tokio::time::sleep(*TTL_RANGE.end()).await;
        }
        Adopted::Running { pid } => tracing::info!(pid, "found Postgres running, and left it as it is"),
        Adopted::NotRunning { .. } => tracing::info!("Postgres is not running"),
    }

    let (events, inbox) = mpsc::channel(1_024);
    let look = eyes::open(server.clone(), events.clone());
    pulse::feel(server.clone(), look.primary(), patience / PROBES, events.clone());
    slots::keep(server.clone(), &config, look.clone());
    let hooks = Hooks::new(&config);
    let hands = hands::Hands::new(server, &config, hooks.clone(), events.clone(), look);
    let links = config
        .nodes
        .iter()
        .map(|node| {
            (NodeId(node.id), link::keep(NodeId(node.id), node.address.clone(), &config, events.clone()))
        })
        .collect();
    let fence = fenced(&config)?;
    let shell = Shell { agent, store, audit, lease, fence, hands, links, crier: Crier::new(hooks) };
    shell.run(first, inbox, shutdown).await
}

struct Shell {
    agent: Agent,
    store: Store,
    audit: Audit,
    lease: LeaseFile,
    fence: Option<Fence>,
    hands: hands::Hands,
    links: BTreeMap<NodeId, mpsc::Sender<regent_core::message::ToWitness>>,
    crier: Crier,
}

impl Shell {
    async fn run(
        mut self,
        first: Vec<Effect>,
        mut inbox: mpsc::Receiver<Event>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        self.carry_out(first).await?;
        tokio::pin!(shutdown);
        loop {
            let due = now().until(self.agent.wake_at());
            let event = tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                event = inbox.recv() => event.unwrap_or(Event::Wake),
                () = tokio::time::sleep(due) => Event::Wake,
            };
            self.crier.saw(&event, self.agent.durable().seen());
            let seen = Fence::seen_in(&event);
            let effects = self.agent.step(event, now());
            self.carry_out(effects).await?;
            if let Some(fence) = &mut self.fence {
                fence.follow(seen, self.agent.leased_until());
                self.agent.set_kernel_fence(fence.standing());
            }
        }
    }

    /// In order: nothing after a `Persist` happens before it is on disk.
    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), AgentError> {
        for effect in effects {
            match effect {
                Effect::Persist(durable) => self.store.save(&durable).await?,
                Effect::Open { epoch, deadline, confirm, rpo } => {
                    self.lease.set_rpo(rpo);
                    self.lease.name_places(&self.agent.durable().places);
                    self.lease.set_confirm(confirm);
                    self.lease.open_until(epoch.0, deadline.0);
                }
                Effect::Close => self.lease.close(),
                Effect::Send(node, message) => {
                    // A link that does not drain is as good as cut: the witness will notice the silence.
                    if let Some(link) = self.links.get(&node) {
                        let _ = link.try_send(message);
                    }
                }
                Effect::Start(task) => {
                    let database = self.agent.restorable();
                    self.hands.begin(task, self.agent.durable().acted, database);
                }
                Effect::Ask(of) => self.hands.ask(of),
                Effect::Note(note) => {
                    self.audit.note(&note);
                    self.crier.noted(&note);
                }
            }
        }
        Ok(())
    }
}

/// How many write probes have begun, one a while, when the patience with Postgres is over.
const PROBES: u32 = 4;
/// How long a link may take to be made, and how long it may be silent before it is given up.
const LINK_PATIENCE: Duration = Duration::from_secs(2);
