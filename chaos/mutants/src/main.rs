//! `regent-mutants` proves that the checks can fail: it switches the core's rules off one at a time and shows which level of test
//! notices.
//!
//! A check that cannot fail is no check. So a mutant that nothing catches fails the command, and so does a theorem of the
//! world that no mutant breaks first, unless it is let off by name and with the reason (`worlds::UNAIMED`), and a level that
//! objects to the rules as they are. A panic is no check.
//!
//! The rules can be switched off only in a build with the cargo feature `mutants`; what is shipped has none. A program of its own, so
//! that such a build is one of the core and its worlds alone.

#[cfg(feature = "mutants")]
mod levels;
#[cfg(feature = "mutants")]
mod models;
#[cfg(feature = "mutants")]
mod table;
#[cfg(feature = "mutants")]
mod tests_of_core;
#[cfg(feature = "mutants")]
mod worlds;

use std::process::ExitCode;

use clap::Parser;

/// Switches the rules off one at a time and shows which tests notice; exit 1 if none does
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Which; all when left out
    names: Vec<String>,
    /// Ask every level, not only until one notices
    #[arg(long)]
    every_level: bool,
    /// Say what was seen
    #[arg(long)]
    seen: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("regent-mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table. Says whether every mutant is caught.
#[cfg(feature = "mutants")]
fn run(options: &Options) -> anyhow::Result<bool> {
    table::print(options, &table::chosen(&options.names)?, levels::all())
}

/// Says how to get a build that can.
#[cfg(not(feature = "mutants"))]
fn run(Options { names, every_level, seen }: &Options) -> anyhow::Result<bool> {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let flags = [(every_level, "--every-level"), (seen, "--seen")];
    let flags = flags.into_iter().filter(|(on, _)| **on).map(|(_, flag)| flag);
    let asked = asked.into_iter().chain(flags).collect::<Vec<_>>().join(" ");
    anyhow::bail!(
        "no rule can be switched off in this build; run\n    \
         cargo run --bin regent-mutants --features regent-mutants/mutants -- {asked}"
    )
}
