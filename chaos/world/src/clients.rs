//! Clients with open sessions: each writes, one write at a time, and goes elsewhere when that fails. A write passes the
//! gate twice, as design section 4 says: before its commit record, and after that is on disk and before the client
//! hears. At both it waits for a while for a lease to come back.
//!
//! A client lives in a region and reaches what the node of that region reaches.

use crate::clock::MS;
use crate::host::Host;
use crate::invariants::HostId;
use crate::invariants::loss_is_accounted::Row;
use crate::world::{Happening, NodeIndex, World};
use regent_core::message::Role;
use regent_core::replication::Mode;
use regent_core::state::Group;
use std::time::Duration;

/// How long a commit waits at the gate.
const COMMIT_WAIT: u64 = 1_000 * MS;
/// How long a client waits for an answer.
const PATIENCE: u64 = 3_000 * MS;
/// How often a write that waits looks again.
const AGAIN: u64 = 10 * MS;
/// A flush of a commit record.
const FLUSH: u64 = MS;

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose data it writes.
    pub group: usize,
    /// The node of its region.
    pub place: NodeIndex,
    /// To whom it has its session.
    pub at: HostId,
    /// The write it waits for.
    pub number: u64,
    /// How long it thinks between two writes.
    pub pause: u64,
}

/// Where a write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Arrives,
    Flushes,
    Answers,
}

/// A write under way.
#[derive(Clone, Debug)]
pub struct Write {
    client: usize,
    number: u64,
    at: HostId,
    /// The life of that Postgres in which the session was used.
    life: Option<u64>,
    begun: u64,
    /// Since when it waits at the gate.
    waits: Option<u64>,
    step: Step,
    row: Option<Row>,
}

/// How old what is acknowledged now may become and still be lost, in nanoseconds; `None` where nothing is promised. By what
/// the gate goes by, or what people are told is in force, whichever promises more.
fn promised(host: &Host, logged: Option<&Group>) -> Option<u64> {
    let group = logged.filter(|group| host.in_force() && group.terms.mode != Mode::Async)?;
    let gate = host.rpo.unwrap_or(Duration::ZERO);
    let slack = if group.in_force() { gate.min(group.terms.mode.slack()) } else { gate };
    u64::try_from(slack.as_nanos()).ok()
}

impl World {
    /// Adds a client, which begins to write.
    pub(crate) fn add_client(&mut self, group: usize, place: NodeIndex, at: HostId, pause: u64) {
        self.clients.push(Client { group, place, at, number: 0, pause });
        self.at(self.now + pause, Happening::ClientWrites(self.clients.len() - 1));
    }

    /// How long something takes from a client to an instance; `None` if it does not arrive.
    fn way(&self, client: usize, at: HostId) -> Option<u64> {
        let (a, b) = (self.nodes[self.clients[client].place].end, self.hosts[at].end);
        self.links.joined(a, b).then(|| self.links.delay(a, b))
    }

    pub(crate) fn client_writes(&mut self, client: usize) {
        let who = &mut self.clients[client];
        who.number += 1;
        let (number, at) = (who.number, who.at);
        self.at(self.now + PATIENCE, Happening::ClientGivesUp(client, number));
        if let Some(way) = self.way(client, at) {
            let begun = self.now;
            let write =
                Write { client, number, at, life: None, begun, waits: None, step: Step::Arrives, row: None };
            self.at(self.now + way, Happening::WriteSteps(Box::new(write)));
        }
    }

    /// No answer for that write so far: whether it was done is not known, the next one goes elsewhere.
    pub(crate) fn client_gives_up(&mut self, client: usize, number: u64) {
        if self.clients[client].number == number {
            self.client_turns(client);
        }
    }

    /// Goes to whom the node of its region takes for the primary, else to the next in turn.
    fn client_turns(&mut self, client: usize) {
        let Client { group, place, at, pause, .. } = self.clients[client];
        let node = &self.nodes[place];
        let name = &self.groups[group];
        let decided = node.witness.decided(name).map(|certificate| certificate.named());
        let logged = || node.witness.group(name).and_then(|group| group.primary.as_ref());
        let known = decided.or_else(logged).filter(|_| node.process.works());
        let members = &self.members[group];
        let next = members.iter().position(|member| *member == at).map_or(0, |place| place + 1);
        let next = members[next % members.len()];
        let to = known.map(|name| self.by_name[name]).filter(|known| *known != at).unwrap_or(next);
        let who = &mut self.clients[client];
        who.at = to;
        who.number += 1; // an answer that comes later is for nobody
        self.at(self.now + pause, Happening::ClientWrites(client));
    }

    /// A write goes on by one step.
    pub(crate) fn write_steps(&mut self, mut write: Box<Write>) {
        let host = &mut self.hosts[write.at];
        let open = host.open(self.now);
        let postgres = &mut host.postgres;
        let life = *write.life.get_or_insert(postgres.life);
        if postgres.hung && life == postgres.life {
            return self.at(self.now + AGAIN, Happening::WriteSteps(write));
        }
        if life != postgres.life || postgres.role != Role::Primary {
            return self.write_fails(&write);
        }
        if write.step != Step::Flushes && open.is_none() {
            let since = *write.waits.get_or_insert(self.now);
            if self.now >= since + COMMIT_WAIT {
                return self.write_fails(&write);
            }
            return self.at(self.now + AGAIN, Happening::WriteSteps(write));
        }
        write.waits = None;
        let epoch = open.unwrap_or_default();
        match write.step {
            Step::Arrives => {
                let Some(branch) = postgres.history.last().copied() else { return };
                postgres.lsn += 100;
                write.row = Some(Row { branch, end: postgres.lsn });
                write.step = Step::Flushes;
                self.at(self.now + FLUSH, Happening::WriteSteps(write));
            }
            Step::Flushes => {
                let end = write.row.map_or(0, |row| row.end);
                if !postgres.disk_stuck {
                    postgres.flushed = postgres.flushed.max(end);
                    write.step = Step::Answers;
                }
                // Between the flush and the second look at the gate a backend may be kept waiting.
                let pause = match (self.settings.unsynced, postgres.disk_stuck) {
                    (_, true) => AGAIN,
                    (true, _) if self.chance.once_in(8) => self.chance.below(400 * MS),
                    _ => 0,
                };
                self.at(self.now + pause, Happening::WriteSteps(write));
            }
            Step::Answers if !host.acknowledges(write.row.map_or(0, |row| row.end), epoch, self.now) => {
                // The backend sleeps until its standbys have confirmed what they must, for as long as its client likes.
                self.at(self.now + AGAIN / 5, Happening::WriteSteps(write));
            }
            Step::Answers => {
                let (group, slack) = (host.group, promised(host, self.raft.state.groups.get(&host.me.group)));
                let (judged, found) = self.invariants.of(group);
                judged.writable.acknowledged(epoch, write.begun, found);
                judged.reads.known(epoch);
                if let Some(row) = write.row {
                    judged.loss.acknowledged(row, slack, self.now);
                }
                self.tally.acknowledged[group] += 1;
                self.write_answers(&write);
            }
        }
    }

    fn write_answers(&mut self, write: &Write) {
        let client = &self.clients[write.client];
        if client.number != write.number {
            return;
        }
        let pause = client.pause;
        if let Some(way) = self.way(write.client, write.at) {
            self.clients[write.client].number += 1;
            self.at(self.now + way + pause, Happening::ClientWrites(write.client));
        }
    }

    fn write_fails(&mut self, write: &Write) {
        if self.clients[write.client].number == write.number && self.way(write.client, write.at).is_some() {
            self.client_turns(write.client);
        }
    }
}
