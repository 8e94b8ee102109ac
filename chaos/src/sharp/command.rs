//! `regent-chaos sharp`: every blunt build in its scenario; each must be found out.

use std::process::ExitCode;

use super::{ALL, Blunt};
use crate::live::{self, choice};
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
    let chosen: Vec<&Blunt> = match args.names.is_empty() {
        true => ALL.iter().map(|blunt| Blunt::named(blunt.name)).collect::<Result<_, _>>()?,
        false => args.names.iter().map(|name| Blunt::named(name)).collect::<Result<_, _>>()?,
    };
    let mut lines = Vec::new();
    let mut code = 0;
    for blunt in chosen {
        println!("{} {}", bold(blunt.name), dim(blunt.what));
        let found = find_out(blunt)?;
        let word = match found {
            Found::Out(seed) => format!("found out by {} (seed {seed})", blunt.scenario),
            Found::Not => format!("NOT found out by {SEEDS} runs of {}", blunt.scenario),
            Found::NotRun => format!("not run: {} cannot be run here", blunt.scenario),
        };
        code = match found {
            Found::Out(_) => code,
            Found::Not => 1,
            Found::NotRun => code.max(3),
        };
        lines.push((blunt, found, word));
    }
    println!("\n{}", bold("Blunt builds"));
    for (blunt, found, word) in lines {
        println!("  {:<26} {}", blunt.name, verdict(matches!(found, Found::Out(_)), word));
    }
    Ok(ExitCode::from(code))
}

enum Found {
    Out(u64),
    Not,
    NotRun,
}

/// Plays its scenario with one seed after the other, until something is broken.
fn find_out(blunt: &'static Blunt) -> anyhow::Result<Found> {
    for seed in 1..=SEEDS {
        let tally = live::play_chosen(&choice::blunt(blunt, seed)?, false)?;
        if tally.skipped() {
            return Ok(Found::NotRun);
        }
        if tally.broken() {
            return Ok(Found::Out(seed));
        }
    }
    Ok(Found::Not)
}
