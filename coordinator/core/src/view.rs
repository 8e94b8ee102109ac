//! What a node has heard lately: reports of instances, standings of witnesses, decisions ahead of the log. It dies with
//! the process, on purpose: nothing that safety needs is in it. The leader plans on it, every node shows it.

use crate::command::{Instance, Node};
use crate::ids::{Epoch, GroupName, InstanceName, NodeId};
use crate::message::{HandOver, Progress, Report, Solicit, Standing};
use crate::state::{Group, State};
use crate::succession::FORGET_AFTER;
use crate::switchover::Switching;
use crate::tail::Tail;
use crate::time::Time;
use crate::vote::Certificate;
use std::collections::BTreeMap;

/// What a node has heard lately of the cluster.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The nodes as configured.
    pub members: BTreeMap<NodeId, Node>,
    groups: BTreeMap<GroupName, GroupView>,
    empty: GroupView,
}

/// What a node has heard lately of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    hellos: BTreeMap<InstanceName, Instance>,
    reports: BTreeMap<InstanceName, (Report, Time)>,
    streamed: BTreeMap<InstanceName, Time>,
    /// Since when each instance has said without a break that it streams and is ready.
    fit_since: BTreeMap<InstanceName, Time>,
    standings: BTreeMap<NodeId, (Standing, Time)>,
    tails: BTreeMap<InstanceName, Tail>,
    decided: Option<Certificate>,
    /// Since when this node has watched the group; nothing is amiss before it had time to look.
    watched_since: Option<Time>,
    well_at: Time,
    solicited: Option<Solicited>,
    hand_over: Option<(HandOver, Time)>,
    switching: Option<Switching>,
    /// Since when the log has had its primary, as seen here.
    primary_since: Option<(Epoch, Time)>,
}

/// What the leader here asks for votes on.
#[derive(Clone, Debug)]
pub struct Solicited {
    /// The votes asked for.
    pub solicit: Solicit,
    /// When they were asked for first.
    pub first: Time,
    /// When last.
    pub last: Time,
}

impl View {
    /// What was heard of a group; empty if nothing was.
    pub fn group(&self, name: &GroupName) -> &GroupView {
        self.groups.get(name).unwrap_or(&self.empty)
    }

    fn group_mut(&mut self, name: &GroupName, now: Time) -> &mut GroupView {
        let view = self.groups.entry(name.clone()).or_default();
        if view.watched_since.is_none() {
            view.watched_since = Some(now);
            view.well_at = now;
        }
        view
    }

    /// An instance said who and where it is.
    pub fn hello(&mut self, group: &GroupName, instance: InstanceName, at: Instance, now: Time) {
        self.group_mut(group, now).hellos.insert(instance, at);
    }

    /// An instance reported.
    pub fn report(&mut self, report: Report, now: Time) {
        let group = report.group.clone();
        let view = self.group_mut(&group, now);
        if report.streaming {
            view.streamed.insert(report.instance.clone(), now);
        }
        view.note_fit(&report, now);
        view.switching = Switching::after(view.switching.take(), &report, now);
        view.reports.insert(report.instance.clone(), (report, now));
    }

    /// An instance found what a change of primary left behind at it.
    pub fn tail(&mut self, group: &GroupName, tail: Tail, now: Time) {
        self.group_mut(group, now).tails.insert(tail.instance.clone(), tail);
    }

    /// A witness, possibly this node's own, said where it stands.
    pub fn standing(&mut self, standing: Standing, now: Time) {
        let group = standing.group.clone();
        self.group_mut(&group, now).standings.insert(standing.witness, (standing, now));
    }

    /// A decision is known.
    pub fn decided(&mut self, certificate: Certificate, now: Time) {
        let group = certificate.group().clone();
        let view = self.group_mut(&group, now);
        if view.decided.as_ref().is_none_or(|known| known.epoch() < certificate.epoch()) {
            view.decided = Some(certificate);
        }
    }

    /// Keeps track of how long each group has been well, and has had its primary; called before every plan.
    pub fn look(&mut self, state: &State, now: Time) {
        for group in state.groups.values() {
            let well = self.group(&group.name).well(group, now);
            let view = self.group_mut(&group.name, now);
            if well {
                view.well_at = now;
            }
            if view.primary_since.is_none_or(|(since, _)| since != group.since) {
                view.primary_since = Some((group.since, now));
            }
        }
    }

    /// This node has just become leader: what it missed while it was not looking is no trouble yet.
    pub fn begin_to_lead(&mut self, now: Time) {
        for view in self.groups.values_mut() {
            view.well_at = now;
            view.solicited = None;
        }
    }

    /// A solicitation was sent.
    pub fn solicited(&mut self, solicit: &Solicit, now: Time) {
        let solicited = Solicited { solicit: solicit.clone(), first: now, last: now };
        self.group_mut(&solicit.group, now).solicited = Some(solicited);
    }

    /// The last one was sent once more.
    pub fn solicited_again(&mut self, group: &GroupName, now: Time) {
        if let Some(solicited) = &mut self.group_mut(group, now).solicited {
            solicited.last = now;
        }
    }

    /// A switchover is asked for.
    pub fn ask_hand_over(&mut self, group: &GroupName, hand_over: HandOver, now: Time) {
        self.group_mut(group, now).hand_over = Some((hand_over, now));
    }
}

