//! The only source of chance: a small generator, so that a seed says everything.

/// Splitmix64: the same seed, the same numbers, on every machine.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not zero.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number from `low` up to and with `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index below `n`, which is not zero.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("below a usize")
    }

    /// One of several.
    pub fn of<T: Copy>(&mut self, what: &[T]) -> T {
        what[self.index(what.len())]
    }

    /// Whether something happens that does so `times` in a million.
    pub fn happens(&mut self, times_in_a_million: u32) -> bool {
        self.below(1_000_000) < u64::from(times_in_a_million)
    }

    /// Whether something happens that does so once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Puts things into an order of chance.
    pub fn shuffle<T>(&mut self, what: &mut [T]) {
        for last in (1..what.len()).rev() {
            let other = self.index(last + 1);
            what.swap(last, other);
        }
    }
}
