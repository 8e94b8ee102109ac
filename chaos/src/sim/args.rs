//! What `regent-chaos sim` can be asked for. What would be ignored is refused.

use clap::{ArgGroup, value_parser};
use regent_world::Profile;
use std::num::NonZeroUsize;
use std::ops::Range;

/// Which seeds to run, and what to do with them.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("which").args(["seeds", "seed", "meta"]))]
pub struct Args {
    /// Run these; when left out 0..1000, or with --minutes 0 and all that follow
    #[arg(long, value_name = "FROM..TO", value_parser = seeds)]
    pub seeds: Option<Range<u64>>,
    /// Run seeds for so many minutes at most
    #[arg(long, value_name = "M", conflicts_with_all = ["seed", "meta"], value_parser = value_parser!(u64).range(1..=1440))]
    pub minutes: Option<u64>,
    /// How many at a time; all processors when left out
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "meta"])]
    pub jobs: Option<NonZeroUsize>,
    /// From which worlds and faults a seed draws; swarm when left out, with --meta every one
    #[arg(long, value_parser = profile)]
    pub profile: Option<Profile>,
    /// Run this one
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write down what happens in it
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Find few faults with which it still fails
    #[arg(long, requires = "seed", conflicts_with_all = ["trace", "only"])]
    pub shrink: bool,
    /// Only these faults of its schedule, by number; or none
    #[arg(long, requires = "seed", value_name = "N,N", value_parser = numbers)]
    pub only: Option<Numbers>,
    /// Run some seeds of a profile twice: what is written down must be the same, byte for byte
    #[arg(long)]
    pub meta: bool,
}

/// Numbers of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(pub Vec<usize>);

impl Args {
    /// The profile that was asked for, or the default.
    pub fn profile(&self) -> Profile {
        self.profile.clone().unwrap_or_default()
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|seeds: &Range<u64>| !seeds.is_empty())
        .ok_or_else(|| format!("expected two numbers as in 0..1000, the first the lower, got {text:?}"))
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| {
        let known: Vec<String> =
            Profile::ALL.iter().map(|profile| format!("{}: {}", profile.name, profile.about)).collect();
        format!("there is no profile {name:?}; there are\n  {}", known.join("\n  "))
    })
}

fn numbers(text: &str) -> Result<Numbers, String> {
    if text == "none" {
        return Ok(Numbers(Vec::new()));
    }
    let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.map(Numbers).ok_or_else(|| format!("expected numbers as in 0,3,7, or none, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Sim {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        Sim::try_parse_from(words).map(|sim| sim.args).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (line, why) in [
            ("--seed 5 --minutes 3", "cannot be used with"),
            ("--seed 5 --jobs 2", "cannot be used with"),
            ("--seed 5 --seeds 0..9", "cannot be used with"),
            ("--seed 5 --shrink --only 1", "cannot be used with"),
            ("--seed 5 --shrink --trace", "cannot be used with"),
            ("--meta --minutes 3", "cannot be used with"),
            ("--meta --jobs 2", "cannot be used with"),
            ("--trace", "--seed <S>"),
            ("--only 3", "--seed <S>"),
            ("--seeds 5..1", "the first the lower"),
            ("--minutes 0", "1..=1440"),
            ("--profile nope", "there is no profile"),
            ("--seed 5 --only 1,x", "expected numbers"),
        ] {
            let refusal = parse(line).err().unwrap_or_default();
            assert!(refusal.contains(why), "{line}: expected {why:?}, got {refusal:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_done() {
        let args = parse("--meta --profile calm").unwrap();
        assert_eq!((args.meta, args.profile().name), (true, "calm"));
        let args = parse("--seeds 7..9 --minutes 2").unwrap();
        assert_eq!((args.seeds, args.minutes), (Some(7..9), Some(2)));
        assert_eq!(parse("--seed 5 --only none").unwrap().only, Some(Numbers(vec![])));
        assert_eq!(parse("--seed 5 --only 3,1").unwrap().only, Some(Numbers(vec![3, 1])));
    }
}
