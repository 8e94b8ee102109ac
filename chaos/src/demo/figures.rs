//! What a trial measured, and whether it is good enough.

use serde::Serialize;

use super::fault::Fault;
use crate::clock::ms_between;
use crate::history::Write;
use crate::invariants::{accounted_rows, lost_within, one_writable_primary};
use crate::timeline::Step;
use crate::wan::LatenessReport;

/// The longest silences of one region's clients.
#[derive(Clone, Debug, Serialize)]
pub struct ClientGap {
    /// Their region.
    pub region: &'static str,
    /// Longest time between two acknowledgements.
    pub gap_ms: f64,
}

/// One trial, as it goes into the JSON file.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Number, from 1.
    pub number: usize,
    /// What was done.
    pub fault: Fault,
    /// Where.
    pub region: &'static str,
    /// Region of the heir before the fault: in `sync` a standby that every commit waited for.
    pub heir: &'static str,
    /// Processes killed.
    pub processes_killed: usize,
    /// Longest time in which no client anywhere got an acknowledgement.
    pub gap_ms: f64,
    /// From the fault to the first acknowledgement by the new primary; none if the primary stayed.
    pub first_write_ms: Option<f64>,
    /// The gap of each region's clients.
    pub clients: Vec<ClientGap>,
    /// Region of the new primary, if it moved.
    pub new_primary: Option<&'static str>,
    /// Epoch before and after.
    pub epochs: [u64; 2],
    /// Writes that were refused around the fault.
    pub refused: usize,
    /// From bringing back what was killed until all stream again.
    pub rejoin_ms: f64,
    /// S1 over the whole run.
    pub one_writable_primary: one_writable_primary::Report,
    /// S4, S5 over the whole run.
    pub accounted_rows: accounted_rows::Report,
    /// S4, S5 by the mode: how old what this fault lost was.
    pub lost_within: lost_within::Report,
    /// How late the emulated links were.
    pub lateness: LatenessReport,
    /// What happened.
    pub timeline: Vec<Step>,
}

impl Trial {
    /// Short enough a gap.
    pub fn in_time(&self) -> bool {
        self.gap_ms < self.fault.limit().as_secs_f64() * 1e3
    }

    /// The primary moved if it had to, and only then.
    pub fn moved_as_it_should(&self) -> bool {
        match self.fault.moves_primary() {
            true => self.new_primary.is_some(),
            false => self.new_primary.is_none() && self.epochs[0] == self.epochs[1],
        }
    }

    /// All of it.
    pub fn good(&self) -> bool {
        self.in_time()
            && self.moved_as_it_should()
            && self.one_writable_primary.holds()
            && self.accounted_rows.holds()
            && self.lost_within.holds()
    }
}

/// Longest time between two consecutive acknowledgements to clients of `region` (all without one) of which the later
/// came within `window`.
pub fn longest_silence(writes: &[Write], region: Option<&str>, window: std::ops::Range<u64>) -> f64 {
    let of_region = |write: &&Write| region.is_none_or(|region| write.client == region);
    let mut times: Vec<u64> =
        writes.iter().filter(of_region).filter_map(|write| Some(write.receipt()?.at_ns)).collect();
    times.sort_unstable();
    let in_window = times.windows(2).filter(|pair| window.contains(&pair[1]));
    in_window.map(|pair| ms_between(pair[0], pair[1])).fold(0.0, f64::max)
}

/// Median and worst of some figures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    /// Half lie below.
    pub median: f64,
    /// The highest.
    pub worst: f64,
}

impl Spread {
    /// Of no figures at all: zeros.
    pub fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let Some(worst) = sorted.last().copied() else { return Spread::default() };
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Spread { median, worst }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Outcome, Receipt};

    fn acknowledged(client: &'static str, at_ms: u64) -> Write {
        let receipt = Receipt { at_ns: at_ms * 1_000_000, timeline: 1, lsn: 0, xid: 0 };
        let outcome = Outcome::Acknowledged(receipt);
        Write { id: at_ms, client, instance: 0, invoked_ns: 0, outcome }
    }

    #[test]
    fn the_longest_silence_counts_where_it_ends() {
        let writes =
            [("a", 10), ("b", 20), ("a", 520), ("b", 560), ("a", 2000)].map(|(c, t)| acknowledged(c, t));
        let window = 30_000_000..1_000_000_000;
        assert_eq!(longest_silence(&writes, None, window.clone()), 500.0);
        assert_eq!(longest_silence(&writes, Some("b"), window.clone()), 540.0);
        assert_eq!(longest_silence(&[], None, window), 0.0);
    }

    #[test]
    fn a_spread_of_odd_even_and_none() {
        let spread = |figures: &[f64]| {
            let spread = Spread::of(figures.iter().copied());
            (spread.median, spread.worst)
        };
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0]), (2.5, 4.0));
        assert_eq!(spread(&[]), (0.0, 0.0));
    }
}
