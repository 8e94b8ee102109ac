//! A record of a region that was lost, as it should be; and each way in which it should not.

use regent_core::replication::Mode;
use regent_world::history::linearizable_assignment::Operation;

use super::testing::{EAST, MS, S, good};
use super::*;
use crate::history::Outcome as Came;
use crate::invariants::testing::{vote, write};

/// The theorems that a damaged record breaks.
fn broken(damage: impl FnOnce(&mut Record)) -> Vec<&'static str> {
    let mut record = good();
    damage(&mut record);
    let verdict = judge(&record);
    let broken: Vec<_> = verdict.findings.iter().filter(|finding| !finding.holds()).collect();
    assert_eq!(verdict.outcome == Outcome::Broken, !broken.is_empty(), "{verdict:?}");
    broken.into_iter().map(|finding| finding.theorem).collect()
}

#[test]
fn a_region_that_is_lost_as_it_should_holds() {
    let verdict = judge(&good());
    assert_eq!(verdict.outcome, Outcome::Holds, "{verdict:?}");
    assert_eq!(verdict.gap_ms, 521.0);
    assert_eq!(verdict.acknowledged, 321);
}

#[test]
fn each_theorem_fails_for_a_record_that_breaks_it() {
    let late = broken(|record| record.writes.push(write(2000, 0, 1, 12 * S, 13 * S)));
    assert!(late.contains(&"S1 one writable primary"), "{late:?}");
    let s2 = broken(|record| record.events.push(vote(10_450 * MS, 2, 2, EAST)));
    assert_eq!(s2, ["S2 epochs"]);
    let s3 = broken(|record| drop(record.events.remove(1)));
    assert_eq!(s3, ["S3 promoted only after votes"]);
    let s3 = broken(|record| {
        record.events[0].promised.as_mut().unwrap().until_ns = 10_401 * MS;
    });
    assert_eq!(s3, ["S3 promoted only after votes"]);
    let rows = broken(|record| record.end.tails.clear());
    assert_eq!(rows, ["S4/S5 every row accounted for"]);
    let ghost = broken(|record| {
        record.end.rows.as_mut().unwrap().0.insert(5000);
    });
    assert_eq!(ghost, ["S4/S5 every row accounted for"]);
    let late = broken(|record| {
        record.end.rows.as_mut().unwrap().0.insert(5000);
        record.end.unanswered.0.insert(5000);
    });
    assert_eq!(late, [""; 0], "of an earlier run, and never answered");
    let gone = broken(|record| record.end.before.0 = [0].into());
    assert_eq!(gone, ["S4/S5 every row accounted for"]);
    let sync = broken(|record| record.run.mode = Mode::Sync { count: 1 });
    assert_eq!(sync, ["S4/S5 lost within the mode's bound"]);
    let old = broken(|record| {
        record.run.mode = Mode::Bounded { rpo: Duration::from_millis(100), count: 1 };
        record.writes.push(write(998, 0, 1, 9_000 * MS, 9_010 * MS));
        record.end.tails[0].commits.insert(998 + 700, 99_800);
    });
    assert_eq!(old, ["S4/S5 lost within the mode's bound"]);
    let stale = broken(|record| {
        let answer = record.reads.iter().find_map(|read| match read {
            Operation::Read { answer, .. } => Some(answer.clone()),
            _ => None,
        });
        record.reads.push(Operation::Read { begun: 13 * S, at: 14 * S, answer: answer.unwrap() });
    });
    assert_eq!(stale, ["S6/S7 watches and reads"]);
    let silent = broken(|record| drop(record.watched[0].pop()));
    assert_eq!(silent, ["S6/S7 watches and reads"]);
    let never = broken(|record| record.end.whole_ns = None);
    assert_eq!(never, ["heals"]);
    let needless = broken(|record| record.run.promotions = [0, 0]);
    assert_eq!(needless, ["promotions"]);
    let missing = broken(|record| record.run.promotions = [2, 2]);
    assert_eq!(missing, ["promotions"]);
    let silent = broken(|record| record.run.gap_within_ms = Some(520));
    assert_eq!(silent, ["write gap"]);
}

#[test]
fn a_silence_that_nothing_ended_counts_to_the_end() {
    let mut record = good();
    record.end.served_ns = None;
    let last = record.writes.iter().filter_map(|write| Some(write.receipt()?.at_ns)).max().unwrap();
    assert_eq!(gap(&record), Some((last, record.end.ended_ns)));
}

#[test]
fn who_was_late_is_excused_of_what_is_timed_and_who_did_too_little_says_nothing() {
    let outcome = |damage: fn(&mut Record)| {
        let mut record = good();
        damage(&mut record);
        judge(&record).outcome
    };
    let late: fn(&mut Record) = |record| record.end.lateness.as_mut().unwrap().p999_ms = 2.1;
    assert_eq!(outcome(late), Outcome::Holds, "in time all the same");
    let unlike = |record: &mut Record| record.end.lateness.as_mut().unwrap().p999_ms = 50.1;
    assert_eq!(outcome(unlike), Outcome::Invalid, "over other links");
    for timed in [
        |record: &mut Record| record.run.promotions = [0, 0],
        |record: &mut Record| record.run.gap_within_ms = Some(1),
        |record: &mut Record| record.run.heals_within_ms = 1,
    ] {
        assert_eq!(outcome(timed), Outcome::Broken);
        for excuse in [late, |record: &mut Record| record.end.longest_flush_ms = 101.0] {
            let mut both = good();
            excuse(&mut both);
            timed(&mut both);
            assert_eq!(judge(&both).outcome, Outcome::Safe);
        }
    }
    for always in [
        |record: &mut Record| record.end.tails.clear(),
        |record: &mut Record| record.run.promotions = [2, 2],
        |record: &mut Record| record.end.whole_ns = None,
    ] {
        let mut both = good();
        late(&mut both);
        always(&mut both);
        assert_eq!(judge(&both).outcome, Outcome::Broken);
    }
    let idle = outcome(|record| {
        record.writes.iter_mut().take(250).for_each(|write| {
            write.outcome = Came::Unknown("gone".into());
        })
    });
    assert_eq!(idle, Outcome::Invalid);
}
