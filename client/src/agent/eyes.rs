//! What Postgres is doing, looked at every 50 ms and whenever something was done to it.

use crate::gate::boottime_ns;
use crate::postgres::{self, Directory, Server};
use regent_core::agent::{Event, Observation, Upstream};
use regent_core::ids::{InstanceName, Lsn, Position};
use regent_core::message::Role;
use regent_core::time::Time;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// How often to look when nothing happens.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often a directory that cannot be used is looked into again.
const RETRY: Duration = Duration::from_secs(3);

/// Shared with the hands: whom Postgres was told to follow, and a way to have it looked at now.
#[derive(Default)]
pub(super) struct Look {
    now: Notify,
    looked: Notify,
    facts: Mutex<Facts>,
    /// Whether Postgres was primary when it was looked at last.
    primary: watch::Sender<bool>,
}

#[derive(Default, Clone)]
struct Facts {
    following: Option<Followed>,
    /// What an operator should know of the WAL that is kept for others.
    warning: String,
    /// The directory has to be inspected again: something was done to it.
    stale: bool,
    /// Looks asked for, and the last of them that was carried out.
    asked: u64,
    carried_out: u64,
}

/// Whom Postgres was told to follow, and where from here.
#[derive(Clone)]
pub(super) struct Followed {
    pub upstream: Upstream,
    pub at: postgres::Upstream,
}

impl Look {
    /// Something was done to Postgres: look, also into its directory.
    pub fn again(&self) -> u64 {
        let asked = {
            let mut facts = self.facts();
            facts.stale = true;
            facts.asked += 1;
            facts.asked
        };
        self.now.notify_one();
        asked
    }

    /// Looks, and returns when what was seen has been sent: nothing older can follow it.
    pub async fn afresh(&self) {
        let asked = self.again();
        loop {
            let mut looked = std::pin::pin!(self.looked.notified());
            looked.as_mut().enable();
            if self.facts().carried_out >= asked {
                return;
            }
            looked.await;
        }
    }

    fn carried_out(&self, asked: u64) {
        self.facts().carried_out = asked;
        self.looked.notify_waiters();
    }

    /// Postgres was told to follow somebody, or nobody.
    pub fn follows(&self, followed: Option<Followed>) {
        self.facts().following = followed;
    }

    /// What an operator should know of the WAL that is kept for others; empty for nothing.
    pub fn warns(&self, warning: String) {
        self.facts().warning = warning;
    }

    /// Tells whether Postgres is primary, as far as it is known.
    pub fn primary(&self) -> watch::Receiver<bool> {
        self.primary.subscribe()
    }

    fn saw(&self, role: Role) {
        let primary = role == Role::Primary;
        self.primary.send_if_modified(|was| std::mem::replace(was, primary) != primary);
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Facts {
        let mut facts = self.facts();
        let taken = facts.clone();
        facts.stale = false;
        taken
    }
}

/// Begins to look; every look is sent as `Event::Observed`, every end of a postmaster as `Event::Exited`.
pub(super) fn open(server: Arc<Server>, events: mpsc::Sender<Event>) -> Arc<Look> {
    let look = Arc::new(Look::default());
    look.again();
    tokio::spawn(watch_exits(server.clone(), look.clone(), events.clone()));
    tokio::spawn(watch(server, look.clone(), events));
    look
}

async fn watch_exits(server: Arc<Server>, look: Arc<Look>, events: mpsc::Sender<Event>) {
    loop {
        let exit = server.wait_exit().await;
        if events.send(Event::Exited).await.is_err() {
            return;
        }
        if !exit.asked {
            let status = exit.status.map_or("of its own".to_owned(), |status| status.to_string());
            tracing::error!(pid = exit.pid, "Postgres has ended: {status}");
        }
        look.again();
    }
}

async fn watch(server: Arc<Server>, look: Arc<Look>, events: mpsc::Sender<Event>) {
    let mut eyes = Eyes { server, last: None, inspected: Instant::now() };
    loop {
        let facts = look.take();
        let asked = facts.asked;
        if let Some(seen) = eyes.see(facts).await {
            look.saw(seen.role);
            if events.send(Event::Observed(seen)).await.is_err() {
                return;
            }
        }
        look.carried_out(asked);
        let _ = tokio::time::timeout(INTERVAL, look.now.notified()).await;
    }
}

struct Eyes {
    server: Arc<Server>,
    last: Option<Observation>,
    inspected: Instant,
}

impl Eyes {
    /// `None` when nothing can be said: the server runs but was never seen to answer.
    async fn see(&mut self, facts: Facts) -> Option<Observation> {
        let at = Time(boottime_ns());
        let seen = self.server.observe().await;
        let observed = match (seen.pid, seen.in_recovery) {
            (None, _) => self.directory(facts.stale).await,
            (Some(_), Some(recovering)) if seen.accepting => Some(running(seen, recovering, facts, at)),
            (Some(_), _) => self.mute(seen.trouble),
        };
        self.last = observed.clone().or(self.last.take());
        observed
    }

    /// Running and not answering: what it was, with the trouble.
    fn mute(&self, trouble: Option<String>) -> Option<Observation> {
        let last = self.last.clone().filter(|last| matches!(last.role, Role::Primary | Role::Standby))?;
        let trouble = trouble.unwrap_or_default();
        Some(Observation { streaming: false, standbys: BTreeMap::new(), trouble, ..last })
    }

