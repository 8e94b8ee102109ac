//! Letters between processes. What was sent stays deliverable: a letter that is never taken was lost, one that is taken
//! twice was duplicated, one that is taken late was overtaken. So loss, duplication and delay need no action.
//!
//! Of reports, which come again and again, only the last few on a way stay: how many, the configuration says. With one, a
//! report may be lost and doubled, and is not overtaken by a newer one on the same way.

use crate::kept::hash_of;
use crate::words::{inst, witness};
use regent_core::ids::{InstanceName, NodeId};
use regent_core::message::{ToAgent, ToNode, ToWitness};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What is said, by whom, to whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Letter {
    /// To a witness, from an agent.
    Witness(InstanceName, NodeId, ToWitness),
    /// To an agent, from a witness.
    Agent(NodeId, InstanceName, ToAgent),
    /// To a node, from another.
    Node(NodeId, NodeId, ToNode),
}

/// The letters that can be delivered, in the order in which they were sent first.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    letters: Vec<(u64, Arc<Letter>)>,
}

impl Hash for Mail {
    /// Does not depend on the order of sending.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.letters.iter().fold(0, |sum, (hash, _)| sum.wrapping_add(*hash)));
    }
}

impl Mail {
    /// A letter is on its way; of reports on the same way, only the last so many stay.
    pub fn send(&mut self, letter: Letter, reports: usize) {
        let hash = hash_of(&letter);
        if let Letter::Witness(from, to, ToWitness::Report(_)) = &letter {
            let same_way = |old: &Letter| matches!(old, Letter::Witness(f, t, ToWitness::Report(_)) if f == from && t == to);
            let older: Vec<usize> =
                (0..self.letters.len()).filter(|at| same_way(&self.letters[*at].1)).collect();
            if older.len() >= reports {
                self.letters.remove(older[0]);
            }
        }
        self.letters.push((hash, Arc::new(letter)));
    }

    /// Whether that letter can be delivered already.
    pub fn holds(&self, letter: &Letter) -> bool {
        let hash = hash_of(letter);
        self.letters.iter().any(|(known, _)| *known == hash)
    }

    /// The letters.
    pub fn letters(&self) -> impl Iterator<Item = &Arc<Letter>> {
        self.letters.iter().map(|(_, letter)| letter)
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Letter::Witness(from, to, message) => {
                write!(f, "{} hears {}: ", witness(*to), inst(from))?;
                match message {
                    ToWitness::Hello { .. } => write!(f, "hello"),
                    ToWitness::Report(report) => match report.claims {
                        Some(epoch) => write!(f, "report {}, claiming {epoch}", report.seq),
                        None => write!(f, "report {}", report.seq),
                    },
                    ToWitness::Release(release) => write!(f, "epoch {} is released", release.epoch),
                    ToWitness::Show(shown) => write!(f, "the certificate of {}", shown.epoch()),
                    ToWitness::Tail { tail, .. } => write!(f, "what {} left behind", tail.epoch),
                }
            }
            Letter::Agent(from, to, message) => {
                write!(f, "{} hears {}: ", inst(to), witness(*from))?;
                match message {
                    ToAgent::Known(group) => write!(f, "the log at revision {}", group.revision),
                    ToAgent::Promised { epoch, seq, .. } => {
                        write!(f, "a promise under {epoch}, in answer to report {seq}")
                    }
                    ToAgent::Heard { seq, .. } => write!(f, "no promise for report {seq}"),
                    ToAgent::Vote(vote) => write!(f, "its vote for {} in {}", inst(&vote.named), vote.floor),
                    ToAgent::Decided(shown) => {
                        write!(f, "the certificate of {} in {}", inst(shown.named()), shown.epoch())
                    }
                    ToAgent::Decline { up_to, .. } => write!(f, "decline everything up to {up_to}"),
                    ToAgent::HandOver { wish, .. } => write!(f, "hand over to {}", inst(&wish.to)),
                    ToAgent::Detached { instance, position, .. } => {
                        write!(f, "{} is at {}", inst(instance), position.flushed)
                    }
                    ToAgent::TailRecorded { from, .. } => write!(f, "the log has what it left at {from}"),
                }
            }
            Letter::Node(from, to, message) => {
                write!(f, "{} hears {}: ", witness(*to), witness(*from))?;
                match message {
                    ToNode::Vote(vote) => write!(f, "its vote for {} in {}", inst(&vote.named), vote.floor),
                    ToNode::Decided(shown) => {
                        write!(f, "the certificate of {} in {}", inst(shown.named()), shown.epoch())
                    }
                    ToNode::Solicit(wish) => {
                        write!(f, "a request to vote for {} in {}", inst(&wish.named), wish.epoch)
                    }
                    ToNode::Standing(_) => write!(f, "where it stands"),
                }
            }
        }
    }
}
