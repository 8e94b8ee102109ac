//! The agent beside a Postgres: holds the lease, opens and closes the gate, and drives its Postgres to the role that
//! the group's decisions give it.
//!
//! Safety rests on little:
//! - the gate opens only up to a deadline that a majority of promises vouches for, counted from this agent's own send
//!   times, of this incarnation (`office`);
//! - an epoch is acted on only if it is above all acted on, declined or released, not below the highest decided one,
//!   and the Postgres here is fit for it: a standby, or the primary that the decision continues;
//! - a release closes the gate, is durable, and only then is sent; what was released is never claimed again.
//!
//! Liveness asks one thing more of it: an office whose Postgres commits nothing any more is given up (`probe`).
//!
//! It needs no network in order to stop being primary: the deadline passes by itself.

mod cascade;
mod confirm;
mod durable;
mod gather;
mod handover;
mod joint;
mod office;
mod postgres;
mod probe;
mod restart;
mod tails;
mod timeline;

pub use confirm::{Confirmers, Waits};
pub use durable::{Decided, Durable};
pub use joint::{MOST_PLACES, NOBODY, Words, satisfied};
pub use postgres::{Observation, OnRewindFailure, Task, Upstream};
pub use probe::{PROBE_TIMEOUT, Probe};

use crate::command::Instance;
use crate::ids::{Epoch, GroupName, InstanceName, Lsn, NodeId, Seq};
use crate::lease::Vouchers;
use crate::message::{KernelFence, Refusal, Release, Report, Role, ToAgent, ToWitness};
use crate::mutant::{self, Mutant};
use crate::state::Group;
use crate::tail::Tail;
use crate::time::Time;
use crate::vote::{Certificate, Reason, Vote};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How often an instance reports.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(50);

/// How many send times are remembered: far more than a ttl's worth of reports.
const SENDS_KEPT: usize = 2_048;

/// What an agent can be told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream to that node's witness stands.
    Linked(NodeId),
    /// It is gone.
    Unlinked(NodeId),
    /// A witness speaks.
    Heard(NodeId, ToAgent),
    /// What Postgres is doing now.
    Observed(Observation),
    /// The postmaster is gone.
    Exited,
    /// `Task::Keep` found a tail that only this instance has, and its log is kept. Comes before the end of the task.
    Kept(Tail),
    /// How much of a copy is there, in percent.
    Copied(u8),
    /// A task has ended: well, or with what went wrong.
    Done(Task, Result<(), String>),
    /// A write probe has ended.
    Probed {
        /// When it began: what it proves, it proves of no later time.
        began: Time,
        /// What it came to.
        probe: Probe,
    },
    /// The instance that is asked (`Effect::Ask`) says how far it has flushed.
    Reached {
        /// Which.
        instance: InstanceName,
        /// How far.
        flushed: Lsn,
    },
    /// Time has passed.
    Wake,
}

/// What the caller must do, in this order: nothing after a `Persist` may happen before it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make this durable in place of what was stored.
    Persist(Box<Durable>),
    /// Let commits pass until then.
    Open {
        /// The epoch they are acknowledged under.
        epoch: Epoch,
        /// The end, on CLOCK_BOOTTIME.
        deadline: Time,
        /// Who must have flushed a commit before it is acknowledged: both have to be satisfied.
        confirm: Words,
        /// In `bounded`: they must have flushed what was acknowledged longer ago than this, instead of the commit itself.
        rpo: Option<Duration>,
    },
    /// Let no commit pass.
    Close,
    /// Tell one witness; if its stream is gone the message is lost.
    Send(NodeId, ToWitness),
    /// Begin this; its end comes back as `Done`. One at a time, but for a stop at once, which does not wait for a
    /// checkpoint.
    Start(Task),
    /// Ask the Postgres of that instance every few milliseconds how far it has flushed, until told otherwise, and nobody
    /// else; each answer is an `Event::Reached`. A question that is answered by an older connection does not count.
    Ask(Option<Upstream>),
    /// For the audit and the log.
    Note(Note),
}

