//! `regent-chaos bench reads|watch|idle|modes`: what a calm cluster costs and how fast it answers. `gray`: how long a half
//! dead one takes. And `clock`: what is lost when a clock stands still.
//!
//! The cluster is the demo's, real Postgres and all. Everything shares one machine with what measures it: figures of a
//! node are those of the one processor it is bound to, and the measuring side is bound to the others.

mod gray;
mod idle;
pub mod modes;
mod plain;
mod processor;
mod reads;
mod report;
pub mod stopped;
mod watch;

use std::path::PathBuf;

use regent_core::replication::Mode;

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
    /// Transactions a second in each mode.
    Modes(modes::Plan),
    /// A primary's clock that stands still.
    Clock {
        /// How often.
        trials: usize,
    },
}

/// What to measure, and where to write it.
pub struct Plan {
    /// What.
    pub what: What,
    /// When commits are acknowledged, where that matters.
    pub mode: Mode,
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
            let figures = gray::measure(plan.round_trips, plan.mode, &kinds, trials, seconds).await?;
            report::tell("gray", &figures, json)?;
        }
        What::Modes(modes) => {
            report::tell("modes", &modes::measure(plan.round_trips, &modes).await?, json)?;
        }
        What::Clock { trials } => {
            let figures = stopped::measure(plan.round_trips, plan.mode, trials).await?;
            report::tell("clock", &figures, json)?;
            return Ok(figures.iter().all(stopped::Figures::good));
        }
    }
    Ok(true)
}
