//! What the page shows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spans::{self, Leader, Reign, agent, place, zero};
use crate::check::{self, Finding, Verdict};
use crate::clock::ms_between;
use crate::cluster::topology::region_of;
use crate::history::{Outcome, Write};
use crate::record::{Record, Strike};
use crate::timeline::Event;

/// Writes are counted by so many milliseconds.
const BIN_MS: f64 = 20.0;
/// Whose events they are.
const NODE: &str = "node";
const AGENT: &str = "agent";

#[derive(Serialize)]
pub(super) struct Data<'a> {
    scenario: &'a str,
    what: &'a str,
    seed: u64,
    revision: &'a str,
    mode: String,
    again: &'a str,
    round_trips_ms: &'a [f64],
    regions: &'a [String],
    outcome: crate::check::Outcome,
    late: Option<&'a str>,
    idle: &'a [String],
    findings: &'a [Finding],
    begun: f64,
    off: f64,
    end: f64,
    healed: Option<f64>,
    gap: Option<Gap>,
    strikes: Vec<Struck<'a>>,
    reigns: Vec<Reign>,
    leaders: Vec<Leader>,
    events: Vec<Shown>,
    writes: Vec<Vec<Bin>>,
}

/// The longest silence.
#[derive(Serialize)]
struct Gap {
    from: f64,
    to: f64,
}

#[derive(Serialize)]
struct Struck<'a> {
    words: &'a str,
    regions: &'a [usize],
    from: f64,
    to: f64,
}

#[derive(Serialize)]
struct Shown {
    t: f64,
    region: usize,
    lane: &'static str,
    kind: String,
    epoch: Option<u64>,
    text: String,
}

/// How many writes of a region's clients were answered in a while, and how.
#[derive(Serialize, Default)]
struct Bin {
    t: f64,
    ok: u32,
    failed: u32,
    unknown: u32,
}

pub(super) fn of<'a>(record: &'a Record, verdict: &'a Verdict) -> Data<'a> {
    let run = &record.run;
    let since = |t_ns: u64| ms_between(zero(run), t_ns);
    let end_ns = record.end.ended_ns.max(run.off_ns);
    let healed = record.end.whole_ns.max(record.end.served_ns);
    let struck = |strike: &'a Strike| Struck {
        words: &strike.words,
        regions: &strike.regions,
        from: since(strike.from_ns),
        to: since(strike.to_ns),
    };
    let events = record.events.iter().filter(|event| event.t_ns <= end_ns);
    Data {
        scenario: &run.scenario,
        what: &run.what,
        seed: run.seed,
        revision: &run.revision,
        mode: run.mode.to_string(),
        again: &run.again,
        round_trips_ms: &run.round_trips_ms,
        regions: &run.regions,
        outcome: verdict.outcome,
        late: verdict.late.as_deref(),
        idle: &verdict.idle,
        findings: &verdict.findings,
        begun: since(run.begun_ns),
        off: since(run.off_ns),
        end: since(end_ns),
        healed: healed.map(since),
        gap: check::gap(record).map(|(from, to)| Gap { from: since(from), to: since(to) }),
        strikes: run.strikes.iter().map(struck).collect(),
        reigns: spans::reigns(record, end_ns),
        leaders: spans::leaders(record, end_ns),
        events: events.filter_map(|event| shown(event, &run.regions, since(event.t_ns))).collect(),
        writes: run.regions.iter().map(|region| bins(&record.writes, region, &since)).collect(),
    }
}

fn bins(writes: &[Write], region: &str, since: &impl Fn(u64) -> f64) -> Vec<Bin> {
    let mut bins: BTreeMap<i64, Bin> = BTreeMap::new();
    let mut at = |t_ns: u64, count: fn(&mut Bin)| {
        let number = (since(t_ns) / BIN_MS).floor();
        let bin = bins.entry(number as i64).or_default();
        bin.t = number * BIN_MS;
        count(bin);
    };
    for write in writes.iter().filter(|write| write.client == region) {
        match &write.outcome {
            Outcome::Acknowledged(receipt) => at(receipt.at_ns, |bin| bin.ok += 1),
            Outcome::Failed(_) => at(write.invoked_ns, |bin| bin.failed += 1),
            Outcome::Unknown(_) | Outcome::Pending => at(write.invoked_ns, |bin| bin.unknown += 1),
        }
    }
    bins.into_values().collect()
}

fn shown(event: &Event, regions: &[String], t: f64) -> Option<Shown> {
    let region = place(regions, &event.region)?;
    let lane = if agent(event) { AGENT } else { NODE };
    let epoch = event.epoch.unwrap_or(0);
    let who = event.instance.as_deref().and_then(|instance| region_of(instance).ok());
    let who = who.and_then(|place| regions.get(place)).map_or("nobody", String::as_str);
    let reason = event.reason.as_deref().unwrap_or_default();
    let text = match event.event.as_str() {
        "vote" => format!("votes for {who} in epoch {epoch}: {reason}"),
        "decided" => format!("tells watchers: {who} in epoch {epoch}"),
        "recorded" => format!("epoch {epoch} of {who} is in the log"),
        "leader" => format!("leads Raft in term {}", event.term.unwrap_or(0)),
        "solicited" => format!("asks for votes for {who} in epoch {epoch}: {reason}"),
        "switchover" => format!("a switchover to {who} is asked for"),
        "certificate" => format!("holds the certificate for epoch {epoch}, of nodes {:?}", event.voters),
        "acted" => format!("takes office in epoch {epoch}: {reason}"),
        "promoted" => format!("Postgres is promoted, epoch {epoch}"),
        "gate_open" => format!("opens the gate in epoch {epoch}"),
        "gate_closed" => format!("closes the gate of epoch {epoch}: {reason}"),
        "released" => format!("gives epoch {epoch} up: {reason}"),
        "tail_kept" => format!("keeps what timeline {} has alone", event.timeline.unwrap_or(0)),
        "task" => event.task.clone()?,
        "task_failed" => format!("{} failed: {reason}", event.task.as_deref().unwrap_or("a task")),
        "started" => "is started".to_owned(),
        "stopped" => "is stopped".to_owned(),
        _ => return None,
    };
    Some(Shown { t, region, lane, kind: event.event.clone(), epoch: event.epoch, text })
}
