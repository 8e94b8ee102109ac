//! Which scenarios are to be run, with which seeds, and on what.

use anyhow::{Context, bail, ensure};
use clap::ArgGroup;

use crate::cluster::topology::RoundTrips;
use crate::scenario::{self, Scenario, Setting, random};
use crate::sharp::Blunt;

/// What `regent-chaos live` can be asked for.
#[derive(Default, clap::Args)]
#[command(group = ArgGroup::new("which").args(["names", "class", "all", "ci", "random"]).required(true))]
pub struct Args {
    /// Scenarios, as `regent-chaos list` shows them
    pub names: Vec<String>,
    /// All of a class
    #[arg(long)]
    pub class: Option<String>,
    /// All there are
    #[arg(long)]
    pub all: bool,
    /// Those that every change is tested with, about five minutes
    #[arg(long)]
    pub ci: bool,
    /// Faults of all classes that overlap by chance, from the seed
    #[arg(long, conflicts_with = "trials")]
    pub random: bool,
    /// New ones, each from the next seed, until so much time has passed
    #[arg(long, requires = "random", value_name = "M", value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: Option<u64>,
    /// Where chance begins: when exactly a fault happens, and what links do
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How often each, with a seed of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub trials: u64,
    /// Leave what is recorded of every run, not only of those that did not go well
    #[arg(long)]
    pub keep: bool,
    /// Other round trips in ms, of scenarios with three regions: first to second, first to third, second to third
    #[arg(long, value_name = "A,B,C", value_parser = RoundTrips::parse)]
    pub rtt: Option<RoundTrips>,
    /// With nodes and agents that are wrong on purpose: one of those of `regent-chaos sharp`
    #[arg(long, value_name = "BUILD", value_parser = Blunt::named)]
    pub blunt: Option<&'static Blunt>,
}

impl Args {
    /// One run of the scenario in which a blunt build must be found out.
    pub fn of_blunt(blunt: &'static Blunt, seed: u64) -> Args {
        let names = vec![blunt.scenario.to_owned()];
        Args { names, seed, trials: 1, blunt: Some(blunt), ..Args::default() }
    }
}

/// One scenario with a seed.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which.
    pub scenario: Scenario,
    /// Where its chance begins.
    pub seed: u64,
    /// The command that runs it again.
    pub again: String,
    /// What runs in the place of nodes and agents, if they are to be wrong.
    pub blunt: Option<&'static Blunt>,
}

/// The scenarios that were asked for, in the order of the lists; the first of those that chance draws.
pub fn choose(args: &Args) -> anyhow::Result<Vec<Run>> {
    if args.random {
        return Ok(vec![drawn(args, args.seed)?]);
    }
    let (rtt, blunt) = (rtt_words(args), blunt_words(args));
    let mut runs = Vec::new();
    for scenario in wanted(args)? {
        let scenario = with_round_trips(scenario, args.rtt)?;
        for seed in args.seed..args.seed + args.trials {
            let again = format!("regent-chaos live {} --seed {seed}{rtt}{blunt}", scenario.name);
            runs.push(Run { scenario: scenario.clone(), seed, again, blunt: args.blunt });
        }
    }
    Ok(runs)
}

/// What chance draws from a seed.
pub fn drawn(args: &Args, seed: u64) -> anyhow::Result<Run> {
    let again = format!("regent-chaos live --random --seed {seed}{}{}", rtt_words(args), blunt_words(args));
    let scenario = with_round_trips(random::draw(seed), args.rtt)?;
    Ok(Run { scenario, seed, again, blunt: args.blunt })
}

fn rtt_words(args: &Args) -> String {
    args.rtt.map(|rtt| format!(" --rtt {}", rtt.words().replace('/', ","))).unwrap_or_default()
}

fn blunt_words(args: &Args) -> String {
    args.blunt.map(|blunt| format!(" --blunt {}", blunt.name)).unwrap_or_default()
}

