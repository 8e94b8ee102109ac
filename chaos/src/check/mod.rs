//! The checker: takes what is recorded of a run, and says of every theorem whether it holds.
//!
//! Nothing here has a rule of its own: each theorem is in [`crate::invariants`], or is shared with the simulated world
//! (`regent_world::history`). Here is only which of a record is handed to which, and what a verdict is.

mod command;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;

use std::time::Duration;

use regent_core::state::Change;
use regent_world::history::Log;

pub use command::{Args, print, run, write};
pub use verdict::{Finding, Outcome, Verdict};

use crate::askers;
use crate::clock::ms_between;
use crate::history::Outcome as Came;
use crate::invariants::{epochs, heals, one_writable_primary, promoted_after_votes, promotions, worked};
use crate::record::{End, Record};
use crate::scenario::Promotions;
use crate::{flushes, wan};

/// Judges a record.
pub fn judge(record: &Record) -> Verdict {
    let findings = vec![
        one_writable(record),
        epochs_of(record),
        votes(record),
        rows::accounted(record),
        rows::lost(record),
        told(record),
        healed(record),
        moved(record),
        silent(record),
    ];
    let Record { run, end, writes, .. } = record;
    let idle = worked::check(writes, &run.regions, run.schedule_ns);
    let late = late(end);
    let unlike = end.lateness.is_some_and(|links| !links.faithful());
    Verdict {
        scenario: run.scenario.clone(),
        seed: run.seed,
        revision: run.revision.clone(),
        again: run.again.clone(),
        outcome: Outcome::of(&findings, late.is_some(), unlike || !idle.is_empty()),
        late,
        idle,
        acknowledged: writes.iter().filter(|write| write.receipt().is_some()).count(),
        gap_ms: gap_ms(record),
        findings,
    }
}

