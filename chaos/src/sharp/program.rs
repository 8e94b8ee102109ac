//! `regent-chaos blunt RULE node|agent --config FILE`: the functions of `regentd` and `regent-agent`, with one rule of the core
//! switched off.

use std::path::PathBuf;

use anyhow::Context;
use regent_client::agent;
use regent_coordinator::{config, server};
use regent_core::mutant::{Mutant, select};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What is run.
#[derive(clap::Args)]
pub struct Args {
    /// The rule that is off
    rule: String,
    /// In the place of what
    which: Which,
    /// Its configuration
    #[arg(long)]
    config: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Which {
    Node,
    Agent,
}

/// Runs it until it is told to stop.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let rule = Mutant::named(&args.rule).with_context(|| format!("no rule {}", args.rule))?;
    select(Some(rule));
    tracing_subscriber::fmt().with_target(false).with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match args.which {
            Which::Node => node(args).await,
            Which::Agent => Ok(agent::run(agent::Config::load(&args.config)?, terminated()).await?),
        }
    })?;
    Ok(true)
}

async fn node(args: &Args) -> anyhow::Result<()> {
    let config = config::Config::load(&args.config, &config::Flags::default())?;
    let listener = server::bind(&config).await?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        terminated().await;
        told.cancel();
    });
    Ok(server::run(config, listener, stop).await?)
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => std::future::pending().await,
    }
}
