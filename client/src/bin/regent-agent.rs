//! The agent beside a Postgres. Parses, then runs the library's loop.

use clap::Parser;
use regent_client::agent::{Config, run};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts, promotes, fences and rejoins the Postgres beside it, as the witnesses decide.
#[derive(Parser)]
#[command(name = "regent-agent", version)]
struct Flags {
    /// The configuration, a TOML file. Every key can be overridden by REGENT_KEY or REGENT_SECTION__KEY.
    #[arg(long, value_name = "FILE", env = "REGENT_AGENT_CONFIG")]
    config: PathBuf,
    /// Check the configuration and exit.
    #[arg(long)]
    check: bool,
}

/// Bad usage or configuration.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let config = match Config::load(&flags.config) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    if flags.check {
        println!("{}: the configuration is valid", flags.config.display());
        return ExitCode::SUCCESS;
    }
    log(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(async { run(config, stop()).await }) {
        // Postgres stays up; whatever still works on it in the background ends with this process.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn log(config: &Config) {
    let filter = EnvFilter::try_from_env("REGENT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match config.log_format {
        regent_client::agent::LogFormat::Text => builder.with_ansi(false).init(),
        regent_client::agent::LogFormat::Json => builder.json().init(),
    }
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
