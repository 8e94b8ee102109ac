//! `regent-chaos bench reads|watch|idle`: what a calm cluster costs and how fast it answers. And `gray`: how long a half
//! dead one takes.
//!
//! The cluster is the demo's, real Postgres and all. Everything shares one machine with what measures it: figures of a
//! node are those of the one processor it is bound to, and the measuring side is bound to the others.

mod gray;
mod idle;
mod processor;
mod reads;
mod report;
mod watch;

use std::path::PathBuf;

use crate::cluster::topology::RoundTrips;
use crate::gray::Kind;

/// What to measure.
pub enum What {
    /// Calls of GetPrimary.
    Reads,
    /// From a decision to the last watcher told.
    Watch {
        /// How many watch.
        watchers: usize,
        /// How many decisions.
        trials: usize,
    },
    /// Processor time and memory while nothing happens.
    Idle {
        /// For how long.
        seconds: u64,
    },
    /// From a Postgres that is half dead to writes.
    Gray {
        /// In which ways.
        kinds: Vec<Kind>,
        /// How often each.
        trials: usize,
        /// For how long load alone, in the end.
        seconds: u64,
    },
}

/// What to measure, and where to write it.
pub struct Plan {
    /// What.
    pub what: What,
    /// Distances between the regions, where they matter.
    pub round_trips: RoundTrips,
    /// Where to write the figures as JSON.
    pub json: Option<PathBuf>,
}

/// Measures, prints a table, and writes the figures.
pub async fn run(plan: Plan) -> anyhow::Result<bool> {
    let json = plan.json.as_deref();
    match plan.what {
        What::Reads => report::tell("reads", &reads::measure(plan.round_trips).await?, json)?,
        What::Watch { watchers, trials } => {
            report::tell("watch", &watch::measure(watchers, trials).await?, json)?;
        }
        What::Idle { seconds } => {
            report::tell("idle", &idle::measure(plan.round_trips, seconds).await?, json)?
        }
        What::Gray { kinds, trials, seconds } => {
            let figures = gray::measure(plan.round_trips, &kinds, trials, seconds).await?;
            report::tell("gray", &figures, json)?;
        }
    }
    Ok(true)
}
