//! The agent beside a Postgres. Parses, then runs the library's loop, or adopts or releases a Postgres.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use regent_client::agent::adoption::{AdoptionError, Plan, adopt, release};
use regent_client::agent::{Config, run};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts, promotes, fences and rejoins the Postgres beside it, as the witnesses decide.
#[derive(Parser)]
#[command(name = "regent-agent", version, args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(flatten)]
    config: ConfigFlag,
    /// Check the configuration and exit.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
struct ConfigFlag {
    /// The configuration, a TOML file. Every key can be overridden by REGENT_KEY or REGENT_SECTION__KEY.
    #[arg(long = "config", value_name = "FILE", env = "REGENT_AGENT_CONFIG")]
    path: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Takes over an existing Postgres, running or stopped, with one restart at most; then start the agent as always.
    Adopt {
        #[command(flatten)]
        config: ConfigFlag,
        /// Say what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Its postgresql.conf, when that is not in the data directory and Postgres was never started with it.
        #[arg(long, value_name = "FILE")]
        postgresql_conf: Option<PathBuf>,
    },
    /// Gives an adopted Postgres back, with one restart at most. The agent has to be stopped.
    Release {
        #[command(flatten)]
        config: ConfigFlag,
        /// No other instance of the group will be started.
        #[arg(long)]
        yes: bool,
    },
}

/// Bad usage or configuration.
const EXIT_USAGE: u8 = 2;
/// It cannot be done as things stand; nothing was changed.
const EXIT_REFUSED: u8 = 6;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let given = match &flags.command {
        None => &flags.config,
        Some(Command::Adopt { config, .. } | Command::Release { config, .. }) => config,
    };
    let Some(path) = given.path.clone() else {
        Flags::command().error(ErrorKind::MissingRequiredArgument, "--config FILE is required").exit();
    };
    let config = match Config::load(&path) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    if flags.check {
        println!("{}: the configuration is valid", path.display());
        return ExitCode::SUCCESS;
    }
    log(&config, flags.command.is_some());
    tell_defects();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match flags.command {
        None => match runtime.block_on(async { run(config, stop()).await }) {
            // Postgres stays up; whatever still works on it in the background ends with this process.
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        Some(Command::Adopt { dry_run, postgresql_conf, .. }) => {
            let plan = match runtime.block_on(Plan::make(&config, postgresql_conf.as_deref())) {
                Ok(plan) => plan,
                Err(error) => return fail(&error, 1),
            };
            print!("{plan}");
            match (plan.refusals(), dry_run) {
                ([], true) => {
                    println!("\nnothing was changed");
                    ExitCode::SUCCESS
                }
                ([], false) => {
                    println!();
                    ended(runtime.block_on(adopt(&config, &plan, &mut |done| println!("{done}"))))
                }
                _ => ExitCode::from(EXIT_REFUSED),
            }
        }
        Some(Command::Release { yes, .. }) => {
            ended(runtime.block_on(release(&config, yes, &mut |done| println!("{done}"))))
        }
    }
}

fn ended(result: Result<(), AdoptionError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ AdoptionError::Refused(_)) => fail(&error, EXIT_REFUSED),
        Err(error) => fail(&error, 1),
    }
}

/// A command for people says what it does itself; of the library's words they need the warnings alone.
fn log(config: &Config, quiet: bool) {
    let filter = EnvFilter::try_from_env("REGENT_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if quiet { "warn" } else { "info" }));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match config.log_format {
        regent_client::agent::LogFormat::Text => builder.with_ansi(false).init(),
        regent_client::agent::LogFormat::Json => builder.json().init(),
    }
}

/// A panic is a defect of ours. It is said where everything else is said, with what whoever mends it needs.
fn tell_defects() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
        let place = panic.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        tracing::error!("a defect of regent-agent{place}: please report this line: {words}");
    }));
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("regent-agent: {error}");
    ExitCode::from(code)
}

async fn stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without signal handlers the default applies: the process ends, which is what they would do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
