//! What a witness votes: by itself, joining another, on release, on request. All ways lead through `cast`.

use super::Effect;
use super::seat::{Link, Seat};
use crate::ids::{Epoch, InstanceName};
use crate::lease::Promise;
use crate::message::{Release, Report, Solicit, ToAgent, ToNode};
use crate::mutant::{self, Mutant};
use crate::succession::has_turned;
use crate::time::Time;
use crate::vote::{Certificate, Reason, Vote};

/// A solicited vote that waits for the running promise to end.
#[derive(Clone, Hash, Debug)]
pub(super) struct Pending {
    pub solicit: Solicit,
    pub since: Time,
}

impl Seat {
    /// Casts a vote if the rules allow it; says whether they did.
    fn cast(
        &mut self,
        epoch: Epoch,
        named: &InstanceName,
        reason: Reason,
        now: Time,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some((since, rest)) = self.may_cast(epoch, named, now) else { return false };
        let group = &self.durable.group;
        let vote = Vote {
            group: group.name.clone(),
            witness: self.id,
            floor: epoch,
            named: named.clone(),
            since,
            rest: rest.clone(),
            seq: self.heard.get(named).map(|heard| heard.report.seq),
            ttl: group.terms.ttl,
            basis: group.epoch,
            revision: group.revision,
            electorate: group.electorate.clone(),
            configuration: group.configuration.clone(),
            reason,
        };
        self.durable.floor = epoch;
        let link = Link { epoch, named: named.clone(), since, rest, vote: Some(vote.clone()) };
        self.durable.chain.push(link);
        // A vote counts as a promise (finding F10): so a certificate is a first lease.
        if !mutant::on(Mutant::VoteIsNoPromise) {
            self.promise = Some(Promise { epoch, holder: named.clone(), until: now + vote.ttl });
        }
        self.pending = None;
        self.wait_for_claim(now);
        if !mutant::on(Mutant::VoteNotDurable) {
            out.push(self.persist());
        }
        out.push(Effect::Voted(vote.clone()));
        out.push(Effect::Tell(named.clone(), ToAgent::Vote(vote.clone())));
        out.push(Effect::Nodes(ToNode::Vote(vote.clone())));
        self.count(vote, out);
        true
    }

    fn may_cast(&self, epoch: Epoch, named: &InstanceName, now: Time) -> Option<(Epoch, Vec<InstanceName>)> {
        let above = self.is_new(epoch, named);
        let free = !self.promised_to_other(named, now) || mutant::on(Mutant::VoteWhilePromiseRuns);
        let settled = !self.young(now) || Some(named) == self.owner();
        if !(self.is_member() && above && free && settled) {
            return None;
        }
        self.basis()?.naming(named)
    }

    /// Strictly above all that was voted and applied here: one name a floor, for ever (findings F1, F14).
    fn is_new(&self, epoch: Epoch, named: &InstanceName) -> bool {
        let renamed = epoch == self.floor() && self.link().is_some_and(|link| link.named != *named);
        epoch > self.floor() || (renamed && mutant::on(Mutant::FloorNamedTwice))
    }

    /// Votes when silence, a release or a pending solicitation makes it due.
    pub fn vote_if_due(&mut self, now: Time, out: &mut Vec<Effect>) {
        if let Some(pending) = self.pending_fresh(now).cloned() {
            let Solicit { epoch, named, reason, .. } = &pending.solicit;
            if self.cast(*epoch, named, *reason, now, out) || *epoch <= self.floor() {
                self.pending = None;
            }
            return;
        }
        self.pending = None;
        let floor = self.floor();
        let released =
            self.released.as_ref().filter(|release| release.epoch == floor).map(|release| release.reason);
        let silent = self.silent(now);
        if (released.is_some() || silent) && self.join(silent, now, out) {
            return;
        }
        let suspects = self.suspects(now);
        let Some(reason) = released.or(suspects.then_some(Reason::Silent)) else { return };
        let Some(named) = self.candidate(suspects, now) else { return };
        if self.cast(self.floor().next(), &named, reason, now, out) {
            self.unclaimed = self.unclaimed.saturating_add(1);
        }
    }

