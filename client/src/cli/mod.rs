//! The admin's command, as a function of its arguments and its terminal; `src/bin/regent.rs` only hands them in.

mod args;
mod changes;
mod commands;
mod drain;
mod exit;
mod moment;
mod print;
mod restart;
mod status;
mod switchover;
mod table;
mod view;
mod words;

pub use exit::{Exit, exit_for};
pub use print::{Session, Terminal};

use args::Args;
use clap::Parser;
use std::ffi::OsString;

/// Runs the command that the arguments name; the result is the process's exit code.
pub async fn run<S: Into<OsString> + Clone>(
    args: impl IntoIterator<Item = S>,
    mut session: Session<'_>,
) -> Exit {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return session.usage(&error),
    };
    match commands::run(args, &mut session).await {
        Ok(exit) => exit,
        Err(failure) => session.failed(&failure),
    }
}