/// What an agent has to tell about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// It holds the votes of a majority.
    Certificate(Certificate),
    /// It has made durable that it is primary of that epoch.
    Acted(Epoch, Reason),
    /// Its Postgres has left recovery.
    Promoted(Epoch),
    /// Commits pass under that epoch, for the first time.
    Opened(Epoch),
    /// Commits no longer pass.
    Closed(Epoch, &'static str),
    /// It gave that epoch up.
    Released(Epoch, Reason),
    /// It was asked to hand over.
    HandingOver(Epoch, InstanceName),
    /// It does not hand over after all, and goes on as primary: to whom, and why not.
    CalledOff(InstanceName, String),
    /// It was asked to restart its Postgres, in that epoch.
    Restarting(Epoch),
    /// It has.
    Restarted(Epoch),
    /// It did not, or not as it should have been: why.
    NotRestarted(String),
    /// It kept what only it has of the log.
    Kept(Tail),
    /// From now on commits wait for these.
    WaitsFor(Vec<InstanceName>),
    /// Decided to be primary, it waits for this before it can be promoted.
    Gathers(String),
    /// A task begins, and why.
    Begins(Task, &'static str),
    /// A task failed, and why.
    Failed(Task, String),
}

/// Who this agent is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// Its group.
    pub group: GroupName,
    /// Its instance.
    pub instance: InstanceName,
    /// Its place.
    pub at: Instance,
}

/// The agent of one instance.
#[derive(Clone, Hash, Debug)]
pub struct Agent {
    me: Identity,
    durable: Durable,
    group: Option<Group>,
    linked: BTreeSet<NodeId>,
    /// Votes that name this instance, the highest of each witness.
    votes: BTreeMap<NodeId, Vote>,
    /// The highest certificate that names this instance, as others sent it.
    shown: Option<Certificate>,
    sends: VecDeque<(u64, Time)>,
    next_number: u64,
    report_at: Time,
    rtt: BTreeMap<NodeId, Duration>,
    vouchers: Vouchers,
    /// The last promise of each witness for an epoch that is not acted on yet, and the send time it answers.
    early: BTreeMap<NodeId, (Epoch, Time, Duration)>,
    /// What the gate was opened to last; zero: surely closed.
    open_until: Time,
    opened: Epoch,
    /// The last epoch of which was said that its gate is closed.
    closed: Epoch,
    hand_over: Option<handover::HandingOver>,
    /// Who is asked how far it is.
    asks: Option<Upstream>,
    confirm: confirm::Confirm,
    gathered: gather::Gathered,
    postgres: postgres::Postgres,
    pulse: probe::Pulse,
    on_rewind_failure: OnRewindFailure,
    kernel_fence: KernelFence,
    /// Since when it holds an office that its Postgres does not fill, if it does not.
    office_since: Time,
}

impl Agent {
    /// An agent that has just started, with what it had made durable. The first effect persists its new incarnation.
    pub fn new(me: Identity, durable: Option<Durable>, now: Time) -> (Agent, Vec<Effect>) {
        let mut durable = durable.unwrap_or_default();
        durable.incarnation += 1;
        let agent = Agent {
            me,
            durable,
            group: None,
            linked: BTreeSet::new(),
            votes: BTreeMap::new(),
            shown: None,
            sends: VecDeque::new(),
            next_number: 1,
            report_at: now,
            rtt: BTreeMap::new(),
            vouchers: Vouchers::default(),
            early: BTreeMap::new(),
            // What an earlier run opened rests on real promises and may run out by itself; but it may have to be closed.
            open_until: Time(1),
            opened: Epoch(0),
            closed: Epoch(0),
            hand_over: None,
            asks: None,
            confirm: confirm::Confirm::default(),
            gathered: gather::Gathered::default(),
            postgres: postgres::Postgres::default(),
            pulse: probe::Pulse::new(now),
            on_rewind_failure: OnRewindFailure::default(),
            kernel_fence: KernelFence::default(),
            office_since: now,
        };
        let persist = agent.persist();
        (agent, vec![persist])
    }

    /// What shall follow when its Postgres cannot be rewound.
    pub fn set_on_rewind_failure(&mut self, then: OnRewindFailure) {
        self.on_rewind_failure = then;
    }

    /// What the next reports say of the fence in the kernel.
    pub fn set_kernel_fence(&mut self, fence: KernelFence) {
        self.kernel_fence = fence;
    }

