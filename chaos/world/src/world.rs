//! The world: nodes, agents, Postgres servers, links, a log, clients; one thread, one queue, virtual time. The same
//! beginning and the same commands give the same events, byte for byte.

use crate::chance::Chance;
use crate::clients::{Client, Write};
use crate::clock::{Clock, MS};
use crate::faults::Planned;
use crate::host::Host;
use crate::invariants::{HostId, Invariants, Judged};
use crate::links::{End, Links, Passage};
use crate::node::Node;
use crate::queue::Queue;
use crate::raft::Raft;
use crate::reads::Round;
use regent_core::agent::{Probe, Task};
use regent_core::command::Command;
use regent_core::ids::{GroupName, InstanceName, Lsn, NodeId};
use regent_core::message::{Standing, ToAgent, ToNode, ToWitness};
use regent_core::tail::Tail;
use regent_core::time::Time;
use std::collections::BTreeMap;

/// A node, by the order in which it was added: its id less one.
pub type NodeIndex = usize;

/// What reaches a process.
#[derive(Clone, Debug)]
pub enum Mail {
    /// An agent says something to a witness.
    ToWitness(ToWitness),
    /// A witness says something to an agent.
    ToAgent(NodeId, ToAgent),
    /// A node says something to another.
    ToNode(ToNode),
    /// The log up to there can be applied.
    Applied(usize),
    /// The same, as a snapshot: all at once.
    Snapshot(usize),
    /// A stream stands.
    Linked(NodeId),
    /// A stream is gone.
    Unlinked(NodeId),
    /// Look at Postgres: what is seen is what is there when it is taken in.
    Observed,
    /// Postgres is gone.
    Exited,
    /// A task found what only this instance has of the log.
    Kept(Tail),
    /// A task has ended.
    Done(Task, Result<(), String>),
    /// A write probe that began then has ended.
    Probed(Time, Probe),
    /// The instance that is asked says how far it has flushed.
    Reached(InstanceName, Lsn),
    /// Time has passed.
    Wake,
    /// A reader at another node asks where this witness stands.
    Ask(u64, NodeIndex),
    /// An agent's stream stands: the node says first what it knows.
    Attach(HostId),
    /// That is where it stands.
    Answer(u64, Box<Standing>),
}

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proc {
    /// A node.
    Node(NodeIndex),
    /// An agent.
    Host(HostId),
}

/// What can happen.
#[derive(Debug)]
pub enum Happening {
    /// A message arrives.
    Mail(Proc, Mail),
    /// A flush is over, of that life of the process.
    Flushed(Proc, u64),
    /// A process is woken, in that life, if it still wants to be then.
    Wake(Proc, u64, u64),
    /// A stream stands.
    Linked(HostId, NodeIndex),
    /// A stream that broke is made anew.
    Relink(HostId, NodeIndex),
    /// A task ends.
    TaskEnds(HostId, u64),
    /// A standby's word of how far it has flushed reaches who it receives from, in that life: from, to, life, position.
    Confirms(HostId, HostId, u64, u64),
    /// A lease may be over.
    Lapse(HostId, Time),
    /// A proposal of that term comes back.
    Commit(u64, Command),
    /// Leaders plan.
    Plan,
    /// Every Postgres writes, streams and is looked at.
    Look,
    /// A client begins its next write.
    ClientWrites(usize),
    /// A client has waited long enough for that write.
    ClientGivesUp(usize, u64),
    /// A write goes on.
    WriteSteps(Box<Write>),
    /// Somebody begins a read of a group's assignment.
    ReadBegins(usize),
    /// A round of a read is asked again, or given up.
    ReadAgain(u64),
    /// A fault of the schedule begins.
    FaultBegins(usize),
    /// It ends.
    FaultEnds(usize),
}

/// What differs between the plain world of scripts and the rough one of runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a leader plans.
    pub plan_every: u64,
    /// How long a leader may be out of reach before another is elected: from, to.
    pub election: (u64, u64),
    /// WAL takes as long as any message; else it is there at the next look.
    pub wal_takes_time: bool,
    /// A kill may find the last flush done, or not; a lost leader's proposals may be committed, or not.
    pub unsynced: bool,
    /// How many of a million catch-ups are by snapshot.
    pub snapshots: u32,
    /// What was made durable is written and read back as text at every start.
    pub as_text: bool,
}

