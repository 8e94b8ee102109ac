//! What a trial showed, by what clients saw.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fault::HOME;
use crate::clock::ms_between;
use crate::cluster::topology::REGIONS;
use crate::demo::figures::longest_silence;
use crate::history::Write;
use crate::invariants::one_writable_primary;
use crate::wan::LatenessReport;

/// Who hears nothing in the last so many of the time that was watched is heard no more.
const SILENT_NS: u64 = 5_000_000_000;

/// One trial, as it goes into the JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The longest time in which no client in the regions that were spared got an acknowledgement; none if that had no end.
    pub gap_ms: Option<f64>,
    /// Region of whoever acknowledged first on a later timeline; none if nobody did.
    pub new_primary: Option<String>,
    /// Rows that were acknowledged and are not there in the end.
    pub lost: usize,
    /// Rows that an old primary acknowledged although they were sent after the new one had acknowledged.
    pub by_two: usize,
    /// Rows on a timeline that another instance had written on: two promotions took one number, and nobody can tell by it who was first.
    pub shared: usize,
    /// From the new primary's first acknowledgement to the old one's last.
    pub two_for_ms: f64,
    /// From undoing the fault until all was well; none if that did not come by itself.
    pub back_s: Option<f64>,
    /// Whether the emulated links were in time.
    pub valid: bool,
}

/// What is known of a trial beside its rows.
pub struct Seen {
    pub struck_ns: u64,
    pub end_ns: u64,
    /// The newest timeline before the fault.
    pub old_timeline: u32,
    pub back_s: Option<f64>,
    pub lateness: LatenessReport,
}

/// Rows that this trial adds to those of earlier ones.
pub struct Verdict {
    pub lost: BTreeSet<u64>,
    pub twice: BTreeSet<u64>,
}

/// All writes of a life, the rows that are there in the end, and what earlier trials of the life lost and let two acknowledge.
pub fn judge(
    seen: &Seen,
    writes: &[Write],
    rows: &BTreeSet<u64>,
    lost_before: &BTreeSet<u64>,
    twice_before: &BTreeSet<u64>,
) -> (Trial, Verdict) {
    let acknowledged = || writes.iter().filter_map(|write| Some((write, write.receipt()?)));
    let lost: BTreeSet<u64> = acknowledged()
        .map(|(write, _)| write.id)
        .filter(|id| !rows.contains(id) && !lost_before.contains(id))
        .collect();
    let report = one_writable_primary::check(writes);
    let news =
        |ids: &[u64]| ids.iter().filter(|id| !twice_before.contains(id)).copied().collect::<BTreeSet<u64>>();
    let (twice, shared) = (news(&report.late), news(&report.shared));
    let first = acknowledged().filter(|(_, receipt)| receipt.timeline > seen.old_timeline);
    let first = first.min_by_key(|(_, receipt)| receipt.at_ns);
    let last_of_old =
        acknowledged().filter(|(write, _)| twice.contains(&write.id)).map(|(_, receipt)| receipt.at_ns).max();
    let two_for_ms =
        first.zip(last_of_old).map_or(0.0, |((_, first), last)| ms_between(first.at_ns, last).max(0.0));
    let trial = Trial {
        gap_ms: gap(seen, writes),
        new_primary: first.map(|(write, _)| REGIONS[write.instance].to_owned()),
        lost: lost.len(),
        by_two: twice.len(),
        shared: shared.len(),
        two_for_ms,
        back_s: seen.back_s,
        valid: seen.lateness.valid(),
    };
    (trial, Verdict { lost, twice: twice.into_iter().chain(shared).collect() })
}

/// Of the clients in the regions that were spared; those at home write to the server that they know, wherever the primary is.
fn gap(seen: &Seen, writes: &[Write]) -> Option<f64> {
    let spared: Vec<Write> = writes.iter().filter(|write| write.client != REGIONS[HOME]).cloned().collect();
    let heard = |write: &Write| {
        write.receipt().is_some_and(|receipt| (seen.end_ns - SILENT_NS..seen.end_ns).contains(&receipt.at_ns))
    };
    spared.iter().any(heard).then(|| longest_silence(&spared, None, seen.struck_ns..seen.end_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Outcome, Receipt};

    const S: u64 = 1_000_000_000;

    fn write(id: u64, client: usize, instance: usize, timeline: u32, at_s: u64) -> Write {
        let receipt = Receipt { at_ns: at_s * S, timeline, lsn: id, xid: id };
        let outcome = Outcome::Acknowledged(receipt);
        Write { id, client: REGIONS[client], instance, invoked_ns: at_s * S - S / 2, outcome }
    }

    fn seen() -> Seen {
        let lateness = LatenessReport { chunks: 1, p50_ms: 0.0, p99_ms: 0.0, p999_ms: 1.0, max_ms: 1.0 };
        Seen { struck_ns: 100 * S, end_ns: 140 * S, old_timeline: 1, back_s: Some(3.0), lateness }
    }

    #[test]
    fn an_old_primary_that_acknowledges_on_is_counted_and_its_rows_are_lost() {
        let mut writes = vec![write(1, 1, HOME, 1, 99), write(2, 1, 1, 2, 121), write(3, 1, 1, 2, 139)];
        // At home somebody goes on; that does not shorten the gap.
        writes.extend([110, 119, 125].map(|at_s| write(at_s, HOME, HOME, 1, at_s)));
        let rows = [1, 2, 3, 110].into();
        let (trial, verdict) = judge(&seen(), &writes, &rows, &[119].into(), &BTreeSet::new());
        assert_eq!(trial.gap_ms, Some(22_000.0));
        assert_eq!(trial.new_primary.as_deref(), Some(REGIONS[1]));
        assert_eq!((trial.lost, trial.by_two, trial.two_for_ms), (1, 1, 4000.0), "119 was lost before");
        assert_eq!((verdict.lost, verdict.twice.clone()), ([125].into(), [125].into()));
        let (again, _) = judge(&seen(), &writes, &rows, &[119, 125].into(), &verdict.twice);
        assert_eq!((again.lost, again.by_two), (0, 0), "told once");
    }

    #[test]
    fn a_timeline_of_two_says_nothing_of_who_was_first() {
        let writes = [write(1, 1, 1, 2, 121), write(2, 2, 2, 2, 122), write(3, 1, 1, 2, 139)];
        let (trial, verdict) = judge(&seen(), &writes, &[1, 3].into(), &BTreeSet::new(), &BTreeSet::new());
        assert_eq!((trial.by_two, trial.shared), (0, 1));
        assert_eq!(verdict.twice, [2].into());
    }

    #[test]
    fn who_hears_nothing_at_the_end_has_a_gap_without_end() {
        let writes = [write(1, 1, HOME, 1, 99), write(2, 1, HOME, 1, 101), write(3, HOME, HOME, 1, 139)];
        let (trial, _) = judge(&seen(), &writes, &[1, 2, 3].into(), &BTreeSet::new(), &BTreeSet::new());
        assert_eq!((trial.gap_ms, trial.new_primary), (None, None));
    }
}
