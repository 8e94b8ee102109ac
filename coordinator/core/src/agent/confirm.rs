//! Whom commits wait for in `sync` and `bounded`, and in `quorum` with `joint`: the primary's side of [`crate::replication`],
//! which has the rules and the argument.
//!
//! The set is kept in three places, changed in an order that never lets go too early: durably here, in Postgres's own list
//! (so that a commit sleeps until it is confirmed), and in the gate (which does the deciding: it acknowledges nothing that
//! was not flushed by all whose places it was told).

use super::joint::{MOST_PLACES, Words, bit};
use super::{Agent, Effect, Note};
use crate::ids::{Epoch, InstanceName, Lsn, NodeId, Revision};
use crate::message::Role;
use crate::mutant::{self, Mutant};
use crate::quorum::is_majority;
use crate::replication::{Configuration, Mode, Offer, Policy};
use crate::state::Group;
use crate::tags::{never_promoted, priority, upstream_of};
use crate::time::Time;
use crate::vote::Certificate;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a standby may be away before the primary lets go of it.
pub(super) const LAPSE: Duration = Duration::from_secs(1);
/// How long a standby that the leader left out of the succession is asked last.
const PASSED_OVER: Duration = Duration::from_secs(30);
/// Who is nearer by less is not nearer.
const STEP: Duration = Duration::from_millis(5);

/// Whom Postgres waits for at a commit, by place; a place may be empty. No place: it waits for nobody, commits go on.
/// Only empty places: it waits for somebody who never comes, commits stand still.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Waits {
    /// Who stands where.
    pub places: Vec<Option<InstanceName>>,
    /// For how many of them, whoever they are; for all of them without it.
    pub any: Option<usize>,
}

/// What the gate asks for before it acknowledges a commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Asks {
    /// Of whom.
    pub confirm: Words,
    /// What they must have: all that was acknowledged longer ago than this; without it, the commit itself.
    pub rpo: Option<Duration>,
}

/// Whom commits wait for, and who is offered for the succession.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Confirmers {
    /// Everybody whom a majority of witnesses may still name and who gathers nothing: commits wait for all of them.
    pub names: BTreeSet<InstanceName>,
    /// In `quorum`, what commits have to satisfy besides: the configuration that a majority goes by, and the one that was
    /// offered since or shall be.
    #[serde(default)]
    pub joint: Vec<Configuration>,
    /// Whether `names` shall follow what is in `joint`, and not the other way round.
    #[serde(default)]
    pub names_follow: bool,
    /// Those of them that have everything, and who shall be in the succession.
    pub offer: Offer,
    /// How far the log has to be known before the mode is taken from it: as far as the voters knew it.
    pub known_from: Revision,
    /// Since which revision the log has not been in `async`, as far as heard.
    pub sync_since: Revision,
    /// Whether who may be named is among them: not yet when the log was in `async` before, and the succession is of then.
    pub in_force: bool,
}

/// What the agent has seen of it, and told the gate, in this run.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Confirm {
    /// What the gate was told last.
    pub asked: Option<Asks>,
    /// From when on the gate surely goes by it.
    since: Option<Time>,
    /// What the primary had flushed at some moment since.
    mark: Option<Lsn>,
    /// Who has flushed that, or a mark of before.
    pub confirmed: BTreeSet<InstanceName>,
    /// Who has flushed this mark.
    pub reached: BTreeSet<InstanceName>,
    /// Which tightening of the mode the gate went by when they did.
    pub tightened: Revision,
    /// When each standby was seen to receive.
    streamed: BTreeMap<InstanceName, Time>,
    /// How near each was seen to be, in steps of [`STEP`]: the least of all measurements, for load only adds.
    distances: BTreeMap<InstanceName, u128>,
    /// Whom the leader left out of the succession, and when that was seen.
    passed_over: BTreeMap<InstanceName, Time>,
    /// The revision of the log that each witness's last promise under the epoch acted on carried.
    carried: BTreeMap<NodeId, Revision>,
}

impl Confirm {
    /// The gate is told. It is certain to go by that when the effects of this step have been carried out.
    pub fn ask(&mut self, asks: Asks) {
        if self.asked != Some(asks) {
            (self.asked, self.since, self.mark) = (Some(asks), None, None);
            self.reached.clear();
        }
    }

    /// The log has been tightened so: what has been confirmed under less counts no more, once the gate goes by it.
    fn tighten(&mut self, mode: Mode, tightened: Revision) {
        let slack = |asks: &Asks| asks.rpo.unwrap_or(Duration::ZERO);
        if self.tightened != tightened && self.asked.as_ref().is_some_and(|asks| slack(asks) <= mode.slack())
        {
            self.tightened = tightened;
            (self.since, self.mark) = (None, None);
            self.confirmed.clear();
            self.reached.clear();
        }
    }
}