    /// Takes one event; returns what to do about it, in order.
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Effect> {
        let mut out = Vec::new();
        self.watch_gate(now);
        match event {
            Event::Linked(node) => self.greet(node, &mut out),
            Event::Unlinked(node) => {
                self.linked.remove(&node);
            }
            Event::Heard(node, message) => self.hear(node, message, now, &mut out),
            Event::Observed(observation) => self.observed(observation, now, &mut out),
            Event::Exited => self.exited(now, &mut out),
            Event::Kept(tail) => self.kept(tail, &mut out),
            Event::Copied(percent) => self.copied(percent),
            Event::Done(task, result) => self.done(task, result, now, &mut out),
            Event::Probed { began, probe } => self.probed(began, probe, now),
            Event::Reached { instance, flushed } => self.reached(&instance, flushed),
            Event::Wake => {}
        }
        self.take_office(now, &mut out);
        self.go_on_handing_over(now, &mut out);
        self.keep_asking(&mut out);
        self.keep_confirmers(now, &mut out);
        self.keep_lease(now, &mut out);
        self.drive(now, &mut out);
        self.report_if_due(now, &mut out);
        out
    }

    /// When the next `Wake` is due, if nothing happens before.
    pub fn wake_at(&self) -> Time {
        self.report_at
    }

