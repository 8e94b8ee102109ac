//! Handing the office over, planned. What takes long is done while commits still pass: a checkpoint, so that the stop is
//! short, and waiting until the successor has shown that it receives and is close. Then commits wait, and not for long:
//! either Postgres has stopped with everything sent, and the office is given up, or all is called off, the gate opens
//! again under the same lease and whoever asked is told why.
//!
//! Calling off needs nobody's consent: until the release is durable this instance is primary and keeps its lease. A
//! Postgres that did not stop cleanly is started again as the primary it was. Nothing here may release without a clean
//! stop, nor open a gate: that is `office`.
//!
//! # Why nothing is left behind
//!
//! A Postgres that stops waits until those who receive from it have flushed everything, but only while they are connected:
//! a stream that breaks in the last moment makes the stop no less clean. So a clean stop proves nothing of the successor.
//! What does is its own word: it is asked all the time, over a connection of its own, how far it has flushed, and the
//! office is given up only when it has said that it has flushed all there is here, which is known once Postgres has
//! stopped and writes no more. That it speaks of the same log follows from what was seen before commits were held: it
//! received from this Postgres what was written after the wish, and it could not have turned to anybody else since
//! without a later epoch, in which this release would be worth nothing. What it has flushed it keeps. A successor that
//! does not say so in time costs a called off switchover, and no commit.
//!
//! # Why the others may be cut off
//!
//! Waiting for the farthest standby would be most of the pause, so the streams of all instances but the successor are
//! ended before Postgres stops. Nothing that was acknowledged depends on them: what is held is not acknowledged, in any
//! mode; what was acknowledged before was confirmed by all who had to; and the successor has everything, or there is no
//! release. They get the rest from the new primary, or from this one when all is called off. Should this primary die in
//! between, who was cut off lacks at most what was written since, as after any death. Whoever receives and is no instance
//! of the group, an archive or a subscriber, is waited for: nobody here could give it the rest.
//!
//! # Every step ends
//!
//! A checkpoint and a stop end by themselves once they run; whether they can begin is not certain, for another task may be
//! under way or fail again and again. So every step has a time after which all is called off.

use super::office::START_PATIENCE;
use super::postgres::Task;
use super::{Agent, Effect, Note};
use crate::ids::{InstanceName, Lsn};
use crate::message::{HandOver, Progress, Role, Step};
use crate::mutant::{self, Mutant};
use crate::time::Time;
use crate::vote::Reason;
use std::collections::BTreeSet;
use std::time::Duration;

/// A checkpoint that took longer is followed by another: much has become dirty meanwhile.
const LONG_CHECKPOINT: Duration = Duration::from_secs(1);
/// WAL, in bytes, that the successor may lack when commits begin to wait.
pub(super) const CLOSE: u64 = 16 << 20;
/// WAL that it may lack when Postgres begins to stop, which sends the rest: some milliseconds of a busy primary's.
pub(super) const NEAR: u64 = 1 << 20;
/// How long commits wait for the successor to come near, at most: the gate refuses them after a second.
const HOLD: Duration = Duration::from_millis(500);
/// How long a successor may take to say that it has everything, from when Postgres has stopped: it was sent it before.
const CONFIRM: Duration = Duration::from_millis(300);
/// Beyond the time it was given, what a checkpoint that is under way may take to say that it failed.
const GRACE: Duration = Duration::from_secs(1);

/// A switchover as the primary that hands over sees it.
#[derive(Clone, Hash, Debug)]
pub(super) struct HandingOver {
    wish: HandOver,
    step: Step,
    /// When the present step began.
    since: Time,
    /// Until when commits must wait, or all is called off.
    until: Time,
    /// In a restart, once commits wait: the heir that has come close, and is waited for.
    heir: Option<InstanceName>,
    /// The successor has to have flushed this: it was written after the wish, so it proves that the stream works.
    proof: Lsn,
    /// How far it has said itself, since the wish, to have flushed.
    reached: Lsn,
    /// All there is here: known once Postgres has stopped.
    end: Option<Lsn>,
    why: String,
}

