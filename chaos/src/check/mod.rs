//! The checker: takes what is recorded of a run, and says of every theorem whether it holds.
//!
//! Nothing here has a rule of its own: each theorem is in [`crate::invariants`], or is shared with the simulated world
//! (`regent_world::history`). Here is only which of a record is handed to which, and what a verdict is.

mod command;
mod verdict;

use std::collections::BTreeSet;
use std::time::Duration;

use regent_core::replication::Mode;
use regent_world::history::Log;

pub use command::{Args, print, run, write};
pub use verdict::{Finding, Outcome, Verdict};

use crate::askers;
use crate::cluster::topology::{REGIONS, RoundTrips};
use crate::demo::figures::longest_silence;
use crate::history::{Outcome as Came, Write};
use crate::invariants::{
    accounted_rows, epochs, heals, lost_within, one_writable_primary, promoted_after_votes, promotions,
    worked,
};
use crate::record::{Record, Run};

/// Judges a record.
pub fn judge(record: &Record) -> Verdict {
    let findings = vec![
        one_writable(record),
        epochs_of(record),
        votes(record),
        accounted(record),
        lost(record),
        told(record),
        healed(record),
        moved(record),
    ];
    let invalid = invalid(record);
    let outcome = Outcome::of(&findings, &invalid);
    let run = &record.run;
    Verdict {
        scenario: run.scenario.clone(),
        seed: run.seed,
        revision: run.revision.clone(),
        again: run.again.clone(),
        outcome,
        invalid,
        acknowledged: record.writes.iter().filter(|write| write.receipt().is_some()).count(),
        gap_ms: gap_ms(record),
        findings,
    }
}

/// Why a run counts for nothing, if so.
fn invalid(record: &Record) -> Vec<String> {
    let Record { run, end, writes, .. } = record;
    let mut found = worked::check(writes, &run.regions, run.schedule_ns);
    if let Some(late) = end.lateness.filter(|late| !late.valid()) {
        let limit = crate::wan::LIMIT_MS;
        found.push(format!("the links were late by {:.1} ms at p99.9, more than {limit}", late.p999_ms));
    }
    found
}

/// The longest silence of all clients together from the first fault on, until all were served again.
fn gap_ms(record: &Record) -> f64 {
    let end = record.end.served_ns.unwrap_or(record.end.ended_ns);
    longest_silence(&record.writes, None, record.run.schedule_ns..end)
}

fn one_writable(record: &Record) -> Finding {
    let report = one_writable_primary::check(&record.writes);
    let mut broken = Vec::new();
    if !report.late.is_empty() {
        broken.push(format!("acknowledged by an old primary after the new one's: rows {:?}", report.late));
    }
    if !report.shared.is_empty() {
        broken.push(format!("two wrote one timeline: rows {:?}", report.shared));
    }
    let words = format!("none of {} acknowledgements came from an old primary", report.acknowledged);
    Finding::safety("S1 one writable primary", words, broken)
}

fn epochs_of(record: &Record) -> Finding {
    let broken = epochs::check(&record.end.log, &record.events, &record.writes);
    let last = record.end.log.last().map_or(0, |change| change.epoch.0);
    let words = format!("one primary an epoch, from {} to {last}", record.run.start.epoch);
    Finding::safety("S2 epochs", words, broken)
}

fn votes(record: &Record) -> Finding {
    let Record { run, events, .. } = record;
    let broken = promoted_after_votes::check(events, run.regions.len(), run.start.epoch);
    let votes = events.iter().filter(|event| event.event == "vote").count();
    let words = format!("{votes} votes, none while a promise to another ran");
    Finding::safety("S3 promoted only after votes", words, broken)
}

/// What was lost with old primaries, by their own logs.
fn report_of_rows(record: &Record) -> Option<accounted_rows::Report> {
    let end = &record.end;
    let rows = end.rows.as_ref()?;
    let own: BTreeSet<u64> = rows.0.difference(&end.before.0).copied().collect();
    Some(accounted_rows::check(&record.writes, &own, &end.tails, &BTreeSet::new()))
}

fn accounted(record: &Record) -> Finding {
    const NAME: &str = "S4/S5 every row accounted for";
    let Some(report) = report_of_rows(record) else {
        return Finding::liveness(
            NAME,
            String::new(),
            vec!["nobody could be asked which rows are there".into()],
        );
    };
    let end = &record.end;
    let gone: Vec<u64> = end.rows.iter().flat_map(|rows| end.before.0.difference(&rows.0)).copied().collect();
    let mut broken = Vec::new();
    let mut say = |what: &str, rows: &[u64]| {
        if !rows.is_empty() {
            broken.push(format!("{what}: {}", listed(rows)));
        }
    };
    say("acknowledged and nowhere", &report.unaccounted);
    say("from nowhere", &report.from_nowhere);
    say("there before the run, and gone", &gone);
    let words = format!(
        "{} acknowledged = {} present + {} in old primaries' logs",
        report.acknowledged,
        report.present,
        report.lost.len()
    );
    Finding::safety(NAME, words, broken)
}

