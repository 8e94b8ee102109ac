//! Linearizable reads of an assignment, as a node answers them: it asks every witness where it stands and judges the
//! answers with the core's own `read::decide`.

use crate::clock::MS;
use crate::history::linearizable_assignment::Operation;
use crate::world::{Happening, Mail, NodeIndex, Proc, World};
use regent_core::ids::Epoch;
use regent_core::message::Standing;
use regent_core::read::{Outcome, decide};

/// How often somebody reads a group's assignment.
const EVERY: u64 = 200 * MS;
/// How long one round of questions may take before they are asked again.
const ROUND: u64 = 400 * MS;
/// How many rounds a read takes before it is given up.
const ROUNDS: u32 = 4;

/// One round of a read.
pub struct Round {
    group: usize,
    reader: NodeIndex,
    /// The life of the reader's process in which it asked.
    life: u64,
    /// When it was asked, in its first round.
    begun: u64,
    /// The epoch below which the read may not answer.
    least: Epoch,
    answers: Vec<Standing>,
    left: u32,
}

impl World {
    /// Somebody asks a node that runs.
    pub(crate) fn read_begins(&mut self, group: usize) {
        self.at(self.now + EVERY, Happening::ReadBegins(group));
        let reader = self.chance.index(self.nodes.len());
        if !self.nodes[reader].process.works() {
            return;
        }
        let least = self.invariants.groups[group].reads.begins();
        let life = self.nodes[reader].process.life;
        let begun = self.now;
        self.ask(Round { group, reader, life, begun, least, answers: Vec::new(), left: ROUNDS });
    }

    fn ask(&mut self, round: Round) {
        self.asked += 1;
        let (number, reader) = (self.asked, round.reader);
        self.rounds.insert(number, round);
        for at in 0..self.nodes.len() {
            let mail = Mail::Ask(number, reader);
            if at == reader {
                self.at(self.now, Happening::Mail(Proc::Node(at), mail));
            } else {
                self.send(Proc::Node(reader), Proc::Node(at), mail);
            }
        }
        self.at(self.now + ROUND, Happening::ReadAgain(number));
    }

    /// A witness is asked. It takes a message in only when all it said before is durable, so its word holds.
    pub(crate) fn read_asked(&mut self, at: NodeIndex, number: u64, reader: NodeIndex) {
        let Some(round) = self.rounds.get(&number) else { return };
        let Some(standing) = self.nodes[at].witness.standing(&self.groups[round.group], self.local(at))
        else {
            return;
        };
        let mail = Mail::Answer(number, Box::new(standing));
        if at == reader {
            self.at(self.now, Happening::Mail(Proc::Node(at), mail));
        } else {
            self.send(Proc::Node(at), Proc::Node(reader), mail);
        }
    }

    pub(crate) fn read_answered(&mut self, number: u64, standing: Standing) {
        let Some(round) = self.rounds.get_mut(&number) else { return };
        let reader = &self.nodes[round.reader];
        if reader.process.life != round.life || round.answers.iter().any(|a| a.witness == standing.witness) {
            return;
        }
        round.answers.push(standing);
        let known = reader.witness.decided(&self.groups[round.group]);
        if let Outcome::Decided(epoch, primary) = decide(&round.answers, known) {
            let (least, begun, group) = (round.least, round.begun, round.group);
            self.rounds.remove(&number);
            let who = self.host_index(&primary);
            let (judged, found) = self.invariants.of(group);
            judged.epochs.owned(epoch, who, found);
            judged.reads.answers(least, epoch, found);
            judged.told.push(Operation::Read { begun, at: found.now, answer: Some((epoch, primary)) });
        }
    }

    /// A round has not settled it: the next one.
    pub(crate) fn read_again(&mut self, number: u64) {
        let Some(round) = self.rounds.remove(&number) else { return };
        let process = &self.nodes[round.reader].process;
        if round.left > 0 && process.works() && process.life == round.life {
            self.ask(Round { answers: Vec::new(), left: round.left - 1, ..round });
        }
    }
}
