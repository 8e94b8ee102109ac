//! What only this instance has of the log: kept before a rewind removes it, known durably, and told to the nodes again and
//! again until the log has it.

use super::{Agent, Effect, Note};
use crate::ids::Lsn;
use crate::message::ToWitness;
use crate::tail::Tail;

/// Every how many reports the nodes are told again: once a second.
const TELL_EVERY: u64 = 20;

impl Agent {
    /// A tail was found, and its log is kept.
    pub(super) fn kept(&mut self, tail: Tail, out: &mut Vec<Effect>) {
        if !self.durable.tails.iter().any(|known| known.is(&tail)) {
            out.push(Effect::Note(Note::Kept(tail.clone())));
            self.durable.tails.push(tail);
            out.push(self.persist());
        }
    }

    /// The log has it.
    pub(super) fn tail_recorded(&mut self, timeline: u32, from: Lsn, out: &mut Vec<Effect>) {
        let before = self.durable.tails.len();
        self.durable.tails.retain(|tail| (tail.timeline, tail.from) != (timeline, from));
        if self.durable.tails.len() < before {
            out.push(self.persist());
        }
    }

    /// Tells the nodes what the log does not have yet, with the report of that number, if it is time to.
    pub(super) fn tell_tails(&self, number: u64, out: &mut Vec<Effect>) {
        if !number.is_multiple_of(TELL_EVERY) {
            return;
        }
        for tail in &self.durable.tails {
            let group = self.me.group.clone();
            self.send_all(&ToWitness::Tail { group, tail: tail.clone() }, out);
        }
    }
}
