//! `regent-chaos check`: judges the directory of a run that was kept, once more.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Finding, Outcome, Verdict, judge};
use crate::page;
use crate::record::{self, Record};
use crate::terminal::{bold, dim, verdict};

/// What `regent-chaos check` can be asked for.
#[derive(clap::Args)]
pub struct Args {
    /// A directory that `regent-chaos live` kept
    pub dir: PathBuf,
}

/// Judges it, writes verdict and timeline into it, and says whether all holds.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let record = record::read(&args.dir)?;
    let judged = judge(&record);
    println!("{} {}", bold(&record.run.scenario), dim(&record.run.what));
    print(&judged);
    write(&record, &judged)?;
    println!("{}", dim(format!("timeline: {}", page(&args.dir).display())));
    Ok(judged.outcome == Outcome::Holds)
}

/// Writes `verdict.json` and `timeline.html`.
pub fn write(record: &Record, judged: &Verdict) -> anyhow::Result<()> {
    let path = record.dir.join("verdict.json");
    let text = serde_json::to_string_pretty(judged)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let path = page(&record.dir);
    fs::write(&path, page::html(record, judged)).with_context(|| format!("cannot write {}", path.display()))
}

/// Where a run's timeline is.
pub fn page(dir: &Path) -> PathBuf {
    dir.join("timeline.html")
}

/// A line for each theorem.
pub fn print(judged: &Verdict) {
    for finding in &judged.findings {
        let not_judged = finding.timed && judged.late.is_some() && !finding.holds();
        line(finding, not_judged);
    }
    let late = judged.late.iter().map(|why| ("late", why));
    for (word, why) in late.chain(judged.idle.iter().map(|why| ("idle", why))) {
        println!("  {} {why}", bold(format!("{word:<7}")));
    }
}

fn line(finding: &Finding, not_judged: bool) {
    let Finding { theorem, words, broken, .. } = finding;
    let mark = match (finding.holds(), not_judged) {
        (true, _) => verdict(true, "ok     "),
        (false, false) => verdict(false, "BROKEN "),
        (false, true) => dim("late   "),
    };
    println!("  {mark} {theorem:<35} {}", broken.first().unwrap_or(words));
    for sentence in broken.iter().skip(1).take(4) {
        println!("  {:<7} {:<35} {sentence}", "", "");
    }
    if broken.len() > 5 {
        println!("  {:<7} {:<35} and {} more", "", "", broken.len() - 5);
    }
}
