//! What an admin sees while scenarios run, and in the end.

use std::path::Path;
use std::time::Instant;

use super::choice::Run;
use crate::check::{self, Outcome, Verdict};
use crate::terminal::{bold, dim, verdict as coloured};

/// The first line.
pub fn title(runs: &[Run]) {
    let number = match runs.len() {
        1 => "1 run".to_owned(),
        many => format!("{many} runs"),
    };
    println!(
        "{} {}",
        bold("Regent under faults"),
        dim(format!("{number}, revision {}", env!("REGENT_REVISION")))
    );
}

/// One run that was played to its end: a line if all holds, else all of it.
pub fn verdict(judged: &Verdict, kept: Option<&Path>) {
    if judged.outcome == Outcome::Holds {
        let gap =
            if judged.gap_ms > 0.0 { format!("write gap {:.0} ms", judged.gap_ms) } else { String::new() };
        let moved = judged.findings.iter().find(|finding| finding.theorem == "promotions");
        let moved = moved.map(|finding| finding.words.as_str()).unwrap_or_default();
        println!("  {}  {:<12}{} {}", coloured(true, "holds"), "", gap, dim(format!("promotions: {moved}")));
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

/// The one line that repeats it.
fn again(command: &str) -> String {
    bold(format!("again, with revision {}: {command}", env!("REGENT_REVISION")))
}

/// One that could not be played to its end.
pub fn failed(run: &Run, error: &anyhow::Error, dir: &Path) {
    println!("\n  {}  {}: {error:#}", coloured(false, "FAILED"), run.scenario.name);
    println!("  {}", dim(format!("what there is of it is kept in {}", dir.display())));
    println!("  {}", again(&run.again));
}

/// One that cannot be run here.
pub fn skipped(run: &Run, why: &str) {
    println!("  {}  {}: {why}", bold("skipped"), run.scenario.name);
}

/// What came of all.
pub struct Tally {
    begun: Instant,
    lines: Vec<(String, u64, &'static str, f64, String)>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { begun: Instant::now(), lines: Vec::new() }
    }
}

const HOLDS: &str = "holds";
const BROKEN: &str = "BROKEN";
const INVALID: &str = "invalid";
const FAILED: &str = "FAILED";
const SKIPPED: &str = "skipped";

impl Tally {
    /// One was judged.
    pub fn count(&mut self, run: &Run, judged: &Verdict) {
        let (word, why) = match judged.outcome {
            Outcome::Holds => (HOLDS, String::new()),
            Outcome::Invalid => (INVALID, judged.invalid.join("; ")),
            Outcome::Broken => {
                let broken = judged.findings.iter().filter(|finding| !finding.holds());
                (BROKEN, broken.map(|finding| finding.theorem).collect::<Vec<_>>().join(", "))
            }
        };
        self.lines.push((run.scenario.name.clone(), run.seed, word, judged.gap_ms, why));
    }

    /// One could not be played to its end.
    pub fn fail(&mut self, run: &Run) {
        self.lines.push((run.scenario.name.clone(), run.seed, FAILED, 0.0, "not played to its end".into()));
    }

    /// One could not be run here.
    pub fn skip(&mut self, run: &Run) {
        self.lines.push((run.scenario.name.clone(), run.seed, SKIPPED, 0.0, String::new()));
    }

    fn number(&self, word: &str) -> usize {
        self.lines.iter().filter(|line| line.2 == word).count()
    }

    /// 0: all hold. 1: some are broken. 3: none is, but some say nothing.
    pub fn code(&self) -> u8 {
        match (self.number(BROKEN) + self.number(FAILED), self.number(HOLDS) == self.lines.len()) {
            (0, true) => 0,
            (0, false) => 3,
            _ => 1,
        }
    }

    /// A line a run, if there were several, and how many of each.
    pub fn print(&self, kept: Option<&Path>) {
        if self.lines.len() > 1 {
            println!("\n{}", bold(format!("{:<34}{:>6}  {:<8}{:>9}", "scenario", "seed", "", "gap, ms")));
            for (name, seed, word, gap, why) in &self.lines {
                let gap = if *gap > 0.0 { format!("{gap:.0}") } else { "-".into() };
                let word = format!("{word:<8}");
                let word = if *word == *format!("{HOLDS:<8}") { coloured(true, word) } else { bold(word) };
                println!("{name:<34}{seed:>6}  {word}{gap:>9}  {}", dim(why));
            }
        }
        let counted = [HOLDS, BROKEN, FAILED, INVALID, SKIPPED].map(|word| (self.number(word), word));
        let counted: Vec<String> = counted
            .iter()
            .filter(|(number, word)| *number > 0 || *word == HOLDS)
            .map(|(number, word)| format!("{number} {}", word.to_lowercase()))
            .collect();
        let minutes = self.begun.elapsed().as_secs_f64() / 60.0;
        println!(
            "{} {}",
            bold(counted.join(", ")),
            dim(format!("of {} in {minutes:.1} min", self.lines.len()))
        );
        if let Some(dir) = kept {
            println!(
                "{}",
                dim(format!("kept in {}: `regent-chaos check DIR` judges one again", dir.display()))
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_anything_is_broken_or_says_nothing() {
        let code = |words: &[&'static str]| {
            let line = |word: &&'static str| ("name".to_owned(), 1, *word, 0.0, String::new());
            Tally { lines: words.iter().map(line).collect(), ..Tally::default() }.code()
        };
        assert_eq!(code(&[HOLDS, HOLDS]), 0);
        assert_eq!(code(&[HOLDS, BROKEN, INVALID]), 1);
        assert_eq!(code(&[FAILED]), 1);
        assert_eq!(code(&[HOLDS, INVALID]), 3);
        assert_eq!(code(&[SKIPPED]), 3);
    }
}
