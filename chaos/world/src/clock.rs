//! A machine's clock: where it began and how fast it runs, against the virtual time of the stage.

use regent_core::time::Time;

/// Milliseconds in the stage's unit, nanoseconds.
pub const MS: u64 = 1_000_000;

/// The clock of one machine. Witness and agent of a region have clocks of their own: the worst case.
#[derive(Clone, Copy)]
pub struct Clock {
    /// What it showed when the stage's time was zero, in nanoseconds.
    pub offset: u64,
    /// How wrong its rate is, in millionths.
    pub ppm: i64,
}

impl Clock {
    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + self.ppm).expect("a clock that runs forward")
    }

    /// What it shows at that instant of the stage.
    pub fn read(self, at: u64) -> Time {
        let ran = u128::from(at) * self.rate() / 1_000_000;
        Time(self.offset + u64::try_from(ran).expect("a short play"))
    }

    /// The first instant of the stage at which it shows `local` or later.
    pub fn when(self, local: Time) -> u64 {
        let ran = u128::from(local.0.saturating_sub(self.offset));
        u64::try_from((ran * 1_000_000).div_ceil(self.rate())).expect("a short play")
    }
}
