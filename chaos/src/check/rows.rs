//! S4 and S5: whether every row is accounted for, and whether what was lost is no more than the mode allows.

use std::collections::BTreeSet;
use std::time::Duration;

use regent_core::replication::Mode;

use super::Finding;
use crate::cluster::topology::{REGIONS, RoundTrips};
use crate::history::Write;
use crate::invariants::{accounted_rows, lost_within};
use crate::record::{Record, Run};

/// What was lost with old primaries, by their own logs.
fn report_of_rows(record: &Record) -> Option<accounted_rows::Report> {
    let end = &record.end;
    let rows = end.rows.as_ref()?;
    let earlier = |row: &&u64| end.before.0.contains(row) || end.unanswered.0.contains(row);
    let own: BTreeSet<u64> = rows.0.iter().filter(|row| !earlier(row)).copied().collect();
    Some(accounted_rows::check(&record.writes, &own, &end.tails, &BTreeSet::new()))
}

pub(super) fn accounted(record: &Record) -> Finding {
    const NAME: &str = "S4/S5 every row accounted for";
    let Some(report) = report_of_rows(record) else {
        return Finding::always(
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
    Finding::always(NAME, words, broken)
}

pub(super) fn lost(record: &Record) -> Finding {
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
    Finding::always(NAME, words, broken)
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

/// Some of them, and how many there are.
fn listed(rows: &[u64]) -> String {
    let some: Vec<String> = rows.iter().take(5).map(u64::to_string).collect();
    let more = if rows.len() > some.len() { ", .." } else { "" };
    format!("{} rows ({}{more})", rows.len(), some.join(", "))
}
