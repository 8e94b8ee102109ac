//! Being primary: taking office on a decision, keeping the lease, giving it up.

use super::confirm::Asks;
use super::durable::{Decided, Durable};
use super::{Agent, Effect, Note};
use crate::ids::{Epoch, InstanceName};
use crate::message::{Role, ToWitness};
use crate::mutant::{self, Mutant};
use crate::quorum::Electorate;
use crate::time::Time;
use crate::vote::{Certificate, Reason};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a promotion may take before the office is given up for the next in the succession.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(10);
/// The same for a Postgres that has to be initialised or recovered first.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(120);
/// The same for one that has stopped cleanly, to be restarted, where somebody has everything and can follow: commits are
/// refused by then. Shorter than the leader keeps those in the succession who receive from nobody.
const RESTART_PATIENCE: Duration = Duration::from_millis(1500);

impl Agent {
    /// The epoch this instance is primary of, as far as it knows: acted on, not overtaken, not given up.
    pub(super) fn office(&self) -> Option<Epoch> {
        let decided = self.durable.decided.as_ref()?;
        let mine = decided.primary == self.me.instance && decided.epoch == self.durable.acted;
        let kept = self.durable.released < decided.epoch || mutant::on(Mutant::ReleasedClaimedAgain);
        (mine && kept).then_some(decided.epoch)
    }