    async fn directory(&mut self, stale: bool) -> Option<Observation> {
        let still = self.last.clone().filter(|last| !matches!(last.role, Role::Primary | Role::Standby));
        // What could not be used may be mended by a person, or may have been the moment.
        let again = |last: &Observation| last.role == Role::Refused && self.inspected.elapsed() > RETRY;
        if let Some(last) = still.filter(|last| !stale && !again(last)) {
            return Some(last);
        }
        self.inspected = Instant::now();
        if self.server.half_rewound() {
            return Some(Observation {
                role: Role::Stopped,
                was_primary: true,
                broken: true,
                ..Observation::default()
            });
        }
        Some(match self.server.directory().await {
            Ok(Directory::Missing | Directory::Empty) => Observation::default(),
            Ok(Directory::Cluster(cluster)) => stopped(&cluster),
            Ok(Directory::Foreign { what }) => refused(format!(
                "{} holds {what}: it is left untouched; point data_dir elsewhere, or move it aside",
                self.server.settings().data_dir.display()
            )),
            Err(error) => refused(error.to_string()),
        })
    }
}

fn refused(trouble: String) -> Observation {
    Observation { role: Role::Refused, trouble, ..Observation::default() }
}

fn stopped(cluster: &postgres::Cluster) -> Observation {
    // Where its last record begins. Of a clean stop that record is the end of the log: who has just what is before it lacks it.
    let last = cluster.checkpoint.0 + u64::from(cluster.state == postgres::ControlState::ShutDown);
    let at = Lsn(last.max(cluster.min_recovery_end.0));
    Observation {
        role: Role::Stopped,
        was_primary: !cluster.was_standby(),
        position: Position { timeline: cluster.timeline, received: at, flushed: at, replayed: at },
        system_id: Some(cluster.system_id),
        ..Observation::default()
    }
}

fn running(seen: postgres::Observation, recovering: bool, facts: Facts, at: Time) -> Observation {
    let Facts { following, warning, .. } = facts;
    let place = |lsn: Option<postgres::Lsn>| Lsn(lsn.map_or(0, |lsn| lsn.0));
    let meant = |from: &postgres::Streaming| {
        following.as_ref().is_some_and(|to| to.at.host == from.host && to.at.port == from.port)
    };
    let turned = recovering && seen.whole && seen.streaming_from.as_ref().is_none_or(meant);
    let streams = |from: &postgres::Streaming| meant(from) && from.status == "streaming";
    Observation {
        at,
        role: if recovering { Role::Standby } else { Role::Primary },
        was_primary: !recovering,
        broken: false,
        // From whom it was told to, not from whom it still happens to be connected to.
        streaming: seen.streaming_from.as_ref().is_some_and(streams),
        turned,
        following: following.map(|followed| followed.upstream),
        position: Position {
            timeline: seen.timeline.unwrap_or_default(),
            received: place(seen.written),
            flushed: place(seen.flushed),
            replayed: place(seen.replayed),
        },
        system_id: seen.system_id,
        gate_armed: seen.gate_armed,
        waits: seen.synchronous.as_deref().and_then(postgres::places),
        pending_restart: seen.pending_restart,
        standbys: seen.standbys.iter().filter_map(standby).collect(),
        distances: seen.standbys.iter().filter_map(distance).collect(),
        trouble: String::new(),
        // A standby's slots are as full as the primary's: once is enough.
        warning: if recovering { String::new() } else { warning },
    }
}

/// How far one is, in time.
fn distance(seen: &postgres::Standby) -> Option<(InstanceName, Duration)> {
    let name = InstanceName::new(&seen.application_name).ok()?;
    Some((name, Duration::from_micros(seen.flush_lag_us?)))
}

/// One that streams, and how far it has flushed. Who shows up under another name is none of the group's; and one that says
/// to have flushed what was never sent to it has it from elsewhere, and is about to learn that it went another way.
fn standby(seen: &postgres::Standby) -> Option<(InstanceName, Lsn)> {
    let (sent, flushed) = (seen.sent?, seen.flushed?);
    let instance = InstanceName::new(&seen.application_name).ok()?;
    (seen.state == "streaming" && flushed <= sent).then_some((instance, Lsn(flushed.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Cluster, ControlState};

    #[test]
    fn a_stopped_server_is_where_its_log_ends_as_far_as_its_control_file_tells() {
        const CHECKPOINT: u64 = 0x300_0060;
        const REPLAYED: u64 = 0x400_0000;
        let table = [
            // The record of the stop is the last there is: who flushed just what is before it lacks it.
            (ControlState::ShutDown, 0, CHECKPOINT + 1, true),
            (ControlState::InProduction, 0, CHECKPOINT, true),
            (ControlState::ShutDownInRecovery, REPLAYED, REPLAYED, false),
            (ControlState::InArchiveRecovery, REPLAYED, REPLAYED, false),
        ];
        for (state, min_recovery_end, at, was_primary) in table {
            let seen = stopped(&Cluster {
                system_id: 7,
                version: 15,
                state,
                standby_signal: false,
                fresh_copy: false,
                timeline: 3,
                checkpoint: postgres::Lsn(CHECKPOINT),
                checkpoint_timeline: 3,
                redo: postgres::Lsn(CHECKPOINT),
                min_recovery_end: postgres::Lsn(min_recovery_end),
                checksums: true,
                rewindable: true,
            });
            let position = Position { timeline: 3, received: Lsn(at), flushed: Lsn(at), replayed: Lsn(at) };
            assert_eq!((seen.position, seen.was_primary), (position, was_primary), "{state}");
        }
    }
}
