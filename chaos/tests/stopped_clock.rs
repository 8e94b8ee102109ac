//! The primary's clock stands still for two seconds while its Postgres runs on, with clients at home whose sessions stay
//! open: what a mode that rests on no clock must keep then, and that the check would see it broken.
//!
//! Each test has a cluster of its own: its processes run under the shim.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use regent_chaos::bench::stopped::{Figures, measure};
use regent_chaos::cluster::topology::RoundTrips;
use regent_core::replication::Mode;

fn once_each(mode: Mode) -> Vec<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let round_trips = RoundTrips::parse("60,80,140").unwrap();
    runtime.block_on(measure(round_trips, mode, 1)).unwrap()
}

#[test]
fn in_sync_a_stopped_clock_loses_nothing_and_the_old_primary_is_silent() {
    for figures in once_each(Mode::Sync { count: 1 }) {
        assert!(figures.holds(), "{figures:?}");
        assert_eq!(figures.promoted, 1, "the agent was not silent: {figures:?}");
    }
}

/// Design, section 2: the one assumption about clocks, broken. If this were not seen, the test above would prove nothing. (Not
/// in every variant: an agent whose clock stands still closes the gate when it hears of its successor.)
#[test]
fn in_async_the_same_is_seen_to_break_the_promise() {
    let all = once_each(Mode::Async);
    assert!(all.iter().all(|figures| figures.promoted == 1), "the agent was not silent: {all:?}");
    assert!(all.iter().any(|figures| figures.after_successor > 0), "{all:?}");
}