impl GroupView {
    /// The instances that said hello.
    pub fn hellos(&self) -> impl Iterator<Item = (&InstanceName, &Instance)> {
        self.hellos.iter()
    }

    /// What instances found that a change of primary left behind; the last of each.
    pub fn tails(&self) -> impl Iterator<Item = &Tail> {
        self.tails.values()
    }

    /// The last report of an instance, and when it came.
    pub fn last_report(&self, instance: &InstanceName) -> Option<(&Report, Time)> {
        self.reports.get(instance).map(|(report, at)| (report, *at))
    }

    /// When an instance said last that it receives WAL.
    pub fn streamed_at(&self, instance: &InstanceName) -> Option<Time> {
        self.streamed.get(instance).copied()
    }

    /// Since when an instance has said without a break that it streams and could take over.
    pub fn fit_since(&self, instance: &InstanceName) -> Option<Time> {
        self.fit_since.get(instance).copied()
    }

    fn note_fit(&mut self, report: &Report, now: Time) {
        let before = self.last_report(&report.instance).map(|(_, at)| at);
        let heard = before.is_some_and(|at| now < at + FORGET_AFTER);
        let fit = report.streaming && report.ready && report.trouble.is_empty();
        if !fit || !heard {
            self.fit_since.remove(&report.instance);
        }
        if fit {
            self.fit_since.entry(report.instance.clone()).or_insert(now);
        }
    }

    /// Since when the log has named its present primary, as far as this node has looked.
    pub fn primary_since(&self, group: &Group) -> Option<Time> {
        self.primary_since.filter(|(since, _)| *since == group.since).map(|(_, at)| at)
    }

    /// The report of an instance heard within the group's suspicion.
    pub fn fresh(&self, group: &Group, instance: &InstanceName, now: Time) -> Option<&Report> {
        let (report, at) = self.reports.get(instance)?;
        (now < *at + group.terms.suspicion).then_some(report)
    }

    /// The instances heard within the group's suspicion.
    pub fn all_fresh<'a>(&'a self, group: &'a Group, now: Time) -> impl Iterator<Item = &'a Report> {
        self.reports.keys().filter_map(move |name| self.fresh(group, name, now))
    }

    /// The last standing of a witness, and when it came.
    pub fn last_standing(&self, witness: NodeId) -> Option<(&Standing, Time)> {
        self.standings.get(&witness).map(|(standing, at)| (standing, *at))
    }

    /// The standings of the electorate heard within the suspicion.
    pub fn standings<'a>(&'a self, group: &'a Group, now: Time) -> impl Iterator<Item = &'a Standing> {
        self.standings
            .iter()
            .filter(move |(id, (_, at))| group.electorate.contains(id) && now < *at + group.terms.suspicion)
            .map(|(_, (standing, _))| standing)
    }

    /// The highest decision known, if it is ahead of the log.
    pub fn ahead(&self, group: &Group) -> Option<&Certificate> {
        self.decided.as_ref().filter(|certificate| certificate.epoch() > group.epoch)
    }

    /// The highest decided epoch known and its primary.
    pub fn current<'a>(&'a self, group: &'a Group) -> (Epoch, Option<&'a InstanceName>) {
        match self.ahead(group) {
            Some(certificate) => (certificate.epoch(), Some(certificate.named())),
            None => (group.epoch, group.primary.as_ref()),
        }
    }

    /// Whether the decided primary holds its lease and no witness stands beyond its epoch.
    pub fn well(&self, group: &Group, now: Time) -> bool {
        let (epoch, primary) = self.current(group);
        let leased = primary
            .and_then(|primary| self.fresh(group, primary, now))
            .is_some_and(|report| report.leased && report.claims == Some(epoch));
        leased && self.standings(group, now).all(|standing| standing.floor <= epoch)
    }

    /// When the group was seen well last.
    pub fn well_at(&self) -> Time {
        self.well_at
    }

    /// What the leader here asked for votes on last.
    pub fn last_solicited(&self) -> Option<&Solicited> {
        self.solicited.as_ref()
    }

    /// The last switchover that was heard of, from when its primary took it up.
    pub fn switching(&self) -> Option<&Switching> {
        self.switching.as_ref()
    }

    /// Who is heard to be in a planned change, or a restart, and to whom it leads: itself, where it is a restart.
    pub fn changing<'a>(&'a self, group: &'a Group, now: Time) -> Option<(&'a InstanceName, &'a Progress)> {
        let under_way = |report: &'a Report| {
            let progress = report.hand_over.as_ref().filter(|progress| progress.step.under_way())?;
            Some((&report.instance, progress))
        };
        self.all_fresh(group, now).find_map(under_way)
    }

    /// What that instance says of its switchover, or restart.
    pub fn progress(&self, primary: &InstanceName) -> Option<&Progress> {
        self.reports.get(primary)?.0.hand_over.as_ref()
    }

    /// The switchover asked for and when, while the epoch it ends is still the current one.
    pub fn hand_over(&self, group: &Group) -> Option<(&HandOver, Time)> {
        let (hand_over, at) = self.hand_over.as_ref()?;
        (self.current(group).0 == hand_over.epoch).then_some((hand_over, *at))
    }
}
