//! What a witness keeps of one group, and its sense of silence. What it may promise and vote is beside this file.

use super::Effect;
use super::cast::Pending;
use crate::ids::{Epoch, InstanceName, Lsn, NodeId};
use crate::lease::Promise;
use crate::message::{Refusal, Release, Report, Role, Standing, ToAgent, ToNode};
use crate::mutant::{self, Mutant};
use crate::replication::Configuration;
use crate::state::Group;
use crate::time::{Time, outlived};
use crate::vote::{Certificate, Vote};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a vote that the log has not passed is sent again, and how often a witness says where it stands.
pub(super) const REPEAT: Duration = Duration::from_millis(100);

/// Within this time after a witness starts, an agent that is there has made its stream to it: the longest attempt and
/// pause of an agent's link, and three round trips.
pub const LINKING: Duration = Duration::from_secs(3);

/// What a witness must never forget of one group.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Durable {
    /// The log's word, as this witness last answered with: it never goes back behind it, whatever its own log can
    /// replay after a restart (finding F16).
    pub group: Group,
    /// No epoch below this one is granted again.
    pub floor: Epoch,
    /// Own votes and adopted certificates above the applied epoch, oldest first.
    pub chain: Vec<Link>,
    /// The longest ttl ever in force: for so long a promise may bind that a restart made it forget (finding F9).
    pub max_ttl: Duration,
}

/// One link of a witness's chain: what it said, or saw decided, beyond the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Link {
    /// The epoch.
    pub epoch: Epoch,
    /// Whom it names.
    pub named: InstanceName,
    /// Since which epoch that one would be primary without interruption.
    pub since: Epoch,
    /// Who may follow it.
    pub rest: Vec<InstanceName>,
    /// The vote, when it is this witness's own; an adopted certificate has none.
    pub vote: Option<Vote>,
}

impl Durable {
    /// Nothing said yet.
    pub fn new(group: Group) -> Durable {
        let max_ttl = group.terms.ttl;
        Durable { group, floor: Epoch(1), chain: Vec::new(), max_ttl }
    }
}

#[derive(Clone, Hash, Debug)]
pub(super) struct Heard {
    pub report: Report,
    pub at: Time,
}

#[derive(Clone, Hash, Debug)]
pub(super) struct Seat {
    pub id: NodeId,
    pub durable: Durable,
    pub promise: Option<Promise>,
    pub pending: Option<Pending>,
    pub heard: BTreeMap<InstanceName, Heard>,
    /// The votes heard last from each witness, the own one among them.
    pub votes: BTreeMap<NodeId, Vote>,
    /// Own votes in a row that nobody claimed: each doubles the patience, up to a bound.
    pub unclaimed: u32,
    /// The epoch whose holder gave it up: nothing has to be waited for.
    pub released: Option<Release>,
    decided: Option<Certificate>,
    quiet_since: Time,
    voted_at: Option<Time>,
    young_until: Time,
    linked_by: Time,
    repeat_at: Time,
}

impl Seat {
    pub fn new(id: NodeId, durable: Durable, now: Time) -> Seat {
        let own = durable.chain.last().and_then(|link| link.vote.clone());
        let no_wait = mutant::on(Mutant::NoRestartWait);
        let restart_wait = if no_wait { Duration::ZERO } else { outlived(durable.max_ttl) };
        Seat {
            id,
            promise: None,
            pending: None,
            heard: BTreeMap::new(),
            votes: own.map(|vote| (id, vote)).into_iter().collect(),
            unclaimed: 0,
            released: None,
            decided: None,
            quiet_since: now,
            voted_at: None,
            young_until: now + restart_wait,
            linked_by: now + LINKING,
            repeat_at: now,
            durable,
        }
    }

    /// For a group this witness has just heard of for the first time.
    pub fn never_promised(&mut self) {
        self.young_until = Time::ZERO;
    }

    /// Whether this witness may have promised something before it started, and forgotten it.
    pub fn young(&self, now: Time) -> bool {
        now < self.young_until
    }

    pub fn is_member(&self) -> bool {
        self.durable.group.electorate.contains(&self.id)
    }

    /// The lowest epoch this witness may still grant. The applied epoch counts as a floor: that spares a flush for
    /// each promise on the log's word (finding F14).
    pub fn floor(&self) -> Epoch {
        self.durable.floor.max(self.durable.group.epoch)
    }

    /// The link that names somebody for the floor, if the log has not decided that epoch here.
    pub fn link(&self) -> Option<&Link> {
        self.durable.chain.last().filter(|link| link.epoch == self.floor())
    }

    /// Whom this witness takes for primary, or wants to be: its own name, else the log's.
    pub fn owner(&self) -> Option<&InstanceName> {
        self.link().map(|link| &link.named).or(self.durable.group.primary.as_ref())
    }

