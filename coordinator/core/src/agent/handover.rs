//! Handing the office over, planned. What takes long is done while commits still pass: a checkpoint, so that the stop is
//! short, and waiting until the successor has shown that it receives and is close. Then commits wait, and not for long:
//! either Postgres has stopped with everything sent, and the office is given up, or all is called off, the gate opens
//! again under the same lease and whoever asked is told why.
//!
//! Calling off needs nobody's consent: until the release is durable this instance is primary and keeps its lease. A
//! Postgres that did not stop cleanly is started again as the primary it was. Nothing here may release without a clean
//! stop, nor open a gate: that is `office`.

use super::postgres::Task;
use super::{Agent, Effect, Note};
use crate::ids::{InstanceName, Lsn};
use crate::message::{HandOver, Progress, Role, Step};
use crate::mutant::{self, Mutant};
use crate::time::Time;
use crate::vote::Reason;
use std::time::Duration;

/// A checkpoint that took longer is followed by another: much has become dirty meanwhile.
const LONG_CHECKPOINT: Duration = Duration::from_secs(1);
/// WAL, in bytes, that the successor may lack when commits begin to wait.
const CLOSE: u64 = 16 << 20;
/// WAL that it may lack when Postgres begins to stop, which sends the rest: some milliseconds of a busy primary's.
const NEAR: u64 = 1 << 20;
/// How long commits wait for the successor to come near, at most: the gate refuses them after a second.
const HOLD: Duration = Duration::from_millis(500);

/// A switchover as the primary that hands over sees it.
#[derive(Clone, Hash, Debug)]
pub(super) struct HandingOver {
    wish: HandOver,
    step: Step,
    /// When the present step began.
    since: Time,
    /// Until when commits must wait, or all is called off.
    until: Time,
    /// The successor has to have flushed this: it was written after the wish, so it proves that the stream works.
    proof: Lsn,
    why: String,
}

impl HandingOver {
    /// What the reports say of it.
    pub fn progress(&self) -> Progress {
        let HandOver { ticket, to, .. } = self.wish.clone();
        Progress { ticket, to, step: self.step, why: self.why.clone() }
    }
}

impl Agent {
    /// The switchover that is under way.
    pub(super) fn handing_over(&self) -> Option<&HandingOver> {
        self.hand_over.as_ref().filter(|hand_over| hand_over.step.under_way())
    }

    /// Whether commits wait for a switchover.
    pub(super) fn holds_commits(&self) -> bool {
        self.hand_over.as_ref().is_some_and(|hand_over| hand_over.step.holds())
    }

    pub(super) fn asked_to_hand_over(&mut self, wish: HandOver, now: Time, out: &mut Vec<Effect>) {
        let running = self.postgres.seen.role == Role::Primary;
        // The leader asks until it sees that it was heard: also of what was called off meanwhile.
        let known = self.hand_over.as_ref().is_some_and(|known| known.wish.ticket == wish.ticket);
        if self.office() != Some(wish.epoch) || self.handing_over().is_some() || known || !running {
            return;
        }
        out.push(Effect::Note(Note::HandingOver(wish.epoch, wish.to.clone())));
        let until = now + wish.wait;
        let (step, why) = (Step::Checkpoint, String::new());
        self.hand_over = Some(HandingOver { wish, step, since: now, until, proof: Lsn(0), why });
        self.report_at = now;
    }

    /// What a primary has to do for its switchover.
    pub(super) fn task_of_hand_over(&self, now: Time) -> Option<(Task, &'static str)> {
        let hand_over = self.handing_over()?;
        match hand_over.step {
            Step::Checkpoint => {
                Some((Task::Checkpoint { within: now.until(hand_over.until) }, "so that the stop is short"))
            }
            Step::Stopping => Some((Task::StopCleanly, "handing over")),
            _ => None,
        }
    }

    pub(super) fn checkpointed(&mut self, result: Result<(), String>, now: Time, out: &mut Vec<Effect>) {
        let written = self.postgres.seen.position.received;
        let Some(hand_over) = self.hand_over.as_mut().filter(|one| one.step == Step::Checkpoint) else {
            return;
        };
        if let Err(why) = result {
            return self.call_off(format!("the checkpoint before it failed: {why}"), now, out);
        }
        let long = now >= hand_over.since + LONG_CHECKPOINT;
        hand_over.since = now;
        if !long {
            hand_over.step = Step::CatchUp;
            hand_over.proof = written;
        }
    }

