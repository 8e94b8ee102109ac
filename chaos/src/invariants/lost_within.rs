//! S4 and S5 as a mode promises them: what a change of primary lost was acknowledged no longer before the old primary's
//! last acknowledgement than the mode lets be missing. In `sync` nothing may be lost at all.
//!
//! The gate acknowledges, and clients hear of it later, each by the length of its link, which is taken off, and by what a
//! busy machine adds, which is not known. So two ages are told: by the times at which clients heard, and the least that it
//! surely was, the last acknowledgement having been given after its write was sent. Only the second one can break the claim.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::clock::ms_between;
use crate::history::Write;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How many acknowledged rows one change of primary lost.
    pub lost: usize,
    /// How long before the old primary's last acknowledgement the oldest of them was acknowledged.
    pub oldest_ms: f64,
    /// The least that this surely was.
    pub surely_ms: f64,
    /// What the mode allows; nothing in `async`.
    pub bound_ms: Option<f64>,
}

impl Report {
    /// Whether the theorem holds.
    pub fn holds(&self) -> bool {
        let Some(bound) = self.bound_ms else { return true };
        self.lost == 0 || (bound > 0.0 && self.surely_ms <= bound)
    }
}

/// Looks at the rows of `lost` that were written on `timeline`. `travels` says how long an acknowledgement takes to the
/// clients of a region; `slack` is what the mode lets be missing, if it says so.
pub fn check(
    writes: &[Write],
    lost: &BTreeSet<u64>,
    timeline: u32,
    travels: impl Fn(&str) -> Duration,
    slack: Option<Duration>,
) -> Report {
    // When the server had the write, and when it had acknowledged it, by its client's times.
    let at_server = |write: &Write| {
        let receipt = write.receipt().filter(|receipt| receipt.timeline == timeline)?;
        let way = u64::try_from(travels(write.client).as_nanos()).unwrap_or(u64::MAX);
        Some((write.invoked_ns.saturating_add(way), receipt.at_ns.saturating_sub(way)))
    };
    let of_timeline: Vec<(u64, u64)> = writes.iter().filter_map(at_server).collect();
    let last_sent = of_timeline.iter().map(|(sent, _)| *sent).max().unwrap_or_default();
    let last = of_timeline.iter().map(|(_, given)| *given).max().unwrap_or_default();
    let of_lost = writes.iter().filter(|write| lost.contains(&write.id)).filter_map(at_server);
    let of_lost: Vec<u64> = of_lost.map(|(_, given)| given).collect();
    let oldest = of_lost.iter().min().copied();
    let age =
        |last: u64| oldest.filter(|oldest| *oldest < last).map_or(0.0, |oldest| ms_between(oldest, last));
    Report {
        lost: of_lost.len(),
        oldest_ms: age(last),
        surely_ms: age(last_sent),
        bound_ms: slack.map(|slack| slack.as_secs_f64() * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::write;
    use super::*;

    const MS: u64 = 1_000_000;

    fn found(lost: &[u64], slack: Option<u64>) -> Report {
        let at = |id| 1_000 * MS + id * 50 * MS;
        let mut writes = [1, 2, 3, 4].map(|id| write(id, 0, 1, at(id) - 20 * MS, at(id))).to_vec();
        writes[3].client = "far";
        writes.push(write(5, 1, 2, 8_000 * MS, 9_000 * MS));
        let far = |client: &str| Duration::from_millis(if client == "far" { 10 } else { 0 });
        check(&writes, &lost.iter().copied().collect(), 1, far, slack.map(Duration::from_millis))
    }

    #[test]
    fn the_oldest_lost_row_is_measured_against_the_last_of_its_timeline() {
        let report = found(&[3, 2], Some(90));
        assert_eq!((report.lost, report.oldest_ms, report.surely_ms), (2, 90.0, 90.0));
        assert!(report.holds());
        assert!(!found(&[3, 2], Some(89)).holds());
        assert!(!found(&[1], Some(90)).holds());
        let report = found(&[3], Some(40));
        assert_eq!((report.oldest_ms, report.surely_ms), (40.0, 40.0));
        assert_eq!(found(&[5], Some(90)).lost, 0, "of another timeline");
    }

    #[test]
    fn in_sync_nothing_may_be_lost_and_in_async_anything() {
        assert!(found(&[], Some(0)).holds());
        assert!(!found(&[4], Some(0)).holds());
        assert!(found(&[1], None).holds());
    }
}
