//! A restart of this Postgres as what it is: nobody else becomes primary, and no epoch changes.
//!
//! A primary is restarted under the lease it has, which its agent goes on to renew: for the witnesses nothing happens. It is
//! a switchover without a successor: a checkpoint while commits pass; then, once the heir is close, commits wait, Postgres
//! stops cleanly, having sent everything to the heir, and starts, and the gate opens again under the same epoch.
//!
//! # Why this is safe
//!
//! Nothing new may be acknowledged, by nobody new. The gate is shut before Postgres stops, and stays so until this Postgres
//! was seen to be primary by a look that began after the stop had ended: what was seen before says nothing of the one that
//! was started. It opens under the same rules as ever, under the lease, for the same epoch. No other can be named meanwhile
//! but by the same votes as ever, for which the promises that this agent collects would have to run out.
//!
//! If it cannot start, that is a death like any other: the office is given up, and goes to the heir. The stop has waited for
//! that one as long as it received; what it may lack of the rest is what it may lack after any death, as the mode says.
//!
//! If it only takes long, all depends on whether the heir has everything. It is asked, as the successor of a switchover is,
//! and if it has said so, the office is given up as soon as that is quicker: nothing is left behind. If it has not, or there
//! is none, what this instance alone may have is not given up for speed, and it has as long as any start.
//!
//! The time behind the shut gate is not held against Postgres (`probe`).
//!
//! # A standby
//!
//! It stops and starts, and is through when it receives again. If it is decided to be primary meanwhile, it is not a
//! standby's restart any more: it takes office as any standby that is found stopped.

use super::handover::{CLOSE, NEAR};
use super::{Agent, Effect, Note};
use crate::ids::{Epoch, InstanceName};
use crate::message::{HandOver, Role, Step};
use crate::mutant::{self, Mutant};
use crate::time::Time;

impl Agent {
    pub(super) fn asked_to_restart(&mut self, wish: HandOver, now: Time, out: &mut Vec<Effect>) {
        let role = self.postgres.seen.role;
        let runs = matches!(role, Role::Primary | Role::Standby) && self.is_as_of(wish.epoch);
        let asked = wish.to == self.me.instance && !self.knows(&wish);
        if !runs || !asked || self.handing_over().is_some() {
            return;
        }
        let first = match self.office() {
            Some(_) if role == Role::Primary => Step::Checkpoint,
            Some(_) => return, // it is being promoted
            None if role == Role::Standby => Step::Stopping,
            None => return, // it is being fenced
        };
        out.push(Effect::Note(Note::Restarting(wish.epoch)));
        self.take_up(wish, first, now);
    }

    /// Whether it is what it was in that epoch: its primary, or a standby of another.
    fn is_as_of(&self, epoch: Epoch) -> bool {
        match self.office() {
            Some(office) => office == epoch,
            None => self.durable.seen() == epoch && self.upstream().is_some(),
        }
    }

    pub(super) fn go_on_restarting(&mut self, epoch: Epoch, now: Time, out: &mut Vec<Effect>) {
        if !self.is_as_of(epoch) {
            return self.call_off(format!("epoch {epoch} is over"), now, out);
        }
        if self.at(Step::CatchUp) && self.heir_has_come(CLOSE) {
            self.hold("restarting", now, out);
        }
        if self.at(Step::Held) && self.heir_has_come(NEAR) {
            self.begin(Step::Stopping, now);
        }
        if self.at(Step::Starting) && self.is_back() {
            self.begin(Step::Restarted, now);
            // Who streamed from it is given the time to come back that it has at the beginning of an office.
            self.office_since = now;
            out.push(Effect::Note(Note::Restarted(epoch)));
        }
        self.lose_patience(now, out);
    }

    /// Whether the heir, if there is one, receives and lacks no more than that: a stop waits for it.
    fn heir_has_come(&self, lacking: u64) -> bool {
        self.awaited().is_none_or(|heir| self.is_near(heir, lacking))
    }

    /// Whether it is again what it was, by a look at the one that was started.
    fn is_back(&self) -> bool {
        let seen = &self.postgres.seen;
        let role = match self.office() {
            Some(_) => seen.role == Role::Primary,
            None => seen.role == Role::Standby && seen.streaming,
        };
        let late = |since: Time| seen.at < since && !mutant::on(Mutant::LateLookCounts);
        role && self.handing_over().is_some_and(|one| !late(one.since()))
    }

    /// To whom the office can be given up as in a switchover: it has everything, and a release to it would not be in vain. Nothing
    /// but time is lost by waiting for this Postgres then.
    pub(super) fn heir_that_need_not_wait(&self) -> Option<&InstanceName> {
        let heir = self.awaited().filter(|_| self.restarts())?;
        let follows = self.group.as_ref()?.succession.contains(heir) && self.surely_nameable(heir);
        let has = self.has_everything() || mutant::on(Mutant::RestartLeavesTail);
        (follows && has && !mutant::on(Mutant::RestartKeepsOffice)).then_some(heir)
    }

    /// Whether a standby is to stop for it.
    pub(super) fn stops_to_restart(&self) -> bool {
        self.restarts() && self.at(Step::Stopping)
    }
}
