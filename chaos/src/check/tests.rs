//! A record of a region that was lost, as it should be; and each way in which it should not.

use std::path::PathBuf;

use regent_core::ids::{Epoch, InstanceName};
use regent_world::history::linearizable_assignment::Operation;
use regent_world::history::watch::{self, What};

use super::*;
use crate::history::Outcome as Came;
use crate::invariants::accounted_rows::Tail;
use crate::invariants::testing::{change, event, vote, write};
use crate::record::{End, Ids, Start, Strike};
use crate::timeline::Promised;
use crate::wan::LatenessReport;

const EAST: &str = "orders-us-east";
const WEST: &str = "orders-us-west";
const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// us-east is lost at 10 s; us-west takes over in epoch 2 and writes from 10.5 s on. Row 999 is lost with it.
fn good() -> Record {
    let mut writes: Vec<Write> = Vec::new();
    for id in 0..300_u64 {
        let at = 2 * S + id * 26 * MS;
        let mut row = write(id + 1, 0, 1, at, at + 30 * MS);
        row.client = REGIONS[id as usize % 3];
        writes.push(row);
    }
    writes.push(write(999, 0, 1, 9_900 * MS, 9_990 * MS));
    writes.extend((1..=20).map(|id| write(1000 + id, 1, 2, (10_500 + id) * MS, (10_510 + id) * MS)));
    let mut voted = vote(10_400 * MS, 2, 2, WEST);
    voted.promised = Some(Promised { to: EAST.into(), epoch: 1, until_ns: 10_250 * MS });
    let agent = |t: u64, what: &str| event(t, &format!("regent-agent-{WEST}"), what, 2, WEST);
    let events = vec![
        voted,
        vote(10_410 * MS, 3, 2, WEST),
        agent(10_420 * MS, "acted"),
        agent(10_480 * MS, "promoted"),
        agent(10_481 * MS, "gate_open"),
        event(11 * S, "regentd-2", "recorded", 2, WEST),
    ];
    let name = |name: &str| InstanceName::new(name).unwrap();
    let read = |begun: u64, epoch: u64, primary: &str| Operation::Read {
        begun,
        at: begun + MS,
        answer: Some((Epoch(epoch), name(primary))),
    };
    let told = |at: u64, what: What| watch::Event { at, what };
    let watched = vec![
        told(S, What::Begun { from: None }),
        told(S, What::Present { epoch: Epoch(1), primary: Some(name(EAST)) }),
        told(11 * S, What::Changed { epoch: Epoch(2), primary: name(WEST), jumped: Vec::new() }),
    ];
    let present = writes.iter().map(|write| write.id).filter(|id| *id != 999).collect();
    let end = End {
        whole_ns: Some(18 * S),
        served_ns: Some(19 * S),
        ended_ns: 20 * S,
        rows: Some(Ids(present)),
        log: vec![change(1, EAST), change(2, WEST)],
        tails: vec![Tail { timeline: 1, fork: 90_000, commits: [(999 + 700, 99_900)].into() }],
        lateness: Some(LatenessReport { chunks: 9, p50_ms: 0.1, p99_ms: 0.2, p999_ms: 0.3, max_ms: 0.4 }),
        ..End::default()
    };
    let run = Run {
        scenario: "region-lost".into(),
        class: "process".into(),
        what: "A region is lost".into(),
        seed: 7,
        revision: "abc".into(),
        again: "regent-chaos live region-lost --seed 7".into(),
        mode: Mode::Async,
        regions: REGIONS[..3].iter().map(|name| (*name).to_owned()).collect(),
        round_trips_ms: vec![60.0, 80.0, 140.0],
        start: Start { primary: 0, leader: Some(0), epoch: 1, last_id: 0 },
        begun_ns: S,
        schedule_ns: 9 * S,
        off_ns: 14 * S,
        strikes: vec![Strike {
            name: "kill-region".into(),
            words: "region lost (home)".into(),
            regions: vec![0],
            from_ns: 10 * S,
            to_ns: 14 * S,
        }],
        promotions: [1, 1],
        heals_within_ms: 90_000,
    };
    let reads = vec![read(5 * S, 1, EAST), read(12 * S, 2, WEST)];
    Record { dir: PathBuf::new(), run, end, writes, reads, watched: vec![watched], events }
}

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
}

#[test]
fn who_did_too_little_and_who_was_late_says_nothing() {
    let outcome = |damage: fn(&mut Record)| {
        let mut record = good();
        damage(&mut record);
        judge(&record).outcome
    };
    let idle = outcome(|record| {
        record.writes.iter_mut().take(250).for_each(|write| {
            write.outcome = Came::Unknown("gone".into());
        })
    });
    assert_eq!(idle, Outcome::Invalid);
    let late = |record: &mut Record| record.end.lateness.as_mut().unwrap().p999_ms = 2.1;
    assert_eq!(outcome(late), Outcome::Invalid);
    let late_and_unsafe = outcome(|record| {
        record.end.lateness.as_mut().unwrap().p999_ms = 2.1;
        record.end.tails.clear();
    });
    assert_eq!(late_and_unsafe, Outcome::Broken);
}
