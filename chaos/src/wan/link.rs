//! One way of a link, as a pure thing: a packet that comes at some time arrives at another, or is lost. No clock, no
//! socket, and chance from a seed of its own, so that what befalls one way changes nothing on another.
//!
//! In this order: a cut loses everything; chance loses some; what is left waits for its turn at the rate, or is lost where
//! the queue is full; then it takes the delay and its jitter. Each packet draws as many numbers whatever the terms are, so
//! that a change of one of them leaves the chances of the others as they were.
//!
//! A cut also loses what is under way, as a cable that is cut does: when [`Link::cut`] has returned nothing arrives any more.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::terms::Terms;
use super::topology::Way;

/// Bytes that are under way on one way at most: 70 ms at 7 Gbit/s. A bound on memory, not a property of any network.
const MOST_UNDER_WAY: u64 = 64 << 20;

/// What becomes of a packet. Times are since the beginning, whatever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then, once or twice.
    Arrives {
        /// When.
        due: Duration,
        /// How often.
        copies: u8,
    },
    /// It does not.
    Lost(Loss),
}

/// Why a packet is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The way is cut.
    Cut,
    /// As the terms say.
    Chance,
    /// Too much waits already.
    Full,
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets that arrived, copies too.
    pub arrived: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost to a cut, also from under way.
    pub lost_by_cut: u64,
    /// Lost by chance.
    pub lost_by_chance: u64,
    /// Lost to a full queue.
    pub lost_by_full: u64,
}

/// One way.
pub struct Link {
    terms: Terms,
    cut: bool,
    /// How often it was cut: what was under way then is of an earlier life.
    life: u64,
    chance: StdRng,
    /// When the last packet has left at the rate.
    free: Duration,
    /// When the last of all so far arrives.
    last: Duration,
    under_way: u64,
    counts: Counts,
}

impl Link {
    /// A whole link, with nothing on it.
    pub fn new(terms: Terms, seed: u64, way: Way) -> Link {
        let mut bytes = [0; 32];
        let places = [seed, way.from as u64, way.to as u64];
        bytes
            .chunks_exact_mut(8)
            .zip(places)
            .for_each(|(to, place)| to.copy_from_slice(&place.to_le_bytes()));
        Link {
            terms,
            cut: false,
            life: 0,
            chance: StdRng::from_seed(bytes),
            free: Duration::ZERO,
            last: Duration::ZERO,
            under_way: 0,
            counts: Counts::default(),
        }
    }

    /// A packet of so many bytes comes.
    pub fn offer(&mut self, now: Duration, bytes: u64) -> Fate {
        let [lost, twice, jitter] = std::array::from_fn(|_| self.chance.random::<f64>());
        if self.cut {
            return self.lose(Loss::Cut);
        }
        if lost < self.terms.loss.as_fraction() {
            return self.lose(Loss::Chance);
        }
        let begins = self.free.max(now);
        let waiting = self.terms.rate.bytes_in(begins - now);
        let copies = 1 + u8::from(twice < self.terms.duplicate.as_fraction());
        let under_way = self.under_way + bytes * u64::from(copies);
        if waiting + bytes > self.terms.queue.bytes() || under_way > MOST_UNDER_WAY {
            return self.lose(Loss::Full);
        }
        self.free = begins + self.terms.rate.time_of(bytes);
        self.under_way = under_way;
        let mut due = self.free + self.terms.delay.0 + self.terms.jitter.0.mul_f64(jitter);
        if !self.terms.reorder.0 {
            due = due.max(self.last);
        }
        self.last = self.last.max(due);
        Fate::Arrives { due, copies }
    }

    /// A packet that was offered in this life of the link is due; says whether it arrives.
    pub fn arrives(&mut self, life: u64, bytes: u64) -> bool {
        self.under_way -= bytes;
        if life != self.life {
            self.lose(Loss::Cut);
            return false;
        }
        self.counts.arrived += 1;
        self.counts.bytes += bytes;
        true
    }

    /// Nothing passes from now on; what is under way is lost.
    pub fn cut(&mut self) {
        self.cut = true;
        self.life += 1;
    }

    /// Packets pass again, and none waits for one that was lost.
    pub fn heal(&mut self) {
        if std::mem::take(&mut self.cut) {
            (self.free, self.last) = (Duration::ZERO, Duration::ZERO);
        }
    }

    /// From the next packet on.
    pub fn set(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// As it is now.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Whether nothing passes.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// To be kept with each packet that is under way, for [`Link::arrives`].
    pub fn life(&self) -> u64 {
        self.life
    }

    /// What has passed.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn lose(&mut self, loss: Loss) -> Fate {
        *match loss {
            Loss::Cut => &mut self.counts.lost_by_cut,
            Loss::Chance => &mut self.counts.lost_by_chance,
            Loss::Full => &mut self.counts.lost_by_full,
        } += 1;
        Fate::Lost(loss)
    }
}
