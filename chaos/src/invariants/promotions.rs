//! No needless promotion: what concerns no primary moves none, and one fault moves it once.
//!
//! Counted are changes of the primary that nobody asked for, as the log has them. An epoch that is confirmed for the same
//! primary is none, nor is a switchover.

use regent_core::state::Change;
use regent_core::vote::Reason;

use crate::cluster::topology::region_of;

/// The changes after `epoch`, at which the primary was in region `primary`, that moved it unasked.
pub fn unasked(log: &[Change], epoch: u64, primary: usize) -> Vec<&Change> {
    let mut last = Some(primary);
    let mut found = Vec::new();
    for change in log.iter().filter(|change| change.epoch.0 > epoch) {
        let now = region_of(change.primary.as_str()).ok();
        if now != last && change.reason != Reason::Switchover {
            found.push(change);
        }
        last = now;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::change;
    use super::*;

    #[test]
    fn only_what_moved_it_unasked_is_counted() {
        let mut log = vec![
            change(1, "orders-us-west"),
            change(2, "orders-us-east"),
            change(3, "orders-us-east"),
            change(4, "orders-us-west"),
            change(5, "orders-eu-west"),
        ];
        log[4].reason = Reason::Switchover;
        let epochs = |from| unasked(&log, from, 0).iter().map(|change| change.epoch.0).collect::<Vec<_>>();
        assert_eq!(epochs(2), [4]);
        assert_eq!(epochs(5), [0; 0]);
    }
}
