//! What the Raft leader does: keep the succession in the log, record decisions, and get votes going again when they
//! decided nothing. Level-triggered: it recomputes everything from scratch, so doing a thing twice is harmless.
//! It never stands between a death and a promotion, and safety never depends on it.

use crate::command::Command;
use crate::drain;
use crate::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName};
use crate::message::{HandOver, Role, Solicit, ToAgent};
use crate::mutant::{self, Mutant};
use crate::quorum::{Electorate, is_majority};
use crate::state::{Group, MAX_INSTANCES, State};
use crate::succession;
use crate::tags::never_promoted;
use crate::tail::Tail;
use crate::time::Time;
use crate::view::{GroupView, Solicited, View};
use crate::vote::{Certificate, Reason};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a primary that does not say that it has heard is asked to hand over, before the wish is forgotten.
pub const HAND_OVER_PATIENCE: Duration = Duration::from_secs(10);

/// How often votes that were asked for are asked for again.
const SOLICIT_AGAIN: Duration = Duration::from_millis(100);

/// Something the leader does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Write this into the log.
    Propose(Command),
    /// Ask every witness for a vote; the view is told.
    Solicit(Solicit),
    /// The same once more, for who did not hear it or was behind then; the view is told.
    SolicitAgain(Solicit),
    /// Tell an agent.
    Ask(GroupName, InstanceName, ToAgent),
    /// Begin a switchover: the view is told.
    Move(GroupName, HandOver),
}

/// What the leader should do now. `at_unix_ms` is the wall clock, for people only.
pub fn plan(state: &State, view: &View, now: Time, at_unix_ms: u64) -> Vec<Action> {
    let mut actions: Vec<Action> = view
        .members
        .iter()
        .filter(|(id, node)| state.nodes.get(id) != Some(node))
        .map(|(id, node)| Action::Propose(Command::SetNode { id: *id, node: node.clone() }))
        .collect();
    for group in state.groups.values() {
        let view = view.group(&group.name);
        let planner = Planner { group, view, drained: &state.drained, now, at_unix_ms };
        actions.extend(planner.plan());
    }
    actions.extend(drain::moves(state, view, now).into_iter().map(|(group, wish)| Action::Move(group, wish)));
    actions
}

struct Planner<'a> {
    group: &'a Group,
    view: &'a GroupView,
    drained: &'a BTreeSet<RegionName>,
    now: Time,
    at_unix_ms: u64,
}