    /// What must survive.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The log's word about the group, as far as heard.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    fn persist(&self) -> Effect {
        Effect::Persist(Box::new(self.durable.clone()))
    }

    fn greet(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        self.linked.insert(node);
        let Identity { group, instance, at } = self.me.clone();
        out.push(Effect::Send(node, ToWitness::Hello { group, instance, at }));
        self.show(node, out);
        // A release that was not heard is as good as none: it is said again to whoever comes.
        if let Some(release) = self.standing_release() {
            out.push(Effect::Send(node, ToWitness::Release(release)));
        }
    }

    fn show(&self, node: NodeId, out: &mut Vec<Effect>) {
        if let (Some(epoch), Some(certificate)) = (self.office(), &self.durable.certificate)
            && certificate.epoch() == epoch
        {
            out.push(Effect::Send(node, ToWitness::Show(certificate.clone())));
        }
    }

    fn send_all(&self, message: &ToWitness, out: &mut Vec<Effect>) {
        out.extend(self.linked.iter().map(|node| Effect::Send(*node, message.clone())));
    }

    fn hear(&mut self, node: NodeId, message: ToAgent, now: Time, out: &mut Vec<Effect>) {
        if *message.group() != self.me.group {
            return;
        }
        match message {
            ToAgent::Known(group) => self.know(*group, out),
            ToAgent::Promised { epoch, seq, ttl, revision, .. } => {
                self.carries(node, epoch, revision);
                if let Some(sent) = self.answered(node, seq, now) {
                    self.promised(node, epoch, sent, ttl);
                }
            }
            ToAgent::Heard { seq, refused, promoted, ahead, .. } => {
                self.answered(node, seq, now);
                self.heard_promoted(promoted);
                self.postgres.cascade.primary_is_at(ahead, now);
                let unknown = matches!(refused, Some(Refusal::NoWord | Refusal::Stale { .. }));
                if unknown {
                    self.show(node, out);
                }
            }
            ToAgent::Vote(vote) => self.heard_vote(vote),
            ToAgent::Decided(certificate) => self.heard_decision(certificate, out),
            ToAgent::Decline { up_to, .. } => {
                if up_to > self.durable.declined {
                    self.durable.declined = up_to;
                    out.push(self.persist());
                }
            }
            ToAgent::HandOver { wish, .. } => self.asked_to_hand_over(wish, now, out),
            ToAgent::Detached { instance, epoch, position, .. } => {
                self.heard_position(instance, epoch, position);
            }
            ToAgent::TailRecorded { timeline, from, .. } => self.tail_recorded(timeline, from, out),
        }
    }

    /// The send time of the report that an answer is for, if it is one of this incarnation.
    fn answered(&mut self, node: NodeId, seq: Seq, now: Time) -> Option<Time> {
        let sent = self.sent(seq)?;
        self.rtt.insert(node, now.since(sent));
        Some(if mutant::on(Mutant::CountedFromReceipt) { now } else { sent })
    }

    fn sent(&self, seq: Seq) -> Option<Time> {
        let own = seq.incarnation == self.durable.incarnation || mutant::on(Mutant::OldIncarnationCounts);
        if !own {
            return None;
        }
        let at = self.sends.binary_search_by_key(&seq.number, |(number, _)| *number).ok()?;
        Some(self.sends[at].1)
    }

    /// A promise may come before the votes that it is for: it counts from the moment the epoch is acted on.
    fn promised(&mut self, node: NodeId, epoch: Epoch, sent: Time, ttl: Duration) {
        if Some(epoch) == self.office() {
            self.vouchers.add(node, sent, ttl);
        } else if epoch > self.durable.acted {
            self.early.insert(node, (epoch, sent, ttl));
        }
    }

    fn know(&mut self, group: Group, out: &mut Vec<Effect>) {
        if self.group.as_ref().is_some_and(|known| known.revision >= group.revision) {
            return;
        }
        if let Some(decided) = Decided::logged(&group) {
            self.decide(decided, out);
        }
        self.group = Some(group);
    }

    fn heard_decision(&mut self, certificate: Certificate, out: &mut Vec<Effect>) {
        for vote in certificate.votes() {
            self.heard_vote(vote.clone());
        }
        self.decide(Decided::by(&certificate), out);
        let newer = |known: &Certificate| known.epoch() < certificate.epoch();
        if *certificate.named() == self.me.instance && self.shown.as_ref().is_none_or(newer) {
            self.shown = Some(certificate);
        }
    }

    fn decide(&mut self, decided: Decided, out: &mut Vec<Effect>) {
        let newer = |known: &Decided| {
            // More votes for one decision can show that nobody was primary between it and an earlier one.
            known.epoch < decided.epoch || (known.epoch == decided.epoch && decided.since < known.since)
        };
        if self.durable.decided.as_ref().is_none_or(newer) {
            self.durable.decided = Some(decided);
            out.push(self.persist());
        }
    }

    fn heard_vote(&mut self, vote: Vote) {
        let newer = |known: &Vote| known.floor < vote.floor;
        if vote.named == self.me.instance && self.votes.get(&vote.witness).is_none_or(newer) {
            self.votes.insert(vote.witness, vote);
        }
    }

    fn report_if_due(&mut self, now: Time, out: &mut Vec<Effect>) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_INTERVAL;
        if !self.postgres.known {
            return; // what has not been looked at cannot be reported, and nothing be claimed for it
        }
        let number = self.next_number;
        self.next_number += 1;
        self.sends.push_back((number, now));
        let extra = self.sends.len().saturating_sub(SENDS_KEPT);
        self.sends.drain(..extra);
        let seq = Seq { incarnation: self.durable.incarnation, number };
        for node in &self.linked {
            out.push(Effect::Send(*node, ToWitness::Report(Box::new(self.report(*node, seq, now)))));
        }
        if let Some(release) = self.standing_release() {
            self.send_all(&ToWitness::Release(release), out);
        }
        self.tell_tails(number, out);
    }

    fn report(&self, node: NodeId, seq: Seq, now: Time) -> Report {
        let seen = &self.postgres.seen;
        let rtt = self.rtt.get(&node).map_or(0, |rtt| rtt.as_micros());
        Report {
            group: self.me.group.clone(),
            instance: self.me.instance.clone(),
            seq,
            claims: self.office(),
            leased: self.leased(now),
            ready: self.ready(),
            seen: self.durable.seen(),
            acted: self.durable.acted,
            declined: self.durable.declined,
            followed: self.durable.followed,
            role: self.role(),
            streaming: seen.streaming,
            position: seen.position,
            system_id: seen.system_id,
            gate_armed: seen.gate_armed,
            offer: self.offer(),
            detached: self.detached(),
            rtt_us: u32::try_from(rtt).unwrap_or(u32::MAX),
            trouble: self.trouble(),
            hand_over: self.hand_over.as_ref().map(handover::HandingOver::progress),
            progress: self.progress(),
            started_in: self.postgres.started_in(),
            pending_restart: seen.pending_restart.clone(),
            through: self.through(),
            warning: seen.warning.clone(),
            kernel_fence: self.kernel_fence.clone(),
        }
    }

    fn role(&self) -> Role {
        if self.foreign() { Role::Refused } else { self.postgres.seen.role }
    }

    /// A release stands until the group has moved on.
    fn standing_release(&self) -> Option<Release> {
        let epoch = self.durable.released;
        let (to, reason) = self.durable.release.clone()?;
        let stands = epoch > Epoch(0) && epoch == self.durable.seen();
        stands.then(|| Release {
            group: self.me.group.clone(),
            instance: self.me.instance.clone(),
            epoch,
            to,
            reason,
        })
    }
}