    pub fn persist(&self) -> Effect {
        let mut kept = self.durable.clone();
        if mutant::on(Mutant::FloorNotDurable) {
            kept.floor = Epoch(1);
        }
        Effect::Persist(Box::new(kept))
    }

    pub fn promised_to_other(&self, than: &InstanceName, now: Time) -> bool {
        self.promise.as_ref().is_some_and(|promise| promise.runs(now) && promise.holder != *than)
    }

    /// The log has moved.
    pub fn applied(&mut self, group: Group, now: Time, out: &mut Vec<Effect>) {
        if group.revision <= self.durable.group.revision && !mutant::on(Mutant::AppliedGoesBack) {
            return; // replayed after a restart: this witness has answered with a later one
        }
        let moved = group.epoch > self.durable.group.epoch;
        let governed_anew = group.electorate != self.durable.group.electorate;
        if governed_anew && !mutant::on(Mutant::NoElectorateWait) {
            // A lease may rest on the electorate before the last one until every promise under it is over; the
            // majorities of two electorates that are two steps apart need not meet.
            self.young_until =
                self.young_until.max(now + outlived(self.durable.max_ttl.max(group.terms.ttl)));
        }
        self.durable.max_ttl = self.durable.max_ttl.max(group.terms.ttl);
        self.durable.chain.retain(|link| link.epoch > group.epoch);
        self.durable.group = group;
        if moved && self.durable.chain.is_empty() {
            // Time for the new one, but no less patience: only who claims here ends a silence. Else a witness that
            // the primary alone cannot reach would vote against it as often as the leader reaffirms it.
            self.quiet_since = now;
            self.released = None;
        }
        out.push(self.persist());
        out.push(Effect::TellAll(ToAgent::Known(Box::new(self.durable.group.clone()))));
    }

    /// An instance reports.
    pub fn report(&mut self, report: Report, now: Time, out: &mut Vec<Effect>) {
        let who = report.instance.clone();
        if self.heard.get(&who).is_some_and(|heard| heard.report.seq >= report.seq) {
            return; // duplicated or overtaken
        }
        self.listen(&report, now);
        let answer = match self.answered_epoch(&report, now) {
            Some(epoch) => self.promise(&report, epoch, now),
            None => self.answer(&report, None, now),
        };
        self.pass_on(&report, out);
        self.heard.insert(who.clone(), Heard { report, at: now });
        out.push(Effect::Tell(who, answer));
    }

    /// That a report was heard, and what its sender should know of the primary.
    pub fn answer(&self, report: &Report, refused: Option<Refusal>, now: Time) -> ToAgent {
        let said = self.owner().and_then(|owner| self.hears(owner, now));
        let primary = said.filter(|said| said.role == Role::Primary);
        ToAgent::Heard {
            group: report.group.clone(),
            seq: report.seq,
            refused,
            promoted: self.promoted(),
            ahead: primary.map_or(Lsn(0), |said| said.position.received),
        }
    }

    /// The floor, if whoever is named at it is a primary under it.
    pub fn promoted(&self) -> Epoch {
        let said = self.owner().and_then(|owner| self.heard.get(owner)).map(|heard| &heard.report);
        let floor = self.floor();
        let works = said.is_some_and(|said| said.role == Role::Primary && said.claims == Some(floor));
        if works { floor } else { Epoch(0) }
    }

    /// Who is named here may have to know where the others are before it can be promoted; they say so to the witnesses.
    fn pass_on(&self, report: &Report, out: &mut Vec<Effect>) {
        let Some(heir) = self.owner().filter(|heir| **heir != report.instance) else { return };
        let promoted = self.heard.get(heir).is_some_and(|heard| heard.report.role == Role::Primary);
        let asks = self.durable.group.configuration.as_ref().is_some_and(Configuration::must_gather);
        if asks && !promoted && report.detached >= self.floor() {
            let Report { group, instance, detached, position, .. } = report;
            let (group, instance) = (group.clone(), instance.clone());
            let word = ToAgent::Detached { group, instance, epoch: *detached, position: *position };
            out.push(Effect::Tell(heir.clone(), word));
        }
    }

    /// Silence ends when the owner claims its epoch here, and also while the log's primary says that it holds a lease
    /// though it claims in vain here: others promise it, and more votes would only be in its way.
    fn listen(&mut self, report: &Report, now: Time) {
        let Some(epoch) = report.claims else { return };
        let owns = Some(&report.instance) == self.owner() && epoch == self.floor();
        let leased = report.leased && Some(&report.instance) == self.durable.group.primary.as_ref();
        if owns || leased {
            self.forgive(now);
        }
    }

    fn forgive(&mut self, now: Time) {
        self.quiet_since = now;
        self.unclaimed = 0;
        self.released = None;
    }

    pub fn forgive_stall(&mut self, gap: Duration, now: Time) {
        self.quiet_since = (self.quiet_since + gap).min(now);
    }

