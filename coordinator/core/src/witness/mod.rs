//! A witness: promises the primary its lease, and votes it out when it is silent. One in each node, a seat in it for
//! each group.
//!
//! The rules are those of the protocol page; the names here are its names. What decides safety is small:
//! - at most one running promise a group (`promise`), a vote being one too;
//! - a vote's floor is strictly above every floor and every applied epoch before it, and is durable before anybody
//!   hears of it (`cast`);
//! - whom a vote may name follows from what this witness said before, or else from the log (`basis`);
//! - a witness that just started may have promised before: it waits (`young`).
//!
//! Everything else here, all that counts silence or backs off, is liveness.

mod basis;
mod cast;
mod promise;
mod seat;

pub use basis::Basis;
pub use seat::{Durable, LINKING, Link};

use crate::ids::{GroupName, InstanceName, NodeId};
use crate::message::{Release, Report, Solicit, Standing, ToAgent, ToNode};
use crate::mutant::{self, Mutant};
use crate::state::Group;
use crate::time::Time;
use crate::vote::{Certificate, Vote};
use seat::Seat;
use std::collections::BTreeMap;

/// What a witness can be told.
#[derive(Clone, Debug)]
pub enum Event {
    /// The log's word, as applied at this node.
    Applied(Box<Group>),
    /// An instance reports.
    Report(Box<Report>),
    /// A primary gives up.
    Release(Release),
    /// An instance shows the certificate it holds.
    Show(Certificate),
    /// Another node speaks.
    Node(ToNode),
    /// Time has passed.
    Wake,
}

/// What the caller must do, in this order: nothing after a `Persist` may happen before it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make this durable in place of what was stored for the group.
    Persist(Box<Durable>),
    /// Tell one agent.
    Tell(InstanceName, ToAgent),
    /// Tell every agent of the group.
    TellAll(ToAgent),
    /// Tell every other node.
    Nodes(ToNode),
    /// A vote was cast, for the audit.
    Voted(Vote),
    /// A decision is known here for the first time: tell the watchers.
    Decided(Certificate),
}

/// The witness of one node.
#[derive(Clone, Hash, Debug)]
pub struct Witness {
    id: NodeId,
    started: Time,
    /// When it took its last step: it wakes often, so a long gap means that it did not run.
    stepped: Time,
    seats: BTreeMap<GroupName, Seat>,
}

impl Witness {
    /// A witness that has just started, with what it had made durable.
    pub fn new(id: NodeId, durable: impl IntoIterator<Item = Durable>, now: Time) -> Witness {
        let seat = |durable: Durable| (durable.group.name.clone(), Seat::new(id, durable, now));
        Witness { id, started: now, stepped: now, seats: durable.into_iter().map(seat).collect() }
    }

    /// Takes one event; returns what to do about it, in order.
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Effect> {
        let mut out = Vec::new();
        self.notice_stall(now);
        match event {
            Event::Applied(group) => self.applied(*group, now, &mut out),
            Event::Report(report) if self.deaf_to(&report.group) => {}
            Event::Report(report) => {
                let group = report.group.clone();
                self.at(&group, now, &mut out, |seat, now, out| seat.report(*report, now, out));
            }
            Event::Release(release) => {
                let group = release.group.clone();
                self.at(&group, now, &mut out, |seat, now, out| seat.release(&release, now, out));
            }
            Event::Show(certificate) => self.shown(certificate, true, now, &mut out),
            Event::Node(ToNode::Decided(certificate)) => self.shown(certificate, false, now, &mut out),
            Event::Node(ToNode::Vote(vote)) => {
                let group = vote.group.clone();
                self.at(&group, now, &mut out, |seat, now, out| seat.heard_vote(vote, now, out));
            }
            Event::Node(ToNode::Solicit(solicit)) => self.solicited(solicit, now, &mut out),
            // Standings are for the leader's plan, the status and the reads: a witness decides nothing on them.
            Event::Node(ToNode::Standing(_)) => {}
            Event::Wake => {
                for seat in self.seats.values_mut() {
                    seat.decide(now, &mut out);
                }
            }
        }
        out
    }