impl Agent {
    /// An office begins: whoever may be named after it has to confirm from the first commit on.
    pub(super) fn begin_confirming(&mut self, epoch: Epoch, certificate: Option<&Certificate>) {
        let continues = self.postgres.seen.role == Role::Primary;
        let before = self.durable.confirmers.take().filter(|_| continues);
        self.confirm.carried.clear();
        if !continues {
            self.confirm = Confirm::default();
        }
        let votes = certificate.into_iter().flat_map(Certificate::votes);
        let known_from = votes.map(|vote| vote.revision).max().unwrap_or_default();
        let known = self.group.as_ref().filter(|group| group.revision >= known_from);
        if before.is_none() && known.is_some_and(|group| group.terms.mode == Mode::Async) {
            return;
        }
        let mut confirmers = before.unwrap_or(Confirmers { in_force: true, ..Confirmers::default() });
        // One that goes on by configurations alone is followed by who gathers: by one of those, whoever votes.
        let gathers = confirmers.names.is_empty() && confirmers.joint.iter().any(|one| one.count > 0);
        if !(gathers || mutant::on(Mutant::HeirWaitsForNobody)) {
            confirmers.names.extend(self.nameable(epoch, certificate));
        }
        confirmers.names.remove(&self.me.instance);
        confirmers.known_from = known_from;
        self.durable.confirmers = Some(confirmers);
        self.give_places();
    }

    /// Whom a majority may name after a decision that makes this instance primary.
    fn nameable(&self, epoch: Epoch, certificate: Option<&Certificate>) -> BTreeSet<InstanceName> {
        match certificate {
            Some(certificate) => {
                certificate.votes().iter().flat_map(|vote| vote.rest.iter().cloned()).collect()
            }
            // The first primary has no succession yet. Later, whose votes it was is not known here.
            None if epoch == Epoch(1) => BTreeSet::new(),
            None => self.group.iter().flat_map(|group| group.instances.keys().cloned()).collect(),
        }
    }

    /// A witness has promised in that epoch, and has applied the log so far.
    pub(super) fn carries(&mut self, node: NodeId, epoch: Epoch, revision: Revision) {
        if Some(epoch) == self.office() {
            let known = self.confirm.carried.entry(node).or_default();
            *known = revision.max(*known);
        }
    }

    /// Whether a majority has promised in this epoch with the log's word that is known here, or a later one.
    pub(super) fn is_carried(&self) -> bool {
        let Some(group) = self.group.as_ref().filter(|group| Some(group.epoch) == self.office()) else {
            return false;
        };
        let newer = self.confirm.carried.iter().filter(|(_, revision)| **revision >= group.revision);
        is_majority(&group.electorate, newer.map(|(node, _)| node))
    }

    /// Whether a majority would follow a release to that one: in `sync` it may have to be let into the succession first.
    pub(super) fn surely_nameable(&self, name: &InstanceName) -> bool {
        self.group.as_ref().is_some_and(|group| {
            group.terms.mode == Mode::Async || (group.succession.contains(name) && self.is_carried())
        })
    }

    /// Looks after the set while in office: lets in, offers, lets go.
    pub(super) fn keep_confirmers(&mut self, now: Time, out: &mut Vec<Effect>) {
        let known = self.known();
        let known = known.map(|group| (group.terms.mode, group.mode_since, group.tightened));
        if let Some((mode, _, tightened)) = known {
            self.confirm.tighten(mode, tightened);
        }
        if self.confirm.asked.is_some() && self.confirm.since.is_none() {
            self.confirm.since = Some(now); // the effects of the step that asked have been carried out
        }
        let Some((mode, sync_since, _)) = known else { return };
        let before = (self.durable.confirmers.clone(), self.durable.places.len());
        match mode {
            Mode::Async => self.confirm_no_more(),
            Mode::Sync { .. } | Mode::Bounded { .. } | Mode::Quorum { .. } => {
                let confirmers = self.durable.confirmers.get_or_insert_default();
                let unbroken = [sync_since, Revision(0)].contains(&confirmers.sync_since);
                confirmers.in_force &= unbroken; // else the succession may be that of `async`
                confirmers.sync_since = sync_since;
                if self.postgres.seen.role == Role::Primary {
                    self.note_passed_over(now);
                    self.settle_joint();
                    match mode {
                        Mode::Quorum { .. } => self.offer_joint(mode.count(), now),
                        _ => self.offer_anew(mode.count(), now),
                    }
                }
            }
        }
        self.give_places();
        if before != (self.durable.confirmers.clone(), self.durable.places.len()) {
            out.push(self.persist());
            let names =
                |of: &Option<Confirmers>| of.iter().flat_map(Confirmers::all).cloned().collect::<Vec<_>>();
            let now_for = names(&self.durable.confirmers);
            if names(&before.0) != now_for {
                out.push(Effect::Note(Note::WaitsFor(now_for)));
            }
        }
    }

