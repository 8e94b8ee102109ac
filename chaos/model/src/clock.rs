//! Clocks: real time is counted in nanoseconds from the beginning of a history; each process reads it at its own rate.

use regent_core::time::Time;

/// What every clock shows when a history begins: far enough from zero that nothing lies before it.
const BEGINNING: u64 = 1_000_000_000_000;

/// One process's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How wrong its rate is, in millionths.
    pub ppm: i64,
}

impl Clock {
    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + self.ppm).expect("a clock runs forward")
    }

    /// What it shows at that real time.
    pub fn read(self, real: u64) -> Time {
        let ran = u128::from(real) * self.rate() / 1_000_000;
        Time(BEGINNING + u64::try_from(ran).expect("a short history"))
    }

    /// The first real time at which it shows `local` or later.
    pub fn when(self, local: Time) -> u64 {
        let ran = u128::from(local.0.saturating_sub(BEGINNING));
        u64::try_from((ran * 1_000_000).div_ceil(self.rate())).expect("a short history")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clock_shows_it_showed_first_when_it_says() {
        for ppm in [-5_000, 0, 5_000] {
            let clock = Clock { ppm };
            for real in [0, 1, 99_750_000, 200_000_001] {
                let shown = clock.read(real);
                assert!(clock.when(shown) <= real);
                assert_eq!(clock.read(clock.when(shown)), shown);
            }
        }
    }
}
