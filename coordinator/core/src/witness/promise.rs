//! What a witness promises, and when it refuses.

use super::Effect;
use super::seat::{Link, Seat};
use crate::ids::Epoch;
use crate::lease::Promise;
use crate::message::{Refusal, Report, ToAgent};
use crate::mutant::{self, Mutant};
use crate::time::Time;
use crate::vote::Certificate;

impl Seat {
    /// Answers a report that claims the lease of `epoch`.
    pub fn promise(&mut self, report: &Report, epoch: Epoch, now: Time) -> ToAgent {
        if let Err(refusal) = self.may_promise(report, epoch, now) {
            return self.answer(report, Some(refusal), now);
        }
        let ttl = self.durable.group.terms.ttl;
        self.promise = Some(Promise { epoch, holder: report.instance.clone(), until: now + ttl });
        ToAgent::Promised {
            group: report.group.clone(),
            epoch,
            seq: report.seq,
            ttl,
            revision: self.durable.group.revision,
        }
    }

    fn may_promise(&self, report: &Report, epoch: Epoch, now: Time) -> Result<(), Refusal> {
        let who = &report.instance;
        let group = &self.durable.group;
        if !self.is_member() {
            return Err(Refusal::NotInElectorate);
        }
        if epoch < self.floor() && !mutant::on(Mutant::StaleEpochGranted) {
            return Err(Refusal::Stale { floor: self.floor() });
        }
        let log_says = group.epoch == epoch && group.primary.as_ref() == Some(who);
        let link = self.link().filter(|link| link.epoch == epoch);
        match link {
            _ if log_says => {}
            None => return Err(Refusal::NoWord),
            Some(link) if link.named != *who => {
                return Err(Refusal::NamedOther { named: link.named.clone() });
            }
            // After a restart a forgotten promise may run: only the log's word and the own vote are surely later.
            Some(link) if link.vote.is_none() && self.young(now) => return Err(Refusal::Young),
            Some(_) => {}
        }
        let other = self.promise.as_ref().filter(|_| self.promised_to_other(who, now));
        if let Some(promise) = other.filter(|_| !mutant::on(Mutant::PromiseWhileAnotherRuns)) {
            return Err(Refusal::Promised { holder: promise.holder.clone() });
        }
        if self.pending_bars(report, epoch, now) {
            return Err(Refusal::Pending);
        }
        Ok(())
    }

    /// The epoch a report is answered for: the one it claims, or, for a moment after a vote of this witness, the one it
    /// was named for, as if it claimed already. It cannot know yet; when the votes reach it, the promises of the
    /// reports it sent meanwhile are with them or close behind, and the lease does not lapse for the length of another
    /// round trip. It is the same promise under the same rules. It is over a ttl after the vote: one who never claims
    /// holds nobody up for longer than that.
    pub fn answered_epoch(&self, report: &Report, now: Time) -> Option<Epoch> {
        let named = || {
            let link = self.link().filter(|link| link.vote.is_some() && link.named == report.instance)?;
            let early = self.voted_within(self.durable.group.terms.ttl, now);
            (early && report.declined < link.epoch).then_some(link.epoch)
        };
        report.claims.or_else(named)
    }

    /// A claim that has no lease anyway must not keep a solicited vote waiting for ever (finding F11a).
    fn pending_bars(&self, report: &Report, epoch: Epoch, now: Time) -> bool {
        !report.leased
            && !mutant::on(Mutant::PendingForgotten)
            && self.pending_fresh(now).is_some_and(|pending| {
                pending.solicit.epoch > epoch && pending.solicit.named != report.instance
            })
    }

    /// Takes a shown certificate's word: from now on this witness stands behind that decision as if it had voted.
    pub fn adopt(&mut self, certificate: &Certificate, now: Time, out: &mut Vec<Effect>) {
        if certificate.epoch() <= self.floor() {
            return;
        }
        self.durable.floor = certificate.epoch();
        self.durable.chain.push(Link {
            epoch: certificate.epoch(),
            named: certificate.named().clone(),
            since: certificate.since(),
            rest: certificate.rest(),
            vote: None,
        });
        // Whoever was silent before, this one has only now been heard of.
        self.wait_for_claim(now);
        out.push(self.persist());
    }
}
