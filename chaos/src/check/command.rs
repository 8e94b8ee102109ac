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
    judged.findings.iter().for_each(finding);
    for why in &judged.invalid {
        println!("  {:<7} {why}", bold("invalid"));
    }
}

fn finding(finding: &Finding) {
    let Finding { theorem, words, broken, .. } = finding;
    let good = finding.holds();
    let mark = verdict(good, if good { "ok     " } else { "BROKEN " });
    let first = if good { words } else { &broken[0] };
    println!("  {mark} {theorem:<35} {first}");
    for sentence in broken.iter().skip(1).take(4) {
        println!("  {:<7} {:<35} {sentence}", "", "");
    }
    if broken.len() > 5 {
        println!("  {:<7} {:<35} and {} more", "", "", broken.len() - 5);
    }
}