impl Planner<'_> {
    fn plan(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self.registrations().collect();
        actions.extend(self.record().or_else(|| self.begin()).or_else(|| self.identify()));
        if actions.is_empty() && self.view.well(self.group, self.now) {
            actions.extend(self.change_electorate().or_else(|| self.set_succession()));
        }
        actions.extend(self.tails());
        actions.extend(self.hand_over());
        actions.extend(self.repair());
        actions.extend(self.solicit_again());
        actions
    }

    fn registrations(&self) -> impl Iterator<Item = Action> {
        // Another instance of the same name in another region is refused by the log; proposing it again would only
        // fill the log.
        let new =
            |(name, at): &(&InstanceName, &crate::command::Instance)| match self.group.instances.get(*name) {
                Some(there) => there != *at && there.region == at.region,
                // A group that is full takes nobody in, and nothing else may wait for that.
                None => self.group.instances.len() < MAX_INSTANCES,
            };
        self.view.hellos().filter(new).map(|(name, at)| {
            Action::Propose(Command::Register {
                group: self.group.name.clone(),
                instance: name.clone(),
                at: at.clone(),
            })
        })
    }

    /// Writes down what a change of primary left behind, once the log has the change.
    fn tails(&self) -> impl Iterator<Item = Action> {
        let (group, known) = (self.group, &self.group.instances);
        let new = move |tail: &&Tail| {
            known.contains_key(&tail.instance) && tail.epoch <= group.epoch && !group.knows_tail(tail)
        };
        let record = |tail: &Tail| Command::RecordTail { group: group.name.clone(), tail: tail.clone() };
        self.view.tails().filter(new).map(move |tail| Action::Propose(record(tail)))
    }

    /// Writes down what the witnesses decided, with the next step of the electorate when that is what it was for.
    fn record(&self) -> Option<Action> {
        let certificate = self.view.ahead(self.group)?;
        let positions = self
            .group
            .instances
            .keys()
            .filter_map(|name| self.view.last_report(name).map(|(report, _)| (name.clone(), report.position)))
            .collect();
        Some(Action::Propose(Command::Record {
            certificate: certificate.clone(),
            electorate: self.next_electorate().filter(|_| self.continues(certificate)),
            positions,
            at_unix_ms: self.at_unix_ms,
        }))
    }

    fn continues(&self, certificate: &Certificate) -> bool {
        self.group.primary.as_ref() == Some(certificate.named())
            && certificate.votes().iter().all(|vote| vote.basis == self.group.epoch)
    }

    /// One witness closer to the electorate wished for: first those that come, then those that go.
    fn next_electorate(&self) -> Option<Electorate> {
        let desired = self.group.desired_electorate.as_ref()?;
        let mut next = self.group.electorate.clone();
        if mutant::on(Mutant::ElectorateInOneLeap) {
            next = desired.clone();
        } else if let Some(new) = desired.difference(&next).next().copied() {
            next.insert(new);
        } else if let Some(old) = next.difference(desired).next().copied() {
            next.remove(&old);
        }
        (next != self.group.electorate).then_some(next)
    }

    /// The first primary: the one wished for, else one that has data already, else the first by name.
    fn begin(&self) -> Option<Action> {
        if self.group.epoch != Epoch(0) {
            return None;
        }
        let alive = |name: &InstanceName| {
            let report = self.view.fresh(self.group, name, self.now)?;
            (report.role != Role::Refused).then_some(report)
        };
        let primary = match &self.group.first {
            Some(first) => {
                Some(first).filter(|first| self.group.instances.contains_key(first) && alive(first).is_some())
            }
            None => {
                let wanted =
                    |name: &&InstanceName| alive(name).is_some() && !never_promoted(self.group, name);
                let known = || self.group.instances.keys().filter(wanted);
                let with_data =
                    known().find(|name| alive(name).is_some_and(|report| report.system_id.is_some()));
                with_data.or_else(|| known().next())
            }
        };
        Some(Action::Propose(Command::Begin {
            group: self.group.name.clone(),
            primary: primary?.clone(),
            at_unix_ms: self.at_unix_ms,
        }))
    }

    fn identify(&self) -> Option<Action> {
        let primary = self.group.primary.as_ref().filter(|_| self.group.system_id.is_none())?;
        let report = self.view.fresh(self.group, primary, self.now)?;
        let system_id = report.system_id.filter(|_| report.role == Role::Primary && report.leased)?;
        // Every later epoch gets a number above the timeline that is there. One that was adopted is ahead of its epoch.
        let ahead = u64::from(report.position.timeline).saturating_sub(report.claims?.0);
        let timeline_base = u32::try_from(ahead).unwrap_or_default();
        Some(Action::Propose(Command::SetSystem { group: self.group.name.clone(), system_id, timeline_base }))
    }

    fn set_succession(&self) -> Option<Action> {
        if mutant::on(Mutant::SuccessionKept) && !self.group.succession.is_empty() {
            return None;
        }
        let (succession, offer) = succession::desired(self.group, self.view, self.now)?;
        // Spared of those who may stand in it at all: in `sync` the last who confirms is not given up for a drain.
        let succession = drain::spared(self.group, succession, self.drained);
        if self.restarts() && self.group.succession.iter().any(|name| !succession.contains(name)) {
            return None;
        }
        let newer = offer
            .as_ref()
            .is_some_and(|offer| offer.version >= self.group.offered && !self.group.has_taken(offer));
        (newer || succession != self.group.succession).then(|| {
            Action::Propose(Command::SetSuccession {
                group: self.group.name.clone(),
                epoch: self.group.epoch,
                revision: self.group.revision,
                succession,
                offer,
            })
        })
    }

    /// Whether the primary's Postgres does not run just now, under its lease: nobody can stream from it, and whoever could take over
    /// from it can still, if it does not start again.
    fn restarts(&self) -> bool {
        let primary = self.view.current(self.group).1;
        let report = primary.and_then(|primary| self.view.fresh(self.group, primary, self.now));
        report.is_some_and(|report| report.role == Role::Stopped)
            && !mutant::on(Mutant::RestartEmptiesSuccession)
    }

    fn change_electorate(&self) -> Option<Action> {
        self.next_electorate().filter(|_| self.may_solicit())?;
        let primary = self.group.primary.as_ref()?;
        Some(self.solicit(self.group.epoch.next(), primary, Reason::Terms))
    }

    fn hand_over(&self) -> Option<Action> {
        let (wish, asked) = self.view.hand_over(self.group)?;
        let primary = self.view.current(self.group).1.filter(|_| self.now < asked + HAND_OVER_PATIENCE)?;
        let whom = if wish.restart { &wish.to } else { primary };
        let heard = self.view.progress(whom).is_some_and(|progress| progress.ticket == wish.ticket);
        if heard {
            return None;
        }
        let message = ToAgent::HandOver { group: self.group.name.clone(), wish: wish.clone() };
        Some(Action::Ask(self.group.name.clone(), whom.clone(), message))
    }

    /// When a group was not well for long enough that the witnesses themselves should have mended it.
    fn repair(&self) -> Vec<Action> {
        let patience = self.group.terms.suspicion * 3;
        let unwell = self.now >= self.view.well_at() + patience;
        if self.group.primary.is_none() || !unwell || !self.may_solicit() {
            return Vec::new();
        }
        if let Some((epoch, named)) = self.next_candidate() {
            return vec![self.solicit(epoch, &named, Reason::Reaffirmed)];
        }
        let up_to = self.highest_floor();
        let ask = |name: &InstanceName| {
            let message = ToAgent::Decline { group: self.group.name.clone(), up_to };
            Action::Ask(self.group.name.clone(), name.clone(), message)
        };
        let news = |name: &&InstanceName| {
            self.view.fresh(self.group, name, self.now).is_some_and(|report| report.declined < up_to)
        };
        self.group.instances.keys().filter(news).map(ask).collect()
    }

    /// A round trip and a claim must have had time since the last solicitation, or it would be a storm of epochs.
    fn may_solicit(&self) -> bool {
        self.view.last_solicited().is_none_or(|asked| !self.waits_for(asked))
            || mutant::on(Mutant::SolicitsWithoutPause)
    }

    fn waits_for(&self, asked: &Solicited) -> bool {
        let pause = self.group.terms.suspicion * 2;
        self.now < asked.first + pause
    }

    /// A witness that had not applied yet what the leader decided on has not answered, and will not by itself: where it is needed,
    /// those that did vote would have made the primary lose its lease for nothing.
    fn solicit_again(&self) -> Option<Action> {
        let asked = self.view.last_solicited().filter(|asked| self.waits_for(asked))?;
        let epoch = asked.solicit.epoch;
        let undecided = epoch > self.view.current(self.group).0 && epoch >= self.highest_floor();
        let due = self.now >= asked.last + SOLICIT_AGAIN && !mutant::on(Mutant::SolicitsOnce);
        (undecided && due && self.still_wanted(asked)).then(|| Action::SolicitAgain(asked.solicit.clone()))
    }

    /// Whether who was named has been heard since, and could still act on it. Safe it would be without; but each vote for one that has
    /// died meanwhile keeps its witness from voting for another for one more suspicion.
    fn still_wanted(&self, asked: &Solicited) -> bool {
        let named = &asked.solicit.named;
        let Some((report, _)) = self.view.last_report(named).filter(|(_, heard)| *heard > asked.last) else {
            return mutant::on(Mutant::SolicitsTheDead);
        };
        match asked.solicit.reason {
            Reason::Terms => report.claims.is_some(),
            _ => !self.view.well(self.group, self.now) && self.usable(named, asked.solicit.epoch),
        }
    }

    fn solicit(&self, epoch: Epoch, named: &InstanceName, reason: Reason) -> Action {
        Action::Solicit(Solicit {
            group: self.group.name.clone(),
            epoch,
            named: named.clone(),
            revision: self.group.revision,
            reason,
        })
    }

    fn highest_floor(&self) -> Epoch {
        let floors = self.view.standings(self.group, self.now).map(|standing| standing.floor);
        floors.max().unwrap_or(Epoch(0)).max(self.view.current(self.group).0)
    }

    /// Above all floors: the first of primary, succession and the others that is alive and that a majority may name.
    fn next_candidate(&self) -> Option<(Epoch, InstanceName)> {
        let declined = self.view.all_fresh(self.group, self.now).map(|report| report.declined).max();
        let epoch = self.highest_floor().max(declined.unwrap_or(Epoch(0))).next();
        let (_, primary) = self.view.current(self.group);
        let order = primary.into_iter().chain(&self.group.succession).chain(self.group.instances.keys());
        let nameable = |name: &&InstanceName| {
            let may = self.view.standings(self.group, self.now).filter(|s| s.may_name.contains(name));
            let voters: Vec<NodeId> = may.map(|standing| standing.witness).collect();
            self.usable(name, epoch) && is_majority(&self.group.electorate, &voters)
        };
        let found = order.into_iter().find(nameable)?;
        Some((epoch, found.clone()))
    }

    fn usable(&self, name: &InstanceName, epoch: Epoch) -> bool {
        let Some(report) = self.view.fresh(self.group, name, self.now) else { return false };
        // Who claims an epoch, or has acted on one since given up, was decided, whether or not the leader has heard of it.
        let (known, primary) = self.view.current(self.group);
        let owner = primary == Some(name) || report.claims.is_some() || report.acted > known;
        report.declined < epoch && (report.ready || (owner && self.group.holds_data(report.role)))
    }
}
