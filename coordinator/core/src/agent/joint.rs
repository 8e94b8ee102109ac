//! The configurations that commits have to satisfy in `quorum`, two at once while one follows another: the primary's side
//! of [`crate::replication`], beside `confirm`. And the words in which the gate is told.

use super::Agent;
use super::confirm::{Confirmers, LAPSE, Waits};
use crate::ids::InstanceName;
use crate::mutant::{self, Mutant};
use crate::replication::{Configuration, Offer};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many places a word of the gate has.
pub const MOST_PLACES: usize = 55;
/// The bit of the place that nobody has: the gate waits until it is told otherwise.
pub const NOBODY: u64 = 1 << MOST_PLACES;
/// Where the number of those begins that have to have confirmed.
const NUMBER: u32 = 56;

/// What the gate asks of a commit: both words have to be satisfied. In each a bit for every place whose standby counts,
/// [`NOBODY`] for one that nobody has, and above those how many of them have to have flushed the commit; 0: all of them. A
/// word of 0 asks for nothing. The first is the one in force, the second the one that shall follow it, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Words(pub [u64; 2]);

impl Words {
    /// The places of which all are asked for.
    pub(super) fn of_all(self) -> u64 {
        self.0.into_iter().filter(|word| word >> NUMBER == 0).fold(0, |all, word| all | word)
    }
}

/// Whether what has been confirmed by these places is enough for a word.
pub fn satisfied(word: u64, confirmed: u64) -> bool {
    let places = word & ((1 << NUMBER) - 1);
    match word >> NUMBER {
        0 => places & !confirmed == 0,
        needed => u64::from((places & confirmed).count_ones()) >= needed,
    }
}

/// What stands for a place. Whoever came after the last is waited for, and never seen to confirm, so that nothing is
/// acknowledged that it lacks.
pub(super) fn bit(place: usize) -> u64 {
    if place < MOST_PLACES { 1 << place } else { NOBODY }
}

impl Confirmers {
    /// Whether nothing is asked of a commit.
    fn asks_nobody(&self) -> bool {
        self.names.is_empty() && self.joint.iter().all(|one| one.count == 0)
    }

    /// Everybody who counts for a commit.
    pub(super) fn all(&self) -> BTreeSet<&InstanceName> {
        self.names.iter().chain(self.joint.iter().flat_map(|one| &one.members)).collect()
    }

    /// What was begun and never offered binds nobody.
    pub(super) fn drop_what_was_not_offered(&mut self) {
        if self.offer.version > 0 && self.offer.count.is_some() {
            let offered = self.offer.configuration();
            self.joint.retain(|one| *one == offered);
        }
    }

    /// How many confirmations no commit can do without.
    fn least(&self) -> usize {
        self.joint.iter().map(|one| usize::from(one.count)).fold(self.names.len(), usize::max)
    }
}