    /// Whether a majority's promises run now.
    pub(super) fn leased(&self, now: Time) -> bool {
        self.office().is_some() && self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Until when a majority's promises run for the office held. Unlike the gate, which is opened no further while commits are
    /// held or Postgres is not ready, this is the whole of the lease: what a primary that hands over still sends to its
    /// standbys is sent under it.
    pub fn leased_until(&self) -> Option<Time> {
        self.office().and_then(|_| self.deadline())
    }

    fn deadline(&self) -> Option<Time> {
        self.vouchers.deadline(self.electorate()?)
    }

    /// The electorate that governs the epoch held: the log's once it has recorded it, else the voters' own.
    fn electorate(&self) -> Option<&Electorate> {
        let logged = self.group.as_ref().filter(|group| group.epoch >= self.durable.acted);
        let certified = || self.durable.certificate.as_ref().map(|certificate| certificate.basis().1);
        logged.map(|group| &group.electorate).or_else(certified)
    }

    /// Acts on a decision that makes this instance primary, if it may.
    pub(super) fn take_office(&mut self, now: Time, out: &mut Vec<Effect>) {
        let held = self.collected().or_else(|| self.shown.clone());
        if let Some(certificate) = held.filter(|_| !mutant::on(Mutant::HeirAwaitsLog)) {
            self.act(Decided::by(&certificate), Some(certificate), now, out);
        }
        // Not what was heard and lost with a restart: without the certificate there is no electorate to count by.
        if let Some(decided) = self.group.as_ref().and_then(Decided::logged) {
            self.act(decided, None, now, out);
        }
    }

    /// The votes of a majority for the highest epoch above the last acted on for which there are enough.
    fn collected(&self) -> Option<Certificate> {
        let floors: BTreeSet<Epoch> =
            self.votes.values().map(|vote| vote.floor).filter(|floor| self.may_act(*floor)).collect();
        floors.into_iter().rev().find_map(|floor| {
            let agreeing = self.votes.values().filter(|vote| vote.floor == floor);
            Certificate::new(agreeing.cloned().collect()).ok()
        })
    }

    /// Whether nothing that was acted on, declined, released or decided is in the way of that epoch.
    pub(super) fn may_act(&self, epoch: Epoch) -> bool {
        let Durable { acted, declined, released, .. } = &self.durable;
        let declined = epoch <= *declined && !mutant::on(Mutant::DeclinedActedOn);
        let overtaken = epoch < self.durable.seen() && !mutant::on(Mutant::ActsBelowSeen);
        epoch > *acted && epoch > *released && !declined && !overtaken
    }

    fn act(&mut self, decided: Decided, certificate: Option<Certificate>, now: Time, out: &mut Vec<Effect>) {
        let epoch = decided.epoch;
        if decided.primary != self.me.instance || !self.may_act(epoch) || !self.fit(&decided, now) {
            return;
        }
        let reason = certificate.as_ref().map_or(Reason::First, Certificate::reason);
        self.begin_confirming(epoch, certificate.as_ref());
        self.durable.acted = epoch;
        self.durable.decided = Some(decided);
        self.durable.certificate = certificate.clone();
        self.hand_over = None;
        self.office_since = now;
        self.report_at = now;
        out.push(self.persist());
        // The votes are the first promises, each in answer to the report that its witness had heard last.
        self.vouchers.clear();
        self.count_votes(epoch);
        if let Some(certificate) = certificate {
            out.push(Effect::Note(Note::Certificate(certificate.clone())));
            self.send_all(&ToWitness::Show(certificate), out);
        }
        out.push(Effect::Note(Note::Acted(epoch, reason)));
    }

    fn count_votes(&mut self, epoch: Epoch) {
        for (witness, (_, sent, ttl)) in self.early.iter().filter(|(_, (early, ..))| *early == epoch) {
            self.vouchers.add(*witness, *sent, *ttl);
        }
        let vouchers: Vec<_> = self.votes.values().filter(|vote| vote.floor == epoch).cloned().collect();
        for vote in vouchers {
            if let Some(sent) = vote.seq.and_then(|seq| self.sent(seq)) {
                self.vouchers.add(vote.witness, sent, vote.ttl);
            }
        }
    }

    /// Extends the gate as far as the promises reach; closes it without an office.
    pub(super) fn keep_lease(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(epoch) = self.office() else {
            return self.close("not primary", out);
        };
        self.count_votes(epoch); // votes that came after the majority's
        self.watch_gathering(now, out);
        if self.overdue(now) {
            let to = self.better_heir().or_else(|| self.heir_that_need_not_wait().cloned());
            return self.release(to, Reason::PostgresDied, out);
        }
        if self.hangs(now) {
            return self.release(None, Reason::PostgresHung, out);
        }
        let primary = self.postgres.seen.role == Role::Primary || mutant::on(Mutant::GateBeforePrimary);
        let ready = primary && self.postgres.seen.gate_armed && !self.holds_commits();
        let ready = ready && (self.opened == epoch || self.waits_as_it_must());
        let Some(deadline) = self.deadline().filter(|deadline| ready && *deadline > now) else { return };
        let asks = Asks { confirm: self.must_confirm(), rpo: self.may_lack() };
        if deadline > self.open_until || self.opened != epoch || self.confirm.asked != Some(asks) {
            self.open_until = deadline.max(self.open_until);
            self.confirm.ask(asks);
            let Asks { confirm, rpo } = asks;
            let deadline = if mutant::on(Mutant::NoGate) { Time::MAX } else { self.open_until };
            out.push(Effect::Open { epoch, deadline, confirm, rpo });
            if self.opened != epoch {
                self.opened = epoch;
                out.push(Effect::Note(Note::Opened(epoch)));
            }
        }
    }

    fn overdue(&self, now: Time) -> bool {
        // How long a stop may take, the shell knows: it ends.
        if self.postgres.stops() {
            return false;
        }
        let (since, patience) = match self.postgres.seen.role {
            Role::Primary => return false,
            // For the others' positions it waits as long as it takes: who came next would wait for them as well.
            Role::Standby => match self.could_be_promoted_since() {
                Some(since) => (since.max(self.office_since), PROMOTION_PATIENCE),
                None => return false,
            },
            _ if self.heir_that_need_not_wait().is_some() => (self.office_since, RESTART_PATIENCE),
            _ => (self.office_since, START_PATIENCE),
        };
        now >= since + patience
    }

    pub(super) fn close(&mut self, why: &'static str, out: &mut Vec<Effect>) {
        if self.open_until != Time::ZERO {
            self.open_until = Time::ZERO;
            if !mutant::on(Mutant::NoGate) {
                out.push(Effect::Close);
            }
            if self.opened != Epoch(0) {
                out.push(Effect::Note(Note::Closed(self.opened, why)));
                self.closed = std::mem::replace(&mut self.opened, Epoch(0));
            }
        }
    }

    /// Gives the office up: the gate first, then durably, then in words.
    pub(super) fn release(&mut self, to: Option<InstanceName>, reason: Reason, out: &mut Vec<Effect>) {
        let Some(epoch) = self.office() else { return };
        // An earlier run may have opened what this one has not, and nobody has said yet that it is closed.
        let opened = std::mem::replace(&mut self.opened, Epoch(0));
        let unsaid = opened != Epoch(0) || self.closed != epoch;
        self.open_until = Time::ZERO;
        self.end_handing_over(reason);
        self.durable.released = epoch;
        self.durable.release = Some((to, reason));
        if !mutant::on(Mutant::GateOpenAtRelease) {
            out.push(Effect::Close);
            if unsaid {
                out.push(Effect::Note(Note::Closed(epoch, "gives its office up")));
                self.closed = epoch;
            }
        }
        if !mutant::on(Mutant::ReleaseNotDurable) {
            out.push(self.persist());
        }
        // Noted before anybody hears of it: a witness may vote within the same millisecond, and an audit tells who was first.
        out.push(Effect::Note(Note::Released(epoch, reason)));
        if let Some(release) = self.standing_release() {
            self.send_all(&ToWitness::Release(release), out);
        }
    }
}
