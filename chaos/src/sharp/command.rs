//! `regent-chaos sharp`: every blunt build in its scenario; each must be found out.

use std::process::ExitCode;

use super::{ALL, Blunt};
use crate::live;
use crate::terminal::{bold, dim, verdict};

/// Seeds that are tried before a blunt build counts as not found out.
const SEEDS: u64 = 3;

/// What is tried.
#[derive(clap::Args)]
pub struct Args {
    /// Which; all when left out
    pub names: Vec<String>,
}

/// Prints a line for each. 0: all were found out. 1: one was not. 3: one could not be run here.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let chosen: Vec<&'static Blunt> = match args.names.is_empty() {
        true => ALL.iter().map(|blunt| Blunt::named(blunt.name)).collect::<Result<_, _>>()?,
        false => args.names.iter().map(|name| Blunt::named(name)).collect::<Result<_, _>>()?,
    };
    let mut came = Vec::new();
    for blunt in chosen {
        println!("{} {}", bold(blunt.name), dim(blunt.what));
        came.push((blunt, find_out(blunt)?));
        println!();
    }
    println!("{}", bold("Blunt builds"));
    for (blunt, found) in &came {
        println!("  {:<26} {}", blunt.name, found.words(blunt));
    }
    Ok(ExitCode::from(code(came.iter().map(|(_, found)| found))))
}

enum Found {
    /// With which seed, and by which theorems.
    Out(u64, String),
    Not,
    NotRun,
}

impl Found {
    fn words(&self, blunt: &Blunt) -> String {
        let scenario = blunt.scenario;
        match self {
            Found::Out(seed, broken) => {
                format!("{}  {scenario}, seed {seed}: {broken}", verdict(true, "found out"))
            }
            Found::Not => format!("{}  {scenario}, seeds 1 to {SEEDS}", verdict(false, "NOT FOUND OUT")),
            Found::NotRun => format!("{}  {scenario} cannot be run here", bold("not run")),
        }
    }
}

fn code<'a>(all: impl Iterator<Item = &'a Found>) -> u8 {
    let one = |found: &Found| match found {
        Found::Out(..) => 0,
        Found::Not => 1,
        Found::NotRun => 3,
    };
    let codes: Vec<u8> = all.map(one).collect();
    if codes.contains(&1) { 1 } else { codes.into_iter().max().unwrap_or(0) }
}

/// Plays its scenario with one seed after the other, until what it breaks is broken.
fn find_out(blunt: &'static Blunt) -> anyhow::Result<Found> {
    for seed in 1..=SEEDS {
        let tally = live::tally_of(&live::Args::of_blunt(blunt, seed))?;
        if tally.skipped() {
            return Ok(Found::NotRun);
        }
        let broken = tally.broken();
        if broken.contains(&blunt.breaks) {
            return Ok(Found::Out(seed, broken.join(", ")));
        }
    }
    Ok(Found::Not)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_not_found_out_fails_all() {
        let out = || Found::Out(1, "S1 one writable primary".to_owned());
        assert_eq!(code([out(), out()].iter()), 0);
        assert_eq!(code([out(), Found::NotRun].iter()), 3);
        assert_eq!(code([Found::Not, Found::NotRun, out()].iter()), 1);
    }
}