    /// The log's word, if it reaches as far as the voters knew it.
    fn known(&self) -> Option<&Group> {
        let known_from = self.durable.confirmers.as_ref().map_or(Revision(0), |of| of.known_from);
        self.group.as_ref().filter(|group| group.revision >= known_from && self.office().is_some())
    }

    /// How old a commit may be that was acknowledged and that they lack. Who does not know the mode behaves as in `sync`,
    /// and who lets go of them goes on as before until then.
    pub(super) fn may_lack(&self) -> Option<Duration> {
        let letting_go = self.durable.confirmers.is_some();
        match self.known()?.terms.mode {
            Mode::Async => self.confirm.asked.filter(|_| letting_go).and_then(|asks| asks.rpo),
            mode => mode.rpo(),
        }
    }

    /// The mode is `async` again: Postgres is let go of when a majority's word rests on that.
    fn confirm_no_more(&mut self) {
        if self.opened == Epoch(0) || self.is_carried() {
            self.durable.confirmers = None;
            self.confirm.confirmed.clear();
        }
    }

    fn offer_anew(&mut self, count: usize, now: Time) {
        let gathers = self.durable.confirmers.as_ref().is_some_and(|of| of.offer.count.is_some());
        if gathers && self.offer_is_open() {
            return; // beside two configurations there is no word for a third
        }
        let wanted = self.wanted(count, now);
        let carried = self.is_carried();
        let has_all = |name: &&InstanceName| {
            self.confirm.confirmed.contains(*name) || mutant::on(Mutant::OfferedUnconfirmed)
        };
        let ready: BTreeSet<InstanceName> = wanted.iter().filter(has_all).cloned().collect();
        // Nobody is let go of before who is wanted instead is there, or while it is not known yet who comes.
        let new_office = now < self.office_since + LAPSE;
        // Nor of the last when nobody comes instead and commits wait anyway: it has them all, and may be the only heir.
        let last = wanted.is_empty() && self.blocks() && self.some_offered_may_follow();
        let settled = ready.len() == wanted.len() && (wanted.len() >= count || !new_office) && !last;
        let Some(confirmers) = &mut self.durable.confirmers else { return };
        confirmers.names_follow |= confirmers.names.is_empty() && !confirmers.joint.is_empty();
        confirmers.names.extend(wanted.iter().cloned());
        confirmers.drop_what_was_not_offered();
        let there = &confirmers.offer;
        let members: BTreeSet<_> =
            if settled { ready } else { there.members.union(&ready).cloned().collect() };
        let all_do = members.iter().all(|name| has_all(&name));
        let tightened = if all_do { self.confirm.tightened } else { there.tightened };
        let first = settled && (there.version == 0 || gathers);
        let anew = first || there.version > 0 && tightened != there.tightened;
        if anew || (members != there.members && !gathers) {
            let offer = Offer { version: self.next_version(), members, tightened, count: None };
            if let Some(confirmers) = &mut self.durable.confirmers {
                confirmers.offer = offer;
            }
        }
        let Some(confirmers) = &mut self.durable.confirmers else { return };
        // Carried, it says that no majority can name an instance any more that is not offered.
        let taken = self.group.as_ref().is_some_and(|group| group.has_taken(&confirmers.offer));
        let loose = carried && taken || mutant::on(Mutant::LoosenedBeforeCarried);
        if loose && confirmers.offer.version > 0 && confirmers.offer.count.is_none() {
            confirmers.joint.clear();
            confirmers.names_follow = false;
            confirmers.names = confirmers.offer.members.iter().chain(&wanted).cloned().collect();
            confirmers.in_force = true;
            let names = &confirmers.names;
            self.confirm.confirmed.retain(|name| names.contains(name));
        }
    }

    /// The standbys that receive, or did a moment ago.
    pub(super) fn alive(&self, now: Time) -> impl Iterator<Item = &InstanceName> {
        let streamed = self.confirm.streamed.iter();
        streamed.filter(move |(_, at)| now < **at + LAPSE).map(|(name, _)| name)
    }