    /// Takes the next steps that are due.
    pub(super) fn go_on_handing_over(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(epoch) = self.handing_over().map(|hand_over| hand_over.wish.epoch) else { return };
        if self.office() != Some(epoch) {
            return self.call_off(format!("it is no longer primary of epoch {epoch}"), now, out);
        }
        if self.at(Step::CatchUp) && self.has_come(CLOSE) && self.may_be_handed_over() {
            self.begin(Step::Held, now);
            self.close("handing over", out);
        }
        if self.at(Step::Held) && self.has_come(NEAR) {
            self.begin(Step::Stopping, now);
        }
        self.lose_patience(now, out);
    }

    fn at(&self, step: Step) -> bool {
        self.hand_over.as_ref().is_some_and(|hand_over| hand_over.step == step)
    }

    fn begin(&mut self, step: Step, now: Time) {
        if let Some(hand_over) = self.hand_over.as_mut() {
            (hand_over.step, hand_over.since) = (step, now);
            self.report_at = now;
        }
    }

    /// Whether a release to the successor would not be in vain.
    fn may_be_handed_over(&self) -> bool {
        self.handing_over().is_some_and(|hand_over| self.surely_nameable(&hand_over.wish.to))
    }

    /// The one who is to follow, while a switchover is under way.
    pub(super) fn successor(&self) -> Option<&InstanceName> {
        self.handing_over().map(|hand_over| &hand_over.wish.to)
    }

    /// Whether the successor has flushed what was written after the wish, and lacks no more than that of the rest.
    fn has_come(&self, lacking: u64) -> bool {
        let Some(hand_over) = self.handing_over() else { return false };
        let flushed = self.postgres.seen.standbys.get(&hand_over.wish.to);
        let end = self.postgres.seen.position.received;
        flushed.is_some_and(|at| *at >= hand_over.proof && end.0.saturating_sub(at.0) <= lacking)
    }

    fn lose_patience(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(HandingOver { wish, step, since, until, .. }) = self.handing_over() else { return };
        let limit = match step {
            Step::CatchUp => *until,
            Step::Held if !mutant::on(Mutant::HeldForEver) => *since + HOLD,
            // A checkpoint and a stop end by themselves: each has its own limit.
            _ => return,
        };
        if now < limit {
            return;
        }
        let behind = match self.postgres.seen.standbys.get(&wish.to) {
            Some(_) if !self.surely_nameable(&wish.to) => "is not in the succession yet".to_owned(),
            Some(at) => {
                format!("lacks {} bytes", self.postgres.seen.position.received.0.saturating_sub(at.0))
            }
            None => "does not stream from it".to_owned(),
        };
        let after = match step {
            Step::Held => format!("{} ms of waiting commits", HOLD.as_millis()),
            _ => format!("{} ms", wish.wait.as_millis()),
        };
        let why = format!("{} {behind} after {after}", wish.to);
        self.call_off(why, now, out);
    }

    /// The stop for a switchover has ended. Well: everything it had was sent to its standbys, the office can be given on.
    pub(super) fn stopped(&mut self, result: Result<(), String>, now: Time, out: &mut Vec<Effect>) {
        let Some(to) = self.handing_over().map(|hand_over| hand_over.wish.to.clone()) else { return };
        match result {
            Err(why) if !mutant::on(Mutant::HandsOverUnsent) => {
                self.call_off(format!("Postgres did not stop cleanly ({why}) and goes on here"), now, out);
            }
            _ => self.release(Some(to), Reason::Switchover, out),
        }
    }

    fn call_off(&mut self, why: String, now: Time, out: &mut Vec<Effect>) {
        let Some(hand_over) = self.hand_over.as_mut() else { return };
        let to: InstanceName = hand_over.wish.to.clone();
        (hand_over.step, hand_over.why) = (Step::CalledOff, why.clone());
        self.report_at = now;
        out.push(Effect::Note(Note::CalledOff(to, why)));
    }

    /// The office is given up: for this switchover, or whatever else was the reason.
    pub(super) fn end_handing_over(&mut self, reason: Reason) {
        let Some(hand_over) = self.hand_over.as_mut().filter(|one| one.step.under_way()) else { return };
        hand_over.step = if reason == Reason::Switchover { Step::Released } else { Step::CalledOff };
        if reason != Reason::Switchover {
            hand_over.why = format!("the office was given up: {reason}");
        }
    }
}
