//! Whether the primary's Postgres still commits.
//!
//! A Postgres can be dead and look alive: its postmaster stopped, its backends hung, its disk frozen or full. All of them
//! end the same way: nothing commits. So the shell commits something of its own again and again, and an office under
//! which no such probe has succeeded for most of `timeout` is given up, as if Postgres had died; then it is stopped, and
//! until it is, it is fit for no other office. The rest of `timeout` is for its heir: it is promoted when that is over.
//!
//! What separates slow from dead is that one number. A probe proves that commits reached the disk after it *began*, so
//! the time since then counts, and not the time since it ended: what hung in between is seen as early as can be.
//!
//! Time in which the gate was shut does not count. A probe passes the gate like any commit, and one that the gate held
//! back says nothing about Postgres; so the patience begins anew whenever the gate was seen shut. Nothing is lost by
//! that: behind a shut gate a dead Postgres keeps nobody waiting who would not wait anyway.
//!
//! What may not enter: how a probe is made. The shell knows that.

use super::Agent;
use crate::ids::Epoch;
use crate::message::Role;
use crate::mutant::{self, Mutant};
use crate::time::Time;
use crate::vote::Reason;
use std::time::Duration;

/// Within which time of its last commit a Postgres that hangs is replaced, unless the agent is told otherwise.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a write probe came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// It committed, and its commit reached the disk.
    Committed,
    /// The gate refused it: Postgres answers, and more cannot be said.
    Barred,
    /// Anything else, in words.
    Failed(String),
}

/// What is known of the primary's commits.
#[derive(Clone, Hash, Debug)]
pub(super) struct Pulse {
    timeout: Duration,
    /// The last moment of which it is known that commits reached the disk after it, or that none could, for the gate was
    /// shut.
    last: Time,
    /// What the last probe complained of.
    complaint: String,
}

impl Pulse {
    pub fn new(now: Time) -> Pulse {
        Pulse { timeout: PROBE_TIMEOUT, last: now, complaint: String::new() }
    }

    /// For how long no probe may succeed: an eighth less than the timeout, for a release has to reach the heir and a server
    /// to leave recovery, about 200 ms over 140 ms of round trip.
    fn patience(&self) -> Duration {
        self.timeout - self.timeout / 8
    }
}

impl Agent {
    /// Sets within which time a Postgres that hangs is replaced, in place of [`PROBE_TIMEOUT`].
    pub fn set_probe_timeout(&mut self, timeout: Duration) {
        self.pulse.timeout = timeout;
    }

    /// Before anything else in a step: a lease that has run out meanwhile shows in nothing but the time.
    pub(super) fn watch_gate(&mut self, now: Time) {
        let open = self.opened != Epoch(0) && now < self.open_until;
        if !open && !mutant::on(Mutant::ShutGateCounts) {
            self.pulse.last = now;
        }
    }

    pub(super) fn probed(&mut self, began: Time, probe: Probe, now: Time) {
        match probe {
            Probe::Committed => {
                self.pulse.last = self.pulse.last.max(began);
                self.pulse.complaint.clear();
            }
            Probe::Barred => self.pulse.last = now,
            Probe::Failed(why) => self.pulse.complaint = why,
        }
    }

    /// Whether its office has to be given up. Not when there is nobody to take it: a Postgres that hangs may go on, one
    /// that was stopped has to recover first.
    pub(super) fn hangs(&self, now: Time) -> bool {
        let primary = self.postgres.seen.role == Role::Primary;
        let heirs = self.group.as_ref().is_some_and(|group| !group.succession.is_empty());
        primary
            && heirs
            && now >= self.pulse.last + self.pulse.patience()
            && !mutant::on(Mutant::HungKeepsOffice)
    }

    /// Whether it gave its last office up because this Postgres hangs, which has not been stopped since. It follows from
    /// what is durable: an agent that restarts beside a hung Postgres knows it as well.
    pub(super) fn hung(&self) -> bool {
        let durable = &self.durable;
        let gave_up = durable.released == durable.acted && durable.acted > Epoch(0);
        let why = durable.release.as_ref().map(|(_, reason)| *reason);
        self.postgres.seen.role == Role::Primary && gave_up && why == Some(Reason::PostgresHung)
    }

    /// What there is to say about commits that do not come, with what else stands in the way.
    pub(super) fn pulse_trouble(&self, other: &str) -> Option<String> {
        let because = if other.is_empty() { String::new() } else { format!(": {other}") };
        if self.hung() {
            let patience = self.pulse.patience().as_millis();
            return Some(format!("nothing was committed for {patience} ms: it is being stopped{because}"));
        }
        let complains = self.office().is_some() && !self.pulse.complaint.is_empty();
        complains.then(|| format!("a write probe failed: {}{because}", self.pulse.complaint))
    }
}
