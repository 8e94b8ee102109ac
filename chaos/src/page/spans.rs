//! What lasts: gates that were open, and nodes that led Raft, from lines that say when something begins and sometimes when
//! it ends. A process that is killed writes no last line, and one that is stopped writes it late.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::clock::ms_between;
use crate::history::Write;
use crate::record::{Record, Run};
use crate::scenario::fault::{Mutes, named};
use crate::timeline::Event;

/// A gate that was open: this instance could acknowledge.
#[derive(Serialize)]
pub(super) struct Reign {
    pub region: usize,
    pub epoch: u64,
    pub from: f64,
    pub to: f64,
}

/// A node that led Raft.
#[derive(Serialize)]
pub(super) struct Leader {
    pub region: usize,
    pub term: u64,
    pub from: f64,
    pub to: f64,
}

/// What times are counted from: the first fault, if there was one.
pub(super) fn zero(run: &Run) -> u64 {
    run.strikes.iter().map(|strike| strike.from_ns).min().unwrap_or(run.schedule_ns)
}

/// From each opening of a gate to its closing. An agent that was killed or stopped meanwhile notes a closing late or never:
/// then to that moment, or to the last write that was acknowledged there, if that was later.
pub(super) fn reigns(record: &Record, end_ns: u64) -> Vec<Reign> {
    let run = &record.run;
    let since = |t_ns: u64| ms_between(zero(run), t_ns);
    let mut open: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    open.insert(run.start.primary, (run.start.epoch, run.begun_ns));
    let mut found = Vec::new();
    let mut close = |region: usize, (epoch, from): (u64, u64), to: u64| {
        let silenced = silenced(run, region, Mutes::agent, from..to);
        let to = silenced.map_or(to, |at| at.max(last_acknowledged(&record.writes, region, from..to)));
        found.push(Reign { region, epoch, from: since(from), to: since(to) });
    };
    for event in record.events.iter().filter(|event| agent(event)) {
        let Some(region) = place(&run.regions, &event.region) else { continue };
        let opens = event.event == "gate_open";
        let closes = opens || matches!(event.event.as_str(), "gate_closed" | "started" | "stopped");
        if closes && let Some(reign) = open.remove(&region) {
            close(region, reign, event.t_ns);
        }
        if let Some(epoch) = event.epoch.filter(|_| opens) {
            open.insert(region, (epoch, event.t_ns));
        }
    }
    for (region, (epoch, from)) in open {
        found.push(Reign { region, epoch, from: since(from), to: since(end_ns) });
    }
    found
}

/// When a process of a region was first killed or stopped within a time.
fn silenced(run: &Run, region: usize, whom: fn(Mutes) -> bool, within: Range<u64>) -> Option<u64> {
    let strikes = run.strikes.iter().filter(|strike| strike.regions.contains(&region));
    let strikes = strikes.filter(|strike| named(&strike.name).is_some_and(|row| whom(row.mutes)));
    strikes.map(|strike| strike.from_ns).filter(|from| within.contains(from)).min()
}

/// When the last write was acknowledged by a region's instance within a time; 0 if none was.
fn last_acknowledged(writes: &[Write], region: usize, within: Range<u64>) -> u64 {
    let there = writes.iter().filter(|write| write.instance == region);
    let times = there.filter_map(|write| Some(write.receipt()?.at_ns));
    times.filter(|at| within.contains(at)).max().unwrap_or(0)
}

/// From each beginning of a leadership to the next one's, or to the end of the process that led: a node does not note that
/// it leads no more.
pub(super) fn leaders(record: &Record, end_ns: u64) -> Vec<Leader> {
    let run = &record.run;
    let since = |t_ns: u64| ms_between(zero(run), t_ns);
    let mut leads = run.start.leader.map(|region| (region, 0, run.begun_ns));
    let mut found = Vec::new();
    let mut end = |(region, term, from): (usize, u64, u64), to: u64| {
        let to = silenced(run, region, Mutes::node, from..to).unwrap_or(to);
        found.push(Leader { region, term, from: since(from), to: since(to) });
    };
    for event in record.events.iter().filter(|event| !agent(event)) {
        let Some(region) = place(&run.regions, &event.region) else { continue };
        let begins = event.event == "leader";
        let ended = begins || matches!(event.event.as_str(), "started" | "stopped");
        if let Some(before) = leads.take_if(|(led, ..)| begins || ended && *led == region) {
            end(before, event.t_ns);
        }
        if begins {
            leads = Some((region, event.term.unwrap_or(0), event.t_ns));
        }
    }
    if let Some((region, term, from)) = leads {
        found.push(Leader { region, term, from: since(from), to: since(end_ns) });
    }
    found
}

pub(super) fn place(regions: &[String], name: &str) -> Option<usize> {
    regions.iter().position(|region| region == name)
}

pub(super) fn agent(event: &Event) -> bool {
    event.proc.starts_with("regent-agent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{MS, S, good};

    /// us-east was killed at 10 s with its gate open, leading Raft; both processes are started again at 14 s.
    fn killed() -> Record {
        let mut record = good();
        let started = |name: &str| Event {
            t_ns: 14 * S,
            proc: name.to_owned(),
            event: "started".to_owned(),
            region: record.run.regions[0].clone(),
            ..Event::default()
        };
        record.events.extend(["regentd-1", "regent-agent-orders-us-east"].map(started));
        record
    }

    #[test]
    fn what_a_killed_region_had_open_ends_when_it_was_killed() {
        let record = killed();
        let reigns = reigns(&record, 20 * S);
        let first = reigns.iter().find(|reign| reign.region == 0).unwrap();
        assert_eq!((first.epoch, first.to), (1, 0.0), "times count from the kill");
        let leader = &leaders(&record, 20 * S)[0];
        assert_eq!((leader.region, leader.to), (0, 0.0));
    }

    #[test]
    fn a_write_that_is_acknowledged_after_the_blow_is_shown_as_such() {
        let mut record = killed();
        record.run.strikes[0].name = "kill-agent".into();
        let row = crate::invariants::testing::write(5000, 0, 1, 10 * S, 10_100 * MS);
        record.writes.push(row);
        assert_eq!(reigns(&record, 20 * S)[0].to, 100.0);
        assert_eq!(leaders(&record, 20 * S)[0].to, 4000.0, "the node lived until it was started anew");
    }
}
