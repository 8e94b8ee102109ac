//! Whom a vote may name: what this witness said last, or else what the log says (findings F1, F2).
//!
//! A witness that voted (f, X) may have made X primary of f. Whoever comes after must then be X, or one whom X
//! protects: so the next vote names X again, or somebody in the rest of that vote.

use super::seat::{Link, Seat};
use crate::ids::{Epoch, InstanceName};
use crate::mutant::{self, Mutant};

/// What the next vote follows from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basis {
    /// The epoch it is about.
    pub epoch: Epoch,
    /// The primary it follows.
    pub owner: InstanceName,
    /// Since which epoch that one is primary without interruption.
    pub since: Epoch,
    /// Who may take over from it, in order.
    pub rest: Vec<InstanceName>,
}

impl Basis {
    /// Everybody who may be named: the rest, then the owner.
    pub fn all(&self) -> Vec<InstanceName> {
        self.rest.iter().chain([&self.owner]).cloned().collect()
    }

    /// Whether that one may be named; if so, since when nobody else was primary as far as this witness knows, and who
    /// may follow it. A successor counts from the epoch after the basis, not from the epoch voted for: it may have
    /// been decided in between without this witness, and then it goes on as what it is.
    pub fn naming(&self, named: &InstanceName) -> Option<(Epoch, Vec<InstanceName>)> {
        if *named == self.owner {
            return Some((self.since, self.rest.clone()));
        }
        if mutant::on(Mutant::BasisIgnored) {
            let others = self.rest.iter().filter(|name| *name != named);
            return Some((self.epoch.next(), others.cloned().collect()));
        }
        let at = self.rest.iter().position(|name| name == named)?;
        Some((self.epoch.next(), self.rest[at + 1..].to_vec()))
    }
}

impl Seat {
    /// The last link that still binds, else the log. `None` while the group has no primary.
    pub fn basis(&self) -> Option<Basis> {
        let group = &self.durable.group;
        let binds = |link: &&Link| link.epoch > group.epoch && !self.void(link);
        let said = self.durable.chain.iter().rev().find(binds);
        if let Some(link) = said.filter(|_| !mutant::on(Mutant::ChainIgnored)) {
            let Link { epoch, named, since, rest, .. } = link.clone();
            return Some(Basis { epoch, owner: named, since, rest });
        }
        let owner = group.primary.clone()?;
        Some(Basis { epoch: group.epoch, owner, since: group.since, rest: group.succession.clone() })
    }

    /// A link whose instance durably said that it will never act on it decided nothing and never will.
    fn void(&self, link: &Link) -> bool {
        let word = self.heard.get(&link.named).map(|heard| &heard.report);
        word.is_some_and(|report| report.declined >= link.epoch && report.acted < link.epoch)
    }
}