    /// The first of the basis that is heard and could take over, of those that have turned to the owner if there is one;
    /// at last the owner itself, if it is heard again. Nobody heard: no vote yet.
    fn candidate(&self, silent: bool, now: Time) -> Option<InstanceName> {
        let next = self.floor().next();
        let basis = self.basis()?;
        let fit = |name: &&InstanceName| {
            self.hears(name, now).is_some_and(|report| report.ready && report.declined < next)
        };
        let owner = self.heard.get(&basis.owner).map(|heard| &heard.report);
        let turned = |name: &&InstanceName| {
            let reported = |name: &InstanceName| self.heard.get(name).map(|heard| &heard.report);
            self.hears(name, now).is_some_and(|report| has_turned(report, basis.since, owner, reported))
        };
        let mut able = basis.rest.iter().filter(fit);
        let first = able.clone().find(turned).or_else(|| able.next());
        if let Some(name) = first {
            return Some(name.clone());
        }
        let usable = |report: &Report| report.declined < next && self.durable.group.holds_data(report.role);
        let back = self.hears(&basis.owner, now).is_some_and(usable);
        (silent && back).then_some(basis.owner)
    }

    /// Another witness voted.
    pub fn heard_vote(&mut self, vote: Vote, now: Time, out: &mut Vec<Effect>) {
        if vote.witness == self.id {
            return;
        }
        let newer = |known: &Vote| known.floor < vote.floor;
        if self.votes.get(&vote.witness).is_none_or(newer) {
            self.count(vote, out);
        }
        self.join(self.silent(now), now, out);
    }

    /// Joins the highest vote of another that this witness can: its owner is silent here too, or is who is named.
    fn join(&mut self, silent: bool, now: Time, out: &mut Vec<Effect>) -> bool {
        let mut ahead: Vec<Vote> = self
            .votes
            .values()
            .filter(|vote| self.is_new(vote.floor, &vote.named) && vote.witness != self.id)
            .cloned()
            .collect();
        ahead.sort_by(|a, b| b.floor.cmp(&a.floor).then(a.witness.cmp(&b.witness)));
        ahead.into_iter().any(|vote| {
            let own = self.link().is_some_and(|link| link.named == vote.named);
            (silent || own) && self.cast(vote.floor, &vote.named, Reason::Joined, now, out)
        })
    }

    /// Keeps a vote; when a majority agrees, that is a decision.
    fn count(&mut self, vote: Vote, out: &mut Vec<Effect>) {
        let (floor, named) = (vote.floor, vote.named.clone());
        self.votes.insert(vote.witness, vote);
        let agreeing = self.votes.values().filter(|vote| vote.floor == floor && vote.named == named);
        if let Ok(certificate) = Certificate::new(agreeing.cloned().collect()) {
            self.learn(certificate, out);
        }
    }

    /// The primary gives up: the vote is cast at once, for whom it says or else for the heir.
    pub fn release(&mut self, release: &Release, now: Time, out: &mut Vec<Effect>) {
        let owns = self.owner() == Some(&release.instance);
        if !owns || self.floor() != release.epoch {
            return;
        }
        if self.promise.as_ref().is_some_and(|promise| promise.holder == release.instance) {
            self.promise = None;
        }
        let to = release.to.clone().filter(|to| self.hears(to, now).is_some());
        let epoch = release.epoch.next();
        let named = to.or_else(|| self.candidate(false, now));
        let cast = named.is_some_and(|named| self.cast(epoch, &named, release.reason, now, out));
        if !cast {
            self.released = Some(release.clone());
        }
    }

    /// The leader asks for a vote.
    pub fn solicited(&mut self, solicit: Solicit, now: Time, out: &mut Vec<Effect>) {
        let behind = self.durable.group.revision < solicit.revision && !mutant::on(Mutant::SolicitAheadOfLog);
        if behind || !self.is_new(solicit.epoch, &solicit.named) {
            return;
        }
        if self.cast(solicit.epoch, &solicit.named, solicit.reason, now, out) {
            return;
        }
        let nameable = self.basis().is_some_and(|basis| basis.naming(&solicit.named).is_some());
        let waits = self.promised_to_other(&solicit.named, now);
        let first = self.pending.as_ref().is_none_or(|pending| pending.solicit.epoch < solicit.epoch);
        if self.is_member() && nameable && waits && first {
            self.pending = Some(Pending { solicit, since: now });
        }
    }

    /// The solicited vote that waits, unless it has waited too long to still be wanted.
    pub fn pending_fresh(&self, now: Time) -> Option<&Pending> {
        let patience = self.durable.group.terms.ttl * 4;
        self.pending.as_ref().filter(|pending| now < pending.since + patience)
    }
}
