//! Who can reach whom, and how long it takes. Ends are witnesses (`wa`) and instances (`a`); the last letter of a
//! witness and the region of an instance say where it is.

use super::clock::MS;
use std::collections::{BTreeMap, BTreeSet};

/// The links between all ends.
#[derive(Default)]
pub struct Links {
    region: BTreeMap<String, char>,
    delays: BTreeMap<(String, String), u64>,
    cut: BTreeSet<(String, String)>,
}

/// One way between two regions: round trips of 60, 80 and 140 ms, as in the time budget of the design.
fn between(a: char, b: char) -> u64 {
    match (a.min(b), a.max(b)) {
        (a, b) if a == b => MS / 5,
        ('a', 'b') => 30 * MS,
        ('a', 'c') => 40 * MS,
        ('b', 'c') => 70 * MS,
        _ => 50 * MS,
    }
}

impl Links {
    /// Places an end in a region.
    pub fn place(&mut self, end: &str, region: char) {
        self.region.insert(end.to_owned(), region);
    }

    /// The region of an end.
    pub fn region(&self, end: &str) -> char {
        self.region[end]
    }

    /// All ends in a region.
    pub fn ends_in(&self, region: char) -> Vec<String> {
        self.region.iter().filter(|(_, r)| **r == region).map(|(end, _)| end.clone()).collect()
    }

    /// All ends.
    pub fn ends(&self) -> Vec<String> {
        self.region.keys().cloned().collect()
    }

    /// How long a message takes, one way.
    pub fn delay(&self, from: &str, to: &str) -> u64 {
        let own = self.delays.get(&(from.to_owned(), to.to_owned()));
        own.copied().unwrap_or_else(|| between(self.region(from), self.region(to)))
    }

    /// Sets how long messages take, one way.
    pub fn set_delay(&mut self, from: &str, to: &str, delay: u64) {
        self.delays.insert((from.to_owned(), to.to_owned()), delay);
    }

    /// Whether a message sent now arrives.
    pub fn open(&self, from: &str, to: &str) -> bool {
        !self.cut.contains(&(from.to_owned(), to.to_owned()))
    }

    /// Whether both ways are open.
    pub fn joined(&self, a: &str, b: &str) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    /// Cuts one way.
    pub fn cut(&mut self, from: &str, to: &str) {
        self.cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Heals one way; says whether it was cut.
    pub fn heal(&mut self, from: &str, to: &str) -> bool {
        self.cut.remove(&(from.to_owned(), to.to_owned()))
    }

    /// Forgets every delay that was set.
    pub fn usual_delays(&mut self) {
        self.delays.clear();
    }
}