fn lost(record: &Record) -> Finding {
    const NAME: &str = "S4/S5 lost within the mode's bound";
    let mode = record.run.mode;
    let lost: BTreeSet<u64> =
        report_of_rows(record).map(|report| report.lost).unwrap_or_default().into_iter().collect();
    let timelines: BTreeSet<u32> = lost_on(&record.writes, &lost);
    let slack = (mode != Mode::Async).then(|| mode.slack());
    let mut broken = Vec::new();
    let mut oldest = 0.0_f64;
    for timeline in timelines {
        let home = record.writes.iter().find(|write| write.receipt().is_some_and(|r| r.timeline == timeline));
        let home = home.map_or(0, |write| write.instance);
        let report = lost_within::check(&record.writes, &lost, timeline, travels(&record.run, home), slack);
        oldest = oldest.max(report.oldest_ms);
        if !report.holds() {
            broken.push(format!(
                "{} rows of timeline {timeline} lost, the oldest acknowledged {:.1} ms before the last at least, allowed {:.0} ms",
                report.lost,
                report.surely_ms,
                report.bound_ms.unwrap_or(0.0)
            ));
        }
    }
    let words = match (lost.len(), slack) {
        (0, _) => format!("{mode}: nothing acknowledged was lost"),
        (some, None) => {
            format!("{mode}: {some} rows lost, as recorded, the oldest of the last {oldest:.0} ms")
        }
        (some, Some(slack)) => {
            format!("{mode}: {some} rows lost of the last {oldest:.1} ms, allowed {} ms", slack.as_millis())
        }
    };
    Finding::safety(NAME, words, broken)
}

fn lost_on(writes: &[Write], lost: &BTreeSet<u64>) -> BTreeSet<u32> {
    let lost = writes.iter().filter(|write| lost.contains(&write.id));
    lost.filter_map(|write| Some(write.receipt()?.timeline)).collect()
}

/// How long an acknowledgement takes from the region of a primary to the clients of another.
fn travels(run: &Run, home: usize) -> impl Fn(&str) -> Duration {
    let spans: Vec<Duration> =
        run.round_trips_ms.iter().map(|ms| Duration::from_secs_f64(ms / 1e3)).collect();
    let trips = RoundTrips::of(run.regions.len(), &spans).ok();
    move |client: &str| {
        let region = REGIONS.iter().position(|region| *region == client).filter(|region| *region != home);
        region.zip(trips).map_or(Duration::ZERO, |(region, trips)| trips.between(home, region) / 2)
    }
}

fn told(record: &Record) -> Finding {
    let log: Log = record.end.log.iter().map(|change| (change.epoch, change.primary.clone())).collect();
    let settled = record.end.served_ns.and(log.last_key_value()).map(|(epoch, _)| *epoch);
    let found = askers::judge(&record.reads, &record.watched, &log, &record.events, settled);
    let broken = found.into_iter().map(|violation| violation.sentence).collect();
    let words =
        format!("{} reads, {} watchers, none told what is not so", record.reads.len(), record.watched.len());
    Finding::safety("S6/S7 watches and reads", words, broken)
}

fn healed(record: &Record) -> Finding {
    let (run, end) = (&record.run, &record.end);
    let (whole_ns, served_ns, trouble) = (end.whole_ns, end.served_ns, end.trouble.clone());
    let seen = heals::Seen { off_ns: run.off_ns, whole_ns, served_ns, trouble };
    let bound = Duration::from_millis(run.heals_within_ms);
    let (words, broken) = match heals::check(&seen, bound) {
        Ok(took) => {
            let refused =
                record.writes.iter().filter(|write| matches!(write.outcome, Came::Failed(_))).count();
            let words = format!(
                "whole and served again {:.1} s after the faults, allowed {:.0}; {refused} writes refused",
                took.as_secs_f64(),
                bound.as_secs_f64()
            );
            (words, Vec::new())
        }
        Err(why) => (String::new(), vec![why]),
    };
    Finding::liveness("heals", words, broken)
}

fn moved(record: &Record) -> Finding {
    let run = &record.run;
    let found = promotions::unasked(&record.end.log, run.start.epoch, run.start.primary);
    let [least, most] = run.promotions;
    let expected = crate::scenario::Promotions { least, most };
    let how: Vec<String> = found
        .iter()
        .map(|change| format!("epoch {} of {}: {}", change.epoch, change.primary, change.reason))
        .collect();
    let number = found.len() as u32;
    let words = match found.is_empty() {
        true => "none".to_owned(),
        false => how.join("; "),
    };
    let broken = match expected.allow(number) {
        true => Vec::new(),
        false => vec![format!("{number} promotions, expected {expected}: {words}")],
    };
    Finding::liveness("promotions", words, broken)
}

/// Some of them, and how many there are.
fn listed(rows: &[u64]) -> String {
    let some: Vec<String> = rows.iter().take(5).map(u64::to_string).collect();
    let more = if rows.len() > some.len() { ", .." } else { "" };
    format!("{} rows ({}{more})", rows.len(), some.join(", "))
}

#[cfg(test)]
mod tests;