fn wanted(args: &Args) -> anyhow::Result<Vec<Scenario>> {
    let all = scenario::all()?;
    if args.all {
        return Ok(all);
    }
    if args.ci {
        return Ok(all.into_iter().filter(|scenario| scenario.ci).collect());
    }
    if let Some(class) = &args.class {
        let of_class: Vec<_> =
            all.into_iter().filter(|scenario| scenario.class.to_string() == *class).collect();
        let known = scenario::Class::ALL.map(|(_, name, _)| name).join(", ");
        ensure!(!of_class.is_empty(), "class {class}: expected one of {known}");
        return Ok(of_class);
    }
    args.names.iter().map(|name| named(&all, name)).collect()
}

fn named(all: &[Scenario], name: &str) -> anyhow::Result<Scenario> {
    let found = all.iter().find(|scenario| scenario.name == name);
    found.cloned().with_context(|| {
        let like: Vec<&str> =
            all.iter().map(|one| one.name.as_str()).filter(|one| one.contains(name)).collect();
        let like =
            if like.is_empty() { "one that `regent-chaos list` shows".into() } else { like.join(", ") };
        format!("there is no scenario {name}: expected {like}")
    })
}

fn with_round_trips(mut scenario: Scenario, given: Option<RoundTrips>) -> anyhow::Result<Scenario> {
    let Some(given) = given else { return Ok(scenario) };
    if scenario.setting.regions != given.regions() {
        bail!("{}: it has {} regions, --rtt is for three", scenario.name, scenario.setting.regions);
    }
    scenario.setting.round_trips_ms = given.ms().into_iter().map(|ms| ms as u64).collect();
    Ok(scenario)
}

/// Those that can share a cluster, together; each in the order of its first.
pub fn by_ground(runs: Vec<Run>) -> Vec<Vec<Run>> {
    let mut groups: Vec<Vec<Run>> = Vec::new();
    for run in runs {
        let fits = |group: &&mut Vec<Run>| group[0].scenario.setting.shares_ground(&run.scenario.setting);
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

impl Setting {
    /// Whether scenarios of both can be played on one cluster: its mode and its links are changed as they are.
    fn shares_ground(&self, other: &Setting) -> bool {
        let ground =
            |of: &Setting| (of.regions, of.instances, of.round_trips_ms.clone(), of.ttl, of.shim, of.disks);
        ground(self) == ground(other)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Live {
        #[command(flatten)]
        args: Args,
    }

    fn chosen(line: &str) -> Result<Vec<Run>, String> {
        let words = std::iter::once("live").chain(line.split_whitespace());
        let live = Live::try_parse_from(words).map_err(|refused| refused.to_string())?;
        choose(&live.args).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn each_trial_has_a_seed_and_a_line_that_repeats_it() {
        let runs = chosen("region-lost --seed 7 --trials 2 --rtt 10,20,30").unwrap();
        let again: Vec<&str> = runs.iter().map(|run| run.again.as_str()).collect();
        let line = |seed| format!("regent-chaos live region-lost --seed {seed} --rtt 10,20,30");
        assert_eq!(again, [line(7), line(8)]);
        assert_eq!(runs[0].scenario.setting.round_trips_ms, [10, 20, 30]);
        let drawn = chosen("--random --seed 3 --minutes 2").unwrap();
        assert_eq!(drawn[0].again, "regent-chaos live --random --seed 3");
    }

    #[test]
    fn a_blunt_build_is_in_the_line_that_repeats_it() {
        let runs = chosen("calm --blunt flush-without-fdatasync").unwrap();
        assert_eq!(runs[0].again, "regent-chaos live calm --seed 1 --blunt flush-without-fdatasync");
        assert_eq!(runs[0].blunt.unwrap().name, "flush-without-fdatasync");
        let said = chosen("calm --blunt dull").unwrap_err();
        assert!(said.contains("no blunt build dull"), "{said}");
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is_like_it() {
        for (line, says) in [
            ("", "required"),
            ("--all --ci", "cannot be used with"),
            ("--minutes 3", "--random"),
            ("region", "there is no scenario region: expected region-lost"),
            ("mars", "there is no scenario mars: expected one that `regent-chaos list` shows"),
            ("--class mars", "expected one of calm, process"),
        ] {
            let said = chosen(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }

    #[test]
    fn those_of_one_ground_are_together() {
        let runs = chosen("--all").unwrap();
        let number = runs.len();
        let groups = by_ground(runs);
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), number);
        assert!(groups.len() < number);
    }
}