/// Why the machine may be why something was not in time.
fn late(end: &End) -> Option<String> {
    let links = end.lateness.filter(|links| !links.valid()).map(|links| {
        let more = match links.faithful() {
            true => format!("{}", wan::LIMIT_MS),
            false => format!("{}: they were not those that were asked for", wan::UNLIKE_MS),
        };
        format!("links were late by {:.1} ms at p99.9, more than {more}", links.p999_ms)
    });
    let flush = Some(end.longest_flush_ms)
        .filter(|ms| *ms > flushes::LIMIT_MS)
        .map(|ms| format!("the machine's disk took {ms:.0} ms to flush, more than {}", flushes::LIMIT_MS));
    let both: Vec<String> = links.into_iter().chain(flush).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

/// The longest silence of all clients together from the first fault on, until all were served again; to the very end if they
/// were not.
pub fn gap(record: &Record) -> Option<(u64, u64)> {
    let Record { run, end, writes, .. } = record;
    let until = end.served_ns.unwrap_or(end.ended_ns);
    let mut times: Vec<u64> = writes.iter().filter_map(|write| Some(write.receipt()?.at_ns)).collect();
    times.sort_unstable();
    let never = end.served_ns.is_none() && !times.is_empty();
    times.extend(never.then_some(until));
    let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
    let counted = pairs.filter(|(_, to)| (run.schedule_ns..=until).contains(to));
    counted.max_by_key(|(from, to)| to - from)
}

fn gap_ms(record: &Record) -> f64 {
    gap(record).map_or(0.0, |(from, to)| ms_between(from, to))
}

fn one_writable(record: &Record) -> Finding {
    let report = one_writable_primary::check(&record.writes);
    let mut broken = Vec::new();
    if !report.late.is_empty() {
        broken.push(format!(
            "acknowledged by an old primary after the new one's: {}",
            rows::listed(&report.late)
        ));
    }
    if !report.shared.is_empty() {
        broken.push(format!("two wrote one timeline: {}", rows::listed(&report.shared)));
    }
    let words = format!("none of {} acknowledgements came from an old primary", report.acknowledged);
    Finding::always("S1 one writable primary", words, broken)
}

fn epochs_of(record: &Record) -> Finding {
    let broken = epochs::check(&record.end.log, &record.events, &record.writes);
    let last = record.end.log.last().map_or(0, |change| change.epoch.0);
    let words = format!("one primary an epoch, from {} to {last}", record.run.start.epoch);
    Finding::always("S2 epochs", words, broken)
}

fn votes(record: &Record) -> Finding {
    let Record { run, events, .. } = record;
    let broken = promoted_after_votes::check(events, run.regions.len(), run.start.epoch);
    let votes = events.iter().filter(|event| event.event == "vote").count();
    let words = format!("{votes} votes, none while a promise to another ran");
    Finding::always("S3 promoted only after votes", words, broken)
}

fn told(record: &Record) -> Finding {
    let log: Log = record.end.log.iter().map(|change| (change.epoch, change.primary.clone())).collect();
    let settled = record.end.served_ns.and(log.last_key_value()).map(|(epoch, _)| *epoch);
    let found = askers::judge(&record.reads, &record.watched, &log, &record.events, settled);
    let broken = found.into_iter().map(|violation| violation.sentence).collect();
    let words =
        format!("{} reads, {} watchers, none told what is not so", record.reads.len(), record.watched.len());
    Finding::always("S6/S7 watches and reads", words, broken)
}

fn healed(record: &Record) -> Finding {
    const NAME: &str = "heals";
    let (run, end) = (&record.run, &record.end);
    let seen = heals::Seen {
        off_ns: run.off_ns,
        whole_ns: end.whole_ns,
        served_ns: end.served_ns,
        trouble: end.trouble.clone(),
    };
    let bound = Duration::from_millis(run.heals_within_ms);
    match heals::check(&seen, bound) {
        Ok(took) => {
            let refused = record.writes.iter().filter(|write| matches!(write.outcome, Came::Failed(_)));
            let words = format!(
                "whole and served again {:.1} s after the faults, allowed {:.0}; {} writes refused",
                took.as_secs_f64(),
                bound.as_secs_f64(),
                refused.count()
            );
            Finding::in_time(NAME, words, Vec::new())
        }
        Err(heals::Not::InTime(why)) => Finding::in_time(NAME, String::new(), vec![why]),
        Err(heals::Not::AtAll(why)) => Finding::always(NAME, String::new(), vec![why]),
    }
}

/// Too few promotions are no matter of time: there is a bound for how long one is waited for, and it is long.
fn moved(record: &Record) -> Finding {
    const NAME: &str = "promotions";
    let run = &record.run;
    let found = promotions::unasked(&record.end.log, run.start.epoch, run.start.primary);
    let [least, most] = run.promotions;
    let expected = Promotions { least, most };
    let how = |change: &&Change| format!("epoch {} of {}: {}", change.epoch, change.primary, change.reason);
    let how: Vec<String> = found.iter().map(how).collect();
    let words = if how.is_empty() { "none".to_owned() } else { how.join("; ") };
    let number = found.len() as u32;
    if expected.allow(number) {
        return Finding::in_time(NAME, words, Vec::new());
    }
    let broken = vec![format!("promotions: {number}, expected {expected}: {words}")];
    match number < least {
        true => Finding::always(NAME, String::new(), broken),
        false => Finding::in_time(NAME, String::new(), broken),
    }
}

fn silent(record: &Record) -> Finding {
    let gap = gap_ms(record);
    let bound = record.run.gap_within_ms;
    let broken = bound.filter(|bound| gap > *bound as f64);
    let broken =
        broken.map(|bound| format!("no client was acknowledged for {gap:.0} ms, allowed {bound} ms"));
    let allowed = bound.map_or("no bound".to_owned(), |bound| format!("allowed {bound} ms"));
    let words = format!("{gap:.0} ms, {allowed}");
    Finding::in_time("write gap", words, broken.into_iter().collect())
}

#[cfg(test)]
mod tests;