    /// Whether another group keeps this witness from hearing that one: none does, each has its seat.
    fn deaf_to(&self, group: &GroupName) -> bool {
        let waits = |(other, seat): (&GroupName, &Seat)| other != group && seat.link().is_some();
        mutant::on(Mutant::OneGroupAtATime) && self.seats.iter().any(waits)
    }

    /// A time in which this witness did not run itself is nobody's silence: what was said in it is still to be read.
    fn notice_stall(&mut self, now: Time) {
        let gap = now.since(self.stepped);
        self.stepped = now;
        if gap > 2 * seat::REPEAT {
            self.seats.values_mut().for_each(|seat| seat.forgive_stall(gap, now));
        }
    }

    /// When the next `Wake` is due, if nothing happens before.
    pub fn wake_at(&self, now: Time) -> Option<Time> {
        self.seats.values().filter_map(|seat| seat.wake_at(now)).min()
    }

    /// Where this witness stands in each group.
    pub fn standings(&self, now: Time) -> impl Iterator<Item = Standing> + '_ {
        self.seats.values().map(move |seat| seat.standing(now))
    }

    /// Where this witness stands in one group.
    pub fn standing(&self, group: &GroupName, now: Time) -> Option<Standing> {
        self.seats.get(group).map(|seat| seat.standing(now))
    }

    /// The last report of each instance of a group, and when it came.
    pub fn reports(&self, group: &GroupName) -> impl Iterator<Item = (&Report, Time)> + '_ {
        self.seats.get(group).into_iter().flat_map(Seat::reports)
    }

    /// The log's word about a group, as applied here: never older than what was answered before.
    pub fn group(&self, group: &GroupName) -> Option<&Group> {
        self.seats.get(group).map(|seat| &seat.durable.group)
    }

    /// The highest decision about a group known here that the log does not hold yet.
    pub fn decided(&self, group: &GroupName) -> Option<&Certificate> {
        self.seats.get(group).and_then(Seat::decided)
    }

    fn at(
        &mut self,
        group: &GroupName,
        now: Time,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Seat, Time, &mut Vec<Effect>),
    ) {
        // A group this node's log does not have yet: whoever asks will ask again.
        if let Some(seat) = self.seats.get_mut(group) {
            act(seat, now, out);
            seat.decide(now, out);
        }
    }

    fn applied(&mut self, group: Group, now: Time, out: &mut Vec<Effect>) {
        let name = group.name.clone();
        if !self.seats.contains_key(&name) {
            let durable = Durable::new(group);
            out.push(Effect::Persist(Box::new(durable.clone())));
            out.push(Effect::TellAll(ToAgent::Known(Box::new(durable.group.clone()))));
            // Never having promised in this group, this witness need not wait as one that restarted.
            let mut seat = Seat::new(self.id, durable, now);
            seat.never_promised();
            self.seats.insert(name, seat);
        } else {
            self.at(&name, now, out, |seat, now, out| seat.applied(group, now, out));
        }
    }

    fn shown(&mut self, certificate: Certificate, from_agent: bool, now: Time, out: &mut Vec<Effect>) {
        let group = certificate.group().clone();
        self.at(&group, now, out, |seat, now, out| {
            seat.adopt(&certificate, now, out);
            if seat.learn(certificate.clone(), out) && from_agent {
                out.push(Effect::Nodes(ToNode::Decided(certificate)));
            }
        });
    }

    fn solicited(&mut self, solicit: Solicit, now: Time, out: &mut Vec<Effect>) {
        let group = solicit.group.clone();
        self.at(&group, now, out, |seat, now, out| seat.solicited(solicit, now, out));
    }

    /// When this witness's process started.
    pub fn started(&self) -> Time {
        self.started
    }
}