impl HandingOver {
    /// When its present step began.
    pub fn since(&self) -> Time {
        self.since
    }

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
        if wish.restart {
            return self.asked_to_restart(wish, now, out);
        }
        let running = self.postgres.seen.role == Role::Primary;
        // The leader asks until it sees that it was heard: also of what was called off meanwhile.
        if self.office() != Some(wish.epoch) || self.handing_over().is_some() || self.knows(&wish) || !running
        {
            return;
        }
        out.push(Effect::Note(Note::HandingOver(wish.epoch, wish.to.clone())));
        self.take_up(wish, Step::Checkpoint, now);
    }

    /// Whether that was taken up before, and perhaps called off.
    pub(super) fn knows(&self, wish: &HandOver) -> bool {
        self.hand_over.as_ref().is_some_and(|known| known.wish.ticket == wish.ticket)
    }

    pub(super) fn take_up(&mut self, wish: HandOver, step: Step, now: Time) {
        let (until, why) = (now + wish.wait, String::new());
        let (heir, proof, reached, end) = (None, Lsn(0), Lsn(0), None);
        self.hand_over = Some(HandingOver { wish, step, since: now, until, heir, proof, reached, end, why });
        self.report_at = now;
    }

    /// What a primary has to do for its switchover.
    pub(super) fn task_of_hand_over(&self, now: Time) -> Option<(Task, &'static str)> {
        let hand_over = self.handing_over()?;
        match hand_over.step {
            Step::Checkpoint => {
                Some((Task::Checkpoint { within: now.until(hand_over.until) }, "so that the stop is short"))
            }
            Step::Stopping => {
                let why = if hand_over.wish.restart { "to be restarted" } else { "handing over" };
                Some((Task::StopFor { without: self.cut_off() }, why))
            }
            _ => None,
        }
    }

    /// Who is not waited for when Postgres stops: the group's instances but who is.
    fn cut_off(&self) -> BTreeSet<InstanceName> {
        let awaited = self.awaited();
        let others = self.group.iter().flat_map(|group| group.instances.keys());
        others.filter(|name| **name != self.me.instance && Some(*name) != awaited).cloned().collect()
    }

    /// Who shall have everything when Postgres has stopped: the successor; in a restart the heir, who takes over if this
    /// Postgres does not start again. Once commits wait, that one and no other: it has shown that it receives from here.
    pub(super) fn awaited(&self) -> Option<&InstanceName> {
        match self.handing_over() {
            Some(one) if !one.wish.restart => Some(&one.wish.to),
            Some(one) if one.step.holds() => one.heir.as_ref(),
            _ => self.group.as_ref()?.succession.first(),
        }
    }

    /// Commits wait from now on.
    pub(super) fn hold(&mut self, why: &'static str, now: Time, out: &mut Vec<Effect>) {
        let heir = self.awaited().cloned();
        if let Some(hand_over) = self.hand_over.as_mut() {
            hand_over.heir = heir;
        }
        self.begin(Step::Held, now);
        self.close(why, out);
    }

    /// Has whoever may follow asked how far it is while the primary hands over or is restarted, and nobody else.
    pub(super) fn keep_asking(&mut self, out: &mut Vec<Effect>) {
        let leads = self.office().is_some() && self.handing_over().is_some();
        let wanted = self.awaited().filter(|_| leads).and_then(|name| self.located(name));
        if self.asks != wanted {
            self.asks.clone_from(&wanted);
            if let Some(hand_over) = self.hand_over.as_mut() {
                hand_over.reached = Lsn(0); // that was another's word
            }
            out.push(Effect::Ask(wanted));
        }
    }

    /// An instance says how far it has flushed.
    pub(super) fn reached(&mut self, instance: &InstanceName, flushed: Lsn) {
        if self.awaited() != Some(instance) {
            return;
        }
        if let Some(hand_over) = self.hand_over.as_mut().filter(|one| one.step.under_way()) {
            hand_over.reached = hand_over.reached.max(flushed);
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
        let Some(HandOver { epoch, restart, .. }) = self.handing_over().map(|one| one.wish.clone()) else {
            return;
        };
        if restart {
            return self.go_on_restarting(epoch, now, out);
        }
        if self.office() != Some(epoch) {
            return self.call_off(format!("it is no longer primary of epoch {epoch}"), now, out);
        }
        if self.at(Step::CatchUp) && self.has_come(CLOSE) && self.may_be_handed_over() {
            self.hold("handing over", now, out);
        }
        if self.at(Step::Held) && self.has_come(NEAR) {
            self.begin(Step::Stopping, now);
        }
        if self.has_everything() {
            let to = self.successor().cloned();
            self.postgres.hand_to(to.clone());
            return self.release(to, Reason::Switchover, out);
        }
        self.lose_patience(now, out);
    }

    pub(super) fn at(&self, step: Step) -> bool {
        self.hand_over.as_ref().is_some_and(|hand_over| hand_over.step == step)
    }

    pub(super) fn begin(&mut self, step: Step, now: Time) {
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
        self.handing_over().filter(|hand_over| !hand_over.wish.restart).map(|hand_over| &hand_over.wish.to)
    }

    /// Whether the instance beside this agent is being restarted.
    pub(super) fn restarts(&self) -> bool {
        self.handing_over().is_some_and(|hand_over| hand_over.wish.restart)
    }

    /// Whether the successor has flushed what was written after the wish, and lacks no more than that of the rest: as
    /// Postgres here says, and by its own word, without which nothing can be given up in the end.
    fn has_come(&self, lacking: u64) -> bool {
        let Some(hand_over) = self.handing_over() else { return false };
        self.is_near(&hand_over.wish.to, lacking) && hand_over.reached >= hand_over.proof
    }

    /// The same of somebody, only as Postgres here says.
    pub(super) fn is_near(&self, name: &InstanceName, lacking: u64) -> bool {
        let Some(hand_over) = self.handing_over() else { return false };
        let end = self.postgres.seen.position.received;
        let near = |at: &Lsn| *at >= hand_over.proof && end.0.saturating_sub(at.0) <= lacking;
        self.postgres.seen.standbys.get(name).is_some_and(near)
    }

    /// Whether Postgres has stopped and the successor has said that it has flushed all there is.
    pub(super) fn has_everything(&self) -> bool {
        let Some(hand_over) = self.handing_over() else { return false };
        let unasked = mutant::on(Mutant::HandsOverUnasked);
        hand_over.end.is_some_and(|end| hand_over.reached >= end || unasked)
    }

    /// Whether Postgres is to stay as it stopped until that is known.
    pub(super) fn rests(&self) -> bool {
        self.handing_over().is_some_and(|hand_over| hand_over.end.is_some() && !hand_over.wish.restart)
    }

    pub(super) fn lose_patience(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(HandingOver { wish, step, since, until, end, .. }) = self.handing_over() else { return };
        let limit = match step {
            // Both end by themselves once they run.
            Step::Checkpoint if self.postgres.makes_checkpoint() => *until + GRACE,
            Step::Stopping if self.postgres.stops() => return,
            Step::Checkpoint | Step::CatchUp => *until,
            Step::Held if mutant::on(Mutant::HeldForEver) => return,
            Step::Stopping if end.is_some() => *since + CONFIRM,
            // Of a standby, for which no commit waits.
            Step::Stopping if self.office().is_none() => *until,
            Step::Held | Step::Stopping => *since + HOLD,
            // A primary that does not start loses its office when it is overdue.
            Step::Starting if self.office().is_some() => return,
            Step::Starting => *since + START_PATIENCE,
            Step::Released | Step::Restarted | Step::CalledOff => return,
        };
        if now < limit || mutant::on(Mutant::StepWithoutEnd) {
            return;
        }
        let to = self.awaited().unwrap_or(&wish.to);
        let behind = match step {
            Step::Checkpoint => format!("no checkpoint was made{}", self.in_the_way()),
            Step::Stopping if end.is_some() => format!("{to} did not say that it has everything"),
            Step::Stopping => format!("Postgres could not begin to stop{}", self.in_the_way()),
            Step::Starting => format!("it does not stream again{}", self.in_the_way()),
            _ => format!("{to} {}", self.lacks(to)),
        };
        let after = match step {
            Step::Stopping if self.office().is_none() => format!("{} ms", wish.wait.as_millis()),
            Step::Stopping if end.is_some() => format!("{} ms", CONFIRM.as_millis()),
            Step::Held | Step::Stopping => format!("{} ms of waiting commits", HOLD.as_millis()),
            Step::Starting => format!("{} ms", START_PATIENCE.as_millis()),
            _ => format!("{} ms", wish.wait.as_millis()),
        };
        let why = format!("{behind} after {after}");
        self.call_off(why, now, out);
    }

    /// What the successor still lacks, in words.
    fn lacks(&self, to: &InstanceName) -> String {
        let Some(HandingOver { wish, reached, proof, .. }) = self.handing_over() else {
            return String::new();
        };
        match self.postgres.seen.standbys.get(to) {
            Some(_) if !wish.restart && !self.surely_nameable(to) => {
                "is not in the succession yet".to_owned()
            }
            Some(at) if !wish.restart && at >= proof && reached < proof => {
                "has not said itself how far it is (its Postgres has to let this agent in, as for a rewind)"
                    .to_owned()
            }
            Some(at) => {
                format!("lacks {} bytes", self.postgres.seen.position.received.0.saturating_sub(at.0))
            }
            None => "does not stream from it".to_owned(),
        }
    }

    fn in_the_way(&self) -> String {
        match self.trouble() {
            none if none.is_empty() => String::new(),
            trouble => format!(" ({trouble})"),
        }
    }

    /// The stop for a switchover has ended. Well: then all there is, is known, and the successor has to have it.
    pub(super) fn stopped(&mut self, result: Result<(), String>, now: Time, out: &mut Vec<Effect>) {
        let end = self.postgres.seen.position.received;
        let restarts = self.restarts();
        match result {
            Err(why) if !mutant::on(Mutant::HandsOverUnsent) => {
                self.call_off(format!("Postgres did not stop cleanly ({why}) and goes on here"), now, out);
            }
            _ => {
                let Some(hand_over) = self.hand_over.as_mut() else { return };
                (hand_over.end, hand_over.since) = (Some(end), now);
                if restarts {
                    self.begin(Step::Starting, now);
                }
            }
        }
    }

    pub(super) fn call_off(&mut self, why: String, now: Time, out: &mut Vec<Effect>) {
        let Some(hand_over) = self.hand_over.as_mut() else { return };
        let to: InstanceName = hand_over.wish.to.clone();
        (hand_over.step, hand_over.why) = (Step::CalledOff, why.clone());
        self.report_at = now;
        let restart = hand_over.wish.restart;
        out.push(Effect::Note(if restart { Note::NotRestarted(why) } else { Note::CalledOff(to, why) }));
    }

    /// The office is given up: for this switchover, or whatever else was the reason.
    pub(super) fn end_handing_over(&mut self, reason: Reason) {
        let why = format!("the office was given up: {reason}{}", self.in_the_way());
        let Some(hand_over) = self.hand_over.as_mut().filter(|one| one.step.under_way()) else { return };
        hand_over.step = if reason == Reason::Switchover { Step::Released } else { Step::CalledOff };
        if reason != Reason::Switchover {
            hand_over.why = why;
        }
    }
}
