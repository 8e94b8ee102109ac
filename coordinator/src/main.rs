//! `regentd`: a node of Regent.

use clap::Parser;
use regent_coordinator::config::{Config, Flags, LogFormat};
use regent_coordinator::{raft, server};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What cannot run as it is configured, or on what it finds.
const REFUSED: u8 = 2;
/// What ran, and could not go on: to be started again.
const FAILED: u8 = 1;

/// A node of Regent: a Raft member with a witness in it.
///
/// Each key of the configuration file but `peers` can be overridden by an environment variable (REGENT_LISTEN for
/// `listen`), and that by a flag. RUST_LOG sets what is logged.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "REGENT_CONFIG")]
    config: PathBuf,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config, &args.flags) {
        Ok(config) => config,
        Err(error) => return fail(&error, REFUSED),
    };
    if args.check {
        let Config { node, cluster, region, peers, .. } = &config;
        println!("valid: node {node} of cluster {cluster} in {region}, {} nodes in all", peers.len());
        return ExitCode::SUCCESS;
    }
    log(config.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, FAILED),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ server::ServeError::Server(_)) => fail(&error, FAILED),
        Err(error) => fail(&error, REFUSED),
    }
}

async fn run(config: Config) -> Result<(), server::ServeError> {
    let stop = CancellationToken::new();
    let listener = server::bind(&config).await?;
    tokio::spawn(on_signal(stop.clone()));
    server::run(config, listener, stop).await
}

async fn on_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be caught: the node can only be killed, which it survives");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}

fn log(format: LogFormat) {
    let usual = || EnvFilter::new(format!("info,{}", raft::LOG_FILTER));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("regentd: {error}");
    ExitCode::from(code)
}
