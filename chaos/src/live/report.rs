//! What an admin sees while scenarios run, and in the end.

use std::path::Path;

use super::choice::Run;
use crate::check::{self, Finding, Outcome, Verdict};
use crate::terminal::{bold, dim, verdict as coloured};

const REVISION: &str = env!("REGENT_REVISION");

/// The first line.
pub fn title(runs: &[Run], minutes: Option<u64>) {
    let number = match (minutes, runs.len()) {
        (Some(minutes), _) => format!("{minutes} min of what chance draws, from seed {}", runs[0].seed),
        (None, 1) => "1 run".to_owned(),
        (None, many) => format!("{many} runs"),
    };
    println!("{} {}", bold("Regent under faults"), dim(format!("{number}, revision {REVISION}")));
}

/// One run that was played to its end: a line if all holds, else all of it.
pub fn verdict(judged: &Verdict, kept: Option<&Path>) {
    if judged.findings.iter().all(Finding::holds) && judged.idle.is_empty() {
        let gap = format!("write gap {:.0} ms", judged.gap_ms);
        let moved = judged.findings.iter().find(|finding| finding.theorem == "promotions");
        let moved = moved.map(|finding| finding.words.as_str()).unwrap_or_default();
        let late = judged.late.iter().map(|late| format!("; {late}"));
        let more = format!("promotions: {moved}{}", late.collect::<String>());
        println!("  {}  {gap:<20}{}", word(judged.outcome), dim(more));
    } else {
        check::print(judged);
    }
    if let Some(dir) = kept {
        println!("  {}", dim(format!("kept in {}", dir.display())));
    }
    if judged.outcome == Outcome::Broken {
        println!("  {}", again(&judged.again));
    }
}

/// A word in its colour, as wide as any.
pub fn word(outcome: Outcome) -> String {
    let padded = format!("{:<7}", outcome.word());
    match outcome {
        Outcome::Holds | Outcome::Safe => coloured(true, padded),
        Outcome::Broken => coloured(false, padded),
        Outcome::Invalid => bold(padded),
    }
}

/// The one line that repeats it.
fn again(command: &str) -> String {
    bold(format!("again, with revision {}: {command}", REVISION))
}

/// One that could not be played to its end.
pub fn failed(run: &Run, error: &anyhow::Error, dir: Option<&Path>) {
    println!("\n  {}  {}: {error:#}", coloured(false, "FAILED"), run.scenario.name);
    if let Some(dir) = dir {
        println!("  {}", dim(format!("what there is of it is kept in {}", dir.display())));
    }
    println!("  {}", again(&run.again));
}

/// One that cannot be run here.
pub fn skipped(run: &Run, why: &str) {
    println!("  {}  {}: {why}", bold("skipped"), run.scenario.name);
}

/// A fault that chance drew, and that found nothing it could befall.
pub fn missed(what: &str) {
    println!("  {}  {what}", dim("missed "));
}

/// A herd that is smaller than it should be.
pub fn fewer(wanted: u32, count: u32) {
    println!("  {}  {count} callers of {wanted}: no more files may be open (ulimit -Hn)", bold("fewer"));
}
