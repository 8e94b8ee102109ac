//! Proves that the checks can fail: switches the core's rules off one at a time and shows which level of test notices.
//!
//! A check that cannot fail is no check. So a mutant that nothing catches fails the command, and so does a theorem of the
//! world that no mutant breaks first, unless it is let off by name and with the reason (`worlds::UNAIMED`), and a level that
//! objects to the rules as they are. A panic is no check.
//!
//! The rules can be switched off only in a build with the cargo feature `mutants`; what is shipped has none.

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

/// What is tried.
#[derive(clap::Args)]
pub struct Options {
    /// Which; all when left out
    pub names: Vec<String>,
    /// Ask every level, not only until one notices
    #[arg(long)]
    pub every_level: bool,
    /// Say what was seen
    #[arg(long)]
    pub seen: bool,
}

/// Prints the table. Fails if a mutant is not caught.
#[cfg(feature = "mutants")]
pub fn run(options: &Options) -> ExitCode {
    let all_caught =
        table::chosen(&options.names).and_then(|mutants| table::print(options, &mutants, levels::all()));
    match all_caught {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("regent-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says how to get a build that can.
#[cfg(not(feature = "mutants"))]
pub fn run(_: &Options) -> ExitCode {
    eprintln!(
        "regent-chaos: no rule can be switched off in this build; run\n    \
         cargo run --bin regent-chaos --features regent-chaos/mutants -- mutants"
    );
    ExitCode::FAILURE
}
