//! What came of all runs, and the exit code that says so.

use std::path::Path;
use std::time::Instant;

use super::choice::Run;
use super::report;
use crate::check::{Outcome, Verdict};
use crate::terminal::{bold, dim, verdict as coloured};

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Judged(Outcome),
    /// It could not be played to its end.
    Failed,
    /// It cannot be run here.
    Skipped,
}

impl Came {
    const ALL: [Came; 6] = [
        Came::Judged(Outcome::Holds),
        Came::Judged(Outcome::Broken),
        Came::Failed,
        Came::Judged(Outcome::Safe),
        Came::Judged(Outcome::Invalid),
        Came::Skipped,
    ];

    fn shown(self) -> String {
        match self {
            Came::Judged(outcome) => report::word(outcome),
            Came::Failed => coloured(false, "FAILED "),
            Came::Skipped => bold("skipped"),
        }
    }

    fn plain(self) -> &'static str {
        match self {
            Came::Judged(Outcome::Holds) => "hold",
            Came::Judged(Outcome::Broken) => "broken",
            Came::Judged(Outcome::Safe) => "safe, not in time over late links",
            Came::Judged(Outcome::Invalid) => "say nothing",
            Came::Failed => "not played to the end",
            Came::Skipped => "skipped",
        }
    }
}

struct Line {
    name: String,
    seed: u64,
    came: Came,
    gap_ms: Option<f64>,
    /// The theorems that do not hold.
    broken: Vec<&'static str>,
    why: String,
}

/// All of them.
pub struct Tally {
    begun: Instant,
    lines: Vec<Line>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { begun: Instant::now(), lines: Vec::new() }
    }
}

impl Tally {
    /// One was judged.
    pub fn count(&mut self, run: &Run, judged: &Verdict) {
        let broken = judged.findings.iter().filter(|finding| !finding.holds());
        let broken: Vec<&str> = broken.map(|finding| finding.theorem).collect();
        let theorems = broken.iter().map(|theorem| (*theorem).to_owned());
        let why: Vec<String> = theorems.chain(judged.late.clone()).chain(judged.idle.clone()).collect();
        self.add(run, Came::Judged(judged.outcome), Some(judged.gap_ms), broken, why.join("; "));
    }

    /// One could not be played to its end.
    pub fn fail(&mut self, run: &Run, why: &str) {
        self.add(run, Came::Failed, None, Vec::new(), why.to_owned());
    }

    /// One could not be run here.
    pub fn skip(&mut self, run: &Run, why: &str) {
        self.add(run, Came::Skipped, None, Vec::new(), why.to_owned());
    }

    fn add(&mut self, run: &Run, came: Came, gap_ms: Option<f64>, broken: Vec<&'static str>, why: String) {
        let (name, seed) = (run.scenario.name.clone(), run.seed);
        self.lines.push(Line { name, seed, came, gap_ms, broken, why });
    }

    fn number(&self, came: Came) -> usize {
        self.lines.iter().filter(|line| line.came == came).count()
    }

    /// The theorems that some run broke.
    pub fn broken(&self) -> Vec<&'static str> {
        let broken = self.lines.iter().filter(|line| line.came == Came::Judged(Outcome::Broken));
        broken.flat_map(|line| line.broken.iter().copied()).collect()
    }

    /// Whether something cannot be run here.
    pub fn skipped(&self) -> bool {
        self.number(Came::Skipped) > 0
    }

    /// 0: all hold. 1: some are broken, or could not be played. 3: none is, but some count for less.
    pub fn code(&self) -> u8 {
        let broken = self.number(Came::Judged(Outcome::Broken)) + self.number(Came::Failed);
        match (broken, self.number(Came::Judged(Outcome::Holds)) == self.lines.len()) {
            (0, true) => 0,
            (0, false) => 3,
            _ => 1,
        }
    }

    /// A line a run, if there were several, and how many of each.
    pub fn print(&self, kept: Option<&Path>) {
        if self.lines.len() > 1 {
            println!("\n{}", bold(format!("{:<28}{:>6}  {:<9}{:>8}", "scenario", "seed", "", "gap, ms")));
            for Line { name, seed, came, gap_ms, why, .. } in &self.lines {
                let gap = gap_ms.map_or("-".to_owned(), |gap| format!("{gap:.0}"));
                println!("{name:<28}{seed:>6}  {}  {gap:>8}  {}", came.shown(), dim(why));
            }
            println!();
        }
        let counted = Came::ALL.map(|came| (self.number(came), came.plain()));
        let counted = counted.into_iter().filter(|(number, _)| *number > 0);
        let counted: Vec<String> = counted.map(|(number, word)| format!("{number} {word}")).collect();
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        let of = format!("of {} in {minutes:.1} min", self.lines.len());
        println!("{} {}", bold(counted.join(", ")), dim(of));
        if let Some(dir) = kept {
            let dir = dir.display();
            println!("{}", dim(format!("kept in {dir}: `regent-chaos check DIR/RUN` judges one again")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_anything_is_broken_or_counts_for_less() {
        let code = |all: &[Came]| {
            let line = |came: &Came| Line {
                name: "name".to_owned(),
                seed: 1,
                came: *came,
                gap_ms: None,
                broken: Vec::new(),
                why: String::new(),
            };
            Tally { lines: all.iter().map(line).collect(), ..Tally::default() }.code()
        };
        let [holds, broken, failed, safe, invalid, skipped] = Came::ALL;
        assert_eq!(code(&[holds, holds]), 0);
        assert_eq!(code(&[holds, broken, invalid]), 1);
        assert_eq!(code(&[failed]), 1);
        for less in [safe, invalid, skipped] {
            assert_eq!(code(&[holds, less]), 3, "{less:?}");
        }
    }
}