impl Agent {
    /// Where these stand in the list, as the gate is told.
    fn bits<'a>(&self, names: impl IntoIterator<Item = &'a InstanceName>) -> u64 {
        let place = |name: &InstanceName| self.durable.places.iter().position(|placed| placed == name);
        // Everybody who counts was given a place.
        names.into_iter().fold(0, |bits, name| bits | place(name).map_or(NOBODY, bit))
    }

    pub(super) fn word(&self, of: &Configuration) -> u64 {
        match of.count {
            0 => 0,
            count => self.bits(&of.members) | u64::from(count) << NUMBER,
        }
    }

    /// What the gate has to ask, when Postgres waits as it must.
    pub(super) fn words(&self) -> Words {
        let Some(confirmers) = &self.durable.confirmers else { return Words::default() };
        if confirmers.asks_nobody() {
            return Words([if self.may_go_alone(confirmers) { 0 } else { NOBODY }, 0]);
        }
        let named = (!confirmers.names.is_empty()).then(|| self.bits(&confirmers.names));
        let mut words: Vec<u64> = confirmers.joint.iter().map(|one| self.word(one)).collect();
        if let Some(named) = named {
            words.insert(if confirmers.names_follow { words.len() } else { 0 }, named);
        }
        Words([0, 1].map(|place| words.get(place).copied().unwrap_or(0)))
    }

    fn may_go_alone(&self, confirmers: &Confirmers) -> bool {
        !self.blocks() || !confirmers.in_force
    }

    /// Whom Postgres has to wait for: no more than the gate will. What sleeps too short is kept by the gate.
    pub(super) fn must_wait_for(&self) -> Waits {
        let Some(confirmers) = &self.durable.confirmers else { return Waits::default() };
        if confirmers.asks_nobody() {
            let places = if self.may_go_alone(confirmers) { Vec::new() } else { vec![None] };
            return Waits { places, any: None };
        }
        let all = confirmers.all();
        let mut places: Vec<Option<InstanceName>> =
            self.durable.places.iter().map(|name| all.contains(name).then(|| name.clone())).collect();
        while places.last().is_some_and(Option::is_none) {
            places.pop();
        }
        Waits { places, any: (!confirmers.joint.is_empty()).then(|| confirmers.least()) }
    }

    /// Lets go of what came before an offer that a majority carries: none can go by it any more.
    pub(super) fn settle_joint(&mut self) {
        let open = self.offer_is_open() && !mutant::on(Mutant::OldConfigurationLeft);
        let Some(confirmers) = &mut self.durable.confirmers else { return };
        if open || confirmers.offer.version == 0 || confirmers.offer.count.is_none() {
            return;
        }
        let offered = confirmers.offer.configuration();
        if !confirmers.names_follow {
            confirmers.names.clear();
            self.confirm.confirmed.clear();
        }
        let next = confirmers.joint.pop().filter(|last| *last != offered);
        confirmers.joint = [offered].into_iter().chain(next).collect();
        confirmers.in_force = true;
    }

    /// Whether an offer is on its way that no majority may go by yet, and some may already.
    pub(super) fn offer_is_open(&self) -> bool {
        let made = self.durable.confirmers.as_ref().map(|confirmers| &confirmers.offer);
        made.filter(|offer| offer.version > 0).is_some_and(|offer| {
            let taken = self.group.as_ref().is_some_and(|group| group.has_taken(offer));
            !(taken && self.is_carried())
        })
    }

    /// Has commits go by the standbys that there are, and offers that when it holds for what came before.
    pub(super) fn offer_joint(&mut self, count: usize, now: Time) {
        if self.offer_is_open() {
            return;
        }
        let Some(wanted) = self.wanted_configuration(count, now) else { return };
        let Some(confirmers) = &mut self.durable.confirmers else { return };
        if confirmers.offer.version > 0 && confirmers.offer.count.is_some() {
            if std::mem::take(&mut confirmers.names_follow) {
                confirmers.names.clear(); // begun for `sync`, and never offered
                self.confirm.confirmed.clear();
            }
            confirmers.drop_what_was_not_offered();
            let same = wanted == confirmers.offer.configuration();
            if same && confirmers.offer.tightened == self.confirm.tightened {
                return;
            }
        } else {
            confirmers.names.extend(confirmers.offer.members.iter().cloned());
            confirmers.names_follow = false;
            confirmers.joint.clear();
        }
        if confirmers.joint.last() != Some(&wanted) {
            confirmers.joint.push(wanted.clone());
        }
        self.give_places();
        if self.holds_for_what_came_before(&wanted) {
            let offer = Offer {
                version: self.next_version(),
                count: Some(wanted.count),
                members: wanted.members,
                tightened: self.confirm.tightened,
            };
            if let Some(confirmers) = &mut self.durable.confirmers {
                confirmers.offer = offer;
            }
        }
    }

    /// All standbys that receive, and so many of them as the mode asks for or there are. None while it is not known yet who
    /// comes to a new primary, nor while none is there and commits wait anyway.
    fn wanted_configuration(&self, count: usize, now: Time) -> Option<Configuration> {
        let group = self.group.as_ref()?;
        let member = |name: &&InstanceName| group.instances.contains_key(*name) && **name != self.me.instance;
        let members: BTreeSet<InstanceName> = self.alive(now).filter(member).cloned().collect();
        let comes = now < self.office_since + LAPSE && members.len() + 1 < group.instances.len();
        if comes || (members.is_empty() && self.blocks()) {
            return None;
        }
        let count = u8::try_from(count.min(members.len())).ok()?;
        Some(Configuration { members, count })
    }

    /// Whether so many have what was flushed here at some moment since the gate asks for them.
    fn holds_for_what_came_before(&self, wanted: &Configuration) -> bool {
        let words = self.words();
        let asked = self.confirm.asked.is_some_and(|asked| asked.confirm == words && asked.rpo.is_none());
        let there = wanted.members.iter().filter(|name| self.confirm.reached.contains(*name)).count();
        (asked && there >= usize::from(wanted.count)) || mutant::on(Mutant::OfferedUnconfirmed)
    }

    /// Above every version it ever offered.
    pub(super) fn next_version(&mut self) -> u64 {
        let known = self.durable.confirmers.as_ref().map_or(0, |confirmers| confirmers.offer.version);
        self.durable.offered = self.durable.offered.max(known) + 1;
        self.durable.offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_satisfied_by_all_or_by_so_many() {
        let two_of_three = 0b1011 | 2 << NUMBER;
        for (word, confirmed, enough) in [
            (0, 0, true),
            (0b101, 0b101, true),
            (0b101, 0b011, false),
            (two_of_three, 0b0011, true),
            (two_of_three, 0b1001, true),
            (two_of_three, 0b0101, false),
            (NOBODY, u64::MAX >> 9, false),
        ] {
            assert_eq!(satisfied(word, confirmed), enough, "{word:x} by {confirmed:b}");
        }
    }
}