impl Settings {
    /// Those of scripts: nothing is left to chance.
    pub fn plain() -> Settings {
        Settings {
            plan_every: 10 * MS,
            election: (1_500 * MS, 1_500 * MS),
            wal_takes_time: false,
            unsynced: false,
            snapshots: 0,
            as_text: true,
        }
    }
}

/// The world.
pub struct World {
    pub(crate) now: u64,
    pub(crate) settings: Settings,
    pub(crate) chance: Chance,
    pub(crate) origin: u64,
    /// Whether what happens is written down.
    pub(crate) tells: bool,
    /// Whether it is not for the moment.
    pub(crate) quiet: bool,
    pub(crate) queue: Queue<Happening>,
    pub(crate) tasks: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) hosts: Vec<Host>,
    /// The instances by name: whatever is done to all is done in this order.
    pub(crate) by_name: BTreeMap<InstanceName, HostId>,
    pub(crate) groups: Vec<GroupName>,
    pub(crate) members: Vec<Vec<HostId>>,
    pub(crate) links: Links,
    pub(crate) ends: Vec<Proc>,
    pub(crate) clocks: BTreeMap<String, Clock>,
    pub(crate) raft: Raft,
    pub(crate) clients: Vec<Client>,
    pub(crate) rounds: BTreeMap<u64, Round>,
    pub(crate) asked: u64,
    pub(crate) invariants: Invariants,
    pub(crate) tally: Tally,
    pub(crate) lines: Vec<String>,
    /// Faults that a schedule begins and ends.
    pub(crate) schedule: Vec<Planned>,
    /// All faults are over: what a fault's end would do was done.
    pub(crate) mended: bool,
}

/// What is counted.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Everything that happened.
    pub events: u64,
    /// Gates opened for an instance that was not the last of its group to open one, by group.
    pub changes: Vec<u64>,
    /// Gates that closed by themselves, by group.
    pub lapses: Vec<u64>,
    /// Writes acknowledged, by group.
    pub acknowledged: Vec<u64>,
    /// When the last gate of each group was known to be lost to a fault, and with which region.
    pub struck: Vec<Option<(u64, usize)>>,
    /// How long each failover after such a fault took, with who took over.
    pub outages: Vec<(HostId, u64)>,
    /// Acknowledged writes that were left behind with an old primary.
    pub lost: u64,
    /// Gates that closed by themselves while the machine was up: who and when.
    pub lapsed: Vec<HostId>,
}

impl World {
    pub(crate) fn new(settings: Settings, chance: Chance) -> World {
        let mut world = World {
            now: 0,
            chance,
            origin: 0,
            tells: true,
            quiet: false,
            queue: Queue::new(),
            tasks: 0,
            nodes: Vec::new(),
            hosts: Vec::new(),
            by_name: BTreeMap::new(),
            groups: Vec::new(),
            members: Vec::new(),
            links: Links::default(),
            ends: Vec::new(),
            clocks: BTreeMap::new(),
            raft: Raft::new(),
            clients: Vec::new(),
            rounds: BTreeMap::new(),
            asked: 0,
            invariants: Invariants::default(),
            tally: Tally::default(),
            lines: Vec::new(),
            schedule: Vec::new(),
            mended: false,
            settings,
        };
        world.at(0, Happening::Plan);
        world.at(0, Happening::Look);
        world
    }

    pub(crate) fn at(&mut self, when: u64, what: Happening) {
        self.queue.put(when.max(self.now), what);
    }

    /// Writes down what happens, if anybody wants to know.
    pub(crate) fn say(&mut self, text: impl FnOnce(&World) -> String) {
        if self.tells && !self.quiet {
            let tenths = (self.now - self.origin) / (MS / 10);
            let line = format!("{:>7}.{} {}", tenths / 10, tenths % 10, text(self));
            self.lines.push(line);
        }
    }