    /// Who should confirm: the successor of a switchover, those in other regions, then by priority, the nearest, those that do
    /// so already, then by name. Who may never take over does not.
    ///
    /// The nearest, for commits wait for it, and because who is farther is behind it when the primary is lost, and can follow it:
    /// who is ahead has to be rewound first, and perhaps nobody else is left to confirm to the new primary.
    fn wanted(&self, count: usize, now: Time) -> BTreeSet<InstanceName> {
        let Some(group) = &self.group else { return BTreeSet::new() };
        let offered = self.durable.confirmers.as_ref().map(|confirmers| &confirmers.offer.members);
        let place = |name: &&InstanceName| {
            let passed = self.confirm.passed_over.get(*name).is_some_and(|at| now < *at + PASSED_OVER);
            let near = group.instances.get(*name).is_some_and(|at| at.region == self.me.at.region);
            let new = !offered.is_some_and(|offered| offered.contains(*name));
            // It is here only until it can receive from another standby again.
            let passing = upstream_of(group, name, &self.me.instance).is_some();
            let rank = Reverse(priority(group, name));
            let far = self.confirm.distances.get(*name).copied().unwrap_or(u128::MAX);
            (self.successor() != Some(*name), passed, passing, near, rank, far, new, (*name).clone())
        };
        let known = |name: &&InstanceName| {
            group.instances.contains_key(*name) && **name != self.me.instance && !never_promoted(group, name)
        };
        let mut able: Vec<&InstanceName> = self.alive(now).filter(known).collect();
        able.sort_by_key(place);
        able.into_iter().take(count).cloned().collect()
    }

    /// Whether somebody is offered who may take over, as its tags are now.
    fn some_offered_may_follow(&self) -> bool {
        let Some(group) = &self.group else { return true };
        let offered = self.durable.confirmers.as_ref().map(|confirmers| &confirmers.offer.members);
        offered.is_none_or(|all| all.is_empty() || all.iter().any(|name| !never_promoted(group, name)))
    }

    /// A standby that is offered and that the leader does not put into the succession cannot take over, for a reason that
    /// is not seen from here: another shall be asked.
    fn note_passed_over(&mut self, now: Time) {
        let Some(group) = self.group.as_ref().filter(|group| Some(group.epoch) == self.office()) else {
            return;
        };
        let Some(confirmers) = &self.durable.confirmers else { return };
        if confirmers.offer.version != group.offered {
            return;
        }
        for name in confirmers.offer.members.iter().filter(|name| !group.succession.contains(name)) {
            self.confirm.passed_over.entry((*name).clone()).or_insert(now);
        }
        self.confirm.passed_over.retain(|_, at| now < *at + PASSED_OVER);
    }

    /// The standbys were looked at.
    pub(super) fn watch_standbys(&mut self, now: Time) {
        let seen = &self.postgres.seen;
        for name in seen.standbys.keys() {
            self.confirm.streamed.insert(name.clone(), now);
        }
        for (name, distance) in &seen.distances {
            let steps = distance.as_millis() / STEP.as_millis();
            let least = self.confirm.distances.entry(name.clone()).or_insert(steps);
            *least = steps.min(*least);
        }
        if self.confirm.since.is_none_or(|since| seen.at < since) {
            return;
        }
        let mark = *self.confirm.mark.get_or_insert(seen.position.flushed);
        let asked = self.confirm.asked.map(|asks| asks.confirm).unwrap_or_default();
        for (name, _) in seen.standbys.iter().filter(|(_, flushed)| **flushed >= mark) {
            let place = self.durable.places.iter().position(|placed| placed == name);
            let Some(place) = place.filter(|place| *place < MOST_PLACES) else { continue };
            let kept = self.durable.confirmers.as_ref().is_some_and(|of| of.names.contains(name));
            if kept && asked.of_all() & bit(place) != 0 {
                self.confirm.confirmed.insert(name.clone());
            }
            self.confirm.reached.insert(name.clone());
        }
    }

    pub(super) fn give_places(&mut self) {
        let Some(confirmers) = &self.durable.confirmers else { return };
        let places = &self.durable.places;
        let new: Vec<InstanceName> =
            confirmers.all().into_iter().filter(|name| !places.contains(name)).cloned().collect();
        self.durable.places.extend(new);
    }

    /// Whether commits wait while nobody can confirm them.
    pub(super) fn blocks(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.terms.policy == Policy::Block)
    }

    /// In `async`, what somebody else has set is theirs.
    pub(super) fn waits_as_it_must(&self) -> bool {
        match &self.postgres.seen.waits {
            Some(waits) => *waits == self.must_wait_for(),
            None => self.durable.confirmers.is_none(),
        }
    }

    /// What the gate must see confirmed. It follows Postgres: until that waits for others, the gate asks for those before.
    pub(super) fn must_confirm(&self) -> Words {
        match self.confirm.asked {
            Some(asks) if self.durable.confirmers.is_some() && !self.waits_as_it_must() => asks.confirm,
            _ => self.words(),
        }
    }

    /// What the reports say of it.
    pub(super) fn offer(&self) -> Option<Offer> {
        self.office()?;
        self.durable.confirmers.as_ref().map(|confirmers| confirmers.offer.clone())
    }
}
