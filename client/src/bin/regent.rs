//! The admin's command. The library does the work; this hands it the process's terminal.

use regent_client::cli::{Session, Terminal, run};
use std::io::{stderr, stdin, stdout};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let terminal = Terminal::detect();
    let (mut out, mut err, mut input) = (stdout().lock(), stderr().lock(), stdin().lock());
    let session = Session { out: &mut out, err: &mut err, input: &mut input, terminal };
    run(std::env::args_os(), session).await.into()
}