    pub(crate) fn local(&self, node: NodeIndex) -> Time {
        self.nodes[node].clock.read(self.now)
    }

    pub(crate) fn node_index(id: NodeId) -> NodeIndex {
        usize::try_from(id.0 - 1).expect("few nodes")
    }

    pub(crate) fn group_index(&self, name: &GroupName) -> usize {
        self.groups.iter().position(|known| known == name).expect("a group of this world")
    }

    pub(crate) fn host_index(&self, name: &InstanceName) -> HostId {
        self.by_name[name]
    }

    pub(crate) fn add_group_name(&mut self, group: GroupName) -> usize {
        self.groups.push(group);
        self.members.push(Vec::new());
        self.invariants.groups.push(Judged::default());
        self.tally.changes.push(0);
        self.tally.lapses.push(0);
        self.tally.acknowledged.push(0);
        self.tally.struck.push(None);
        self.groups.len() - 1
    }

    pub(crate) fn end_of(&self, proc: Proc) -> End {
        match proc {
            Proc::Node(node) => self.nodes[node].end,
            Proc::Host(host) => self.hosts[host].end,
        }
    }

    /// Sends something from one process to another, over their link.
    pub(crate) fn send(&mut self, from: Proc, to: Proc, mail: Mail) {
        let (a, b) = (self.end_of(from), self.end_of(to));
        match self.links.passage(a, b, self.now, &mut self.chance) {
            Passage::Comes(later) => self.at(self.now + later, Happening::Mail(to, mail)),
            Passage::Twice(first, again) => {
                self.at(self.now + first, Happening::Mail(to, mail.clone()));
                self.at(self.now + again, Happening::Mail(to, mail));
            }
            // What was cut is linked anew when it heals; what the weather lost breaks the stream it was lost from.
            Passage::Lost if self.links.open(a, b) => self.breaks(from, to),
            Passage::Lost => {}
        }
    }

    fn breaks(&mut self, from: Proc, to: Proc) {
        if let (Proc::Host(host), Proc::Node(node)) | (Proc::Node(node), Proc::Host(host)) = (from, to) {
            self.at(self.now + 200 * MS, Happening::Relink(host, node));
        }
    }

    /// Lets time pass, until nothing is left that happens before.
    pub(crate) fn run(&mut self, span: u64) {
        let end = self.now + span;
        while let Some((when, what)) = self.queue.take(end) {
            self.now = when;
            self.tally.events += 1;
            self.invariants.found.now = when;
            self.happens(what);
        }
        self.now = end;
        self.invariants.found.now = end;
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Mail(Proc::Host(who), mail) => self.mail_host(who, mail),
            Happening::Mail(Proc::Node(node), mail) => {
                let process = &mut self.nodes[node].process;
                if process.up {
                    process.inbox.push_back(mail);
                    self.pump(Proc::Node(node));
                }
            }
            Happening::Flushed(proc, life) => self.flushed(proc, life),
            Happening::Wake(proc, life, at) => self.wakes(proc, life, at),
            Happening::Linked(who, node) => self.linked(who, node),
            Happening::Relink(who, node) => self.link(who, node),
            Happening::TaskEnds(who, run) => self.task_ends(who, run),
            Happening::Confirms(who, to, life, end) => self.confirms(who, to, life, end),
            Happening::Lapse(who, deadline) => self.lapse(who, deadline),
            Happening::Commit(term, command) => self.commit(term, command),
            Happening::Plan => {
                self.raft_tick();
                self.at(self.now + self.settings.plan_every, Happening::Plan);
            }
            Happening::Look => {
                self.look();
                self.at(self.now + crate::host::LOOK_EVERY, Happening::Look);
            }
            Happening::ClientWrites(client) => self.client_writes(client),
            Happening::ClientGivesUp(client, number) => self.client_gives_up(client, number),
            Happening::WriteSteps(write) => self.write_steps(write),
            Happening::ReadBegins(group) => self.read_begins(group),
            Happening::ReadAgain(round) => self.read_again(round),
            Happening::FaultBegins(at) => self.fault_begins(at),
            Happening::FaultEnds(at) => self.fault_ends(at),
        }
    }
}
