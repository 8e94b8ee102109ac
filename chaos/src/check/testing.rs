//! A record of a region that was lost, as it should be: what tests damage.

use std::path::PathBuf;

use regent_core::ids::{Epoch, InstanceName};
use regent_core::replication::Mode;
use regent_world::history::linearizable_assignment::Operation;
use regent_world::history::watch::{self, What};

use crate::cluster::topology::REGIONS;
use crate::history::Write;
use crate::invariants::accounted_rows::Tail;
use crate::invariants::testing::{change, event, vote, write};
use crate::record::{End, Ids, Record, Run, Start, Strike};
use crate::timeline::Promised;
use crate::wan::LatenessReport;

/// The first primary.
pub const EAST: &str = "orders-us-east";
/// Who takes over.
pub const WEST: &str = "orders-us-west";
/// A second.
pub const S: u64 = 1_000_000_000;
/// A millisecond.
pub const MS: u64 = 1_000_000;

/// us-east is lost at 10 s; us-west takes over in epoch 2 and writes from 10.5 s on. Row 999 is lost with it.
pub fn good() -> Record {
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
        longest_flush_ms: 99.0,
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
        gap_within_ms: Some(1_500),
    };
    let reads = vec![read(5 * S, 1, EAST), read(12 * S, 2, WEST)];
    Record { dir: PathBuf::new(), run, end, writes, reads, watched: vec![watched], events }
}