    /// A vote was cast, or a decision adopted: the named one gets its time.
    pub fn wait_for_claim(&mut self, now: Time) {
        self.quiet_since = now;
        self.voted_at = Some(now);
        self.repeat_at = now + REPEAT;
        self.released = None;
    }

    /// Whether the last vote of this run of the witness was cast less than `span` ago.
    pub fn voted_within(&self, span: Duration, now: Time) -> bool {
        self.voted_at.is_some_and(|at| now < at + span)
    }

    /// Whether the owner has been silent for longer than this witness is patient.
    pub fn silent(&self, now: Time) -> bool {
        now >= self.quiet_since + self.patience()
    }

    /// Whether that silence is worth a vote that no other witness has cast before. Who has just started hears nobody
    /// until agents have found it again: that is its own deafness, and nobody's silence.
    pub fn suspects(&self, now: Time) -> bool {
        let linked =
            self.owner().is_some_and(|owner| self.heard.contains_key(owner)) || now >= self.linked_by;
        linked && self.silent(now)
    }

    fn patience(&self) -> Duration {
        if self.unclaimed > 0 && mutant::on(Mutant::NeverBacksOff) {
            return REPEAT / 4;
        }
        let terms = &self.durable.group.terms;
        let suspicion = if mutant::on(Mutant::Impatient) { terms.ttl } else { terms.suspicion };
        suspicion * (1 << self.unclaimed.saturating_sub(1).min(4))
    }

    /// Whether an instance was heard lately enough to be worth a vote.
    pub fn hears(&self, instance: &InstanceName, now: Time) -> Option<&Report> {
        let suspicion = self.durable.group.terms.suspicion;
        self.heard.get(instance).filter(|heard| now < heard.at + suspicion).map(|heard| &heard.report)
    }

    /// Whatever time alone makes due: repeat, cast what waits, vote out who is silent.
    pub fn decide(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.vote_if_due(now, out);
        if now >= self.repeat_at {
            self.repeat_at = now + REPEAT;
            self.repeat_vote(out);
            out.push(Effect::Nodes(ToNode::Standing(self.standing(now))));
        }
    }

    fn repeat_vote(&self, out: &mut Vec<Effect>) {
        if let Some(mut vote) = self.link().and_then(|link| link.vote.clone()) {
            if mutant::on(Mutant::ResentVoteFreshSeq) {
                vote.seq = self.heard.get(&vote.named).map(|heard| heard.report.seq);
            }
            out.push(Effect::Tell(vote.named.clone(), ToAgent::Vote(vote.clone())));
            out.push(Effect::Nodes(ToNode::Vote(vote)));
        }
    }

    pub fn wake_at(&self, now: Time) -> Option<Time> {
        let promise = self.promise.as_ref().map(|promise| promise.until);
        let due = [Some(self.repeat_at), Some(self.quiet_since + self.patience()), promise];
        let later = due
            .into_iter()
            .chain([Some(self.young_until), Some(self.linked_by)])
            .flatten()
            .filter(|at| *at > now)
            .min();
        if self.repeat_at <= now { Some(now) } else { later }
    }

    /// Keeps a decision when it is news here: tells agents and watchers. Returns whether it was.
    pub fn learn(&mut self, certificate: Certificate, out: &mut Vec<Effect>) -> bool {
        let known = self.decided.as_ref().map_or(Epoch(0), Certificate::epoch);
        if certificate.epoch() <= known.max(self.durable.group.epoch) {
            return false;
        }
        self.decided = Some(certificate.clone());
        out.push(Effect::TellAll(ToAgent::Decided(certificate.clone())));
        out.push(Effect::Decided(certificate));
        true
    }

    pub fn decided(&self) -> Option<&Certificate> {
        self.decided.as_ref().filter(|certificate| certificate.epoch() > self.durable.group.epoch)
    }

    pub fn reports(&self) -> impl Iterator<Item = (&Report, Time)> + '_ {
        self.heard.values().map(|heard| (&heard.report, heard.at))
    }

    pub fn standing(&self, now: Time) -> Standing {
        let group = &self.durable.group;
        let basis = self.basis();
        let promised = self.promise.as_ref().filter(|promise| promise.runs(now));
        Standing {
            group: group.name.clone(),
            witness: self.id,
            floor: self.floor(),
            named: self.link().map(|link| link.named.clone()),
            epoch: group.epoch,
            primary: group.primary.clone(),
            revision: group.revision,
            electorate: group.electorate.clone(),
            promised: promised.map(|promise| (promise.holder.clone(), promise.epoch)),
            may_name: basis.map(|basis| basis.all()).unwrap_or_default(),
            hears: group
                .instances
                .keys()
                .filter_map(|name| self.hears(name, now).map(|report| (name.clone(), report.rtt_us)))
                .collect(),
        }
    }
}
