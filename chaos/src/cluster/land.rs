//! A network of a cluster's regions, and of one more, where the harness lives.
//!
//! The harness is no further from any region than the machine makes it, and no fault touches its links: whatever it asks, by
//! the same plain addresses as everybody, says what is there and not what a cut lets through. For that its own threads are in
//! its region ([`Land::run`]). Who is to be a client *in* a region runs on that region's runtime ([`Land::clients`]).

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use nix::unistd::geteuid;
use tokio::runtime::{Handle, Runtime};

use super::topology::{REGIONS, RoundTrips};
use super::ways::Ways;
use crate::wan::command::Which;
use crate::wan::terms::{Change, Span, Terms};
use crate::wan::topology::{NoRegion, Topology, Way, Wrong};
use crate::wan::{NotStarted, Refused, Region, Wan};

/// The region of the harness.
const HARNESS: &str = "harness";
/// Threads of a region's clients, and of the harness.
const WORKERS: usize = 1;
const HARNESS_WORKERS: usize = 2;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoLand {
    /// Postgres runs as no root, and in a user namespace of its own this user is nothing else.
    #[error(
        "a cluster on a network of its own needs root: Postgres refuses to run as root, and who is not root is nobody else \
         in a user namespace of his own"
    )]
    NotRoot,
    /// There is no network.
    #[error(transparent)]
    Wan(#[from] NotStarted),
    /// The regions are none.
    #[error(transparent)]
    Topology(#[from] Wrong),
    /// No threads in a region.
    #[error("cannot start a runtime in a region")]
    Runtime(#[from] std::io::Error),
}

impl NoLand {
    /// Whether the machine does not let this user have one, which says nothing about what is tested.
    pub fn is_not_allowed(&self) -> bool {
        use NotStarted::{Missing, Region};
        matches!(self, NoLand::NotRoot | NoLand::Wan(Missing(_) | Region(Refused::Tun { .. })))
    }
}

/// The network, and the threads in its regions.
pub struct Land {
    round_trips: RoundTrips,
    /// In the order of the regions, the harness's last; taken when it ends.
    runtimes: Vec<Runtime>,
    wan: Wan,
}

impl Land {
    /// Makes it. Chance of the links is from `seed`.
    pub fn start(round_trips: RoundTrips, seed: u64) -> Result<Arc<Land>, NoLand> {
        if !geteuid().is_root() {
            return Err(NoLand::NotRoot);
        }
        let regions = round_trips.regions();
        let names = REGIONS[..regions].iter().chain([&HARNESS]).map(|name| (*name).to_owned());
        let terms = |Way { from, to }| match from.max(to) < regions {
            true => Terms { delay: Span(round_trips.between(from, to) / 2), ..Terms::default() },
            false => Terms::default(),
        };
        let wan = Wan::start(Topology::of(names.collect(), terms)?, seed)?;
        let workers = |place| if place == regions { HARNESS_WORKERS } else { WORKERS };
        let runtimes = wan.regions().iter().enumerate().map(|(place, region)| region.runtime(workers(place)));
        let runtimes = runtimes.collect::<Result<_, _>>()?;
        Ok(Arc::new(Land { round_trips, runtimes, wan }))
    }

    /// Runs the harness to its end: on a thread in its region, over a runtime whose threads are there as well.
    pub fn run<T: Send>(&self, act: impl AsyncFnOnce() -> T + Send) -> anyhow::Result<T> {
        let runtime = &self.runtimes[self.round_trips.regions()];
        let done = self.wan.regions()[self.round_trips.regions()].inside(|| runtime.block_on(act()));
        done.context("cannot enter the harness's region")
    }

    /// How far apart the regions are.
    pub fn round_trips(&self) -> RoundTrips {
        self.round_trips
    }

    /// What is spawned here is a client in that region.
    pub fn clients(&self, region: usize) -> &Handle {
        self.runtimes[region].handle()
    }

    /// One of the cluster's regions.
    pub fn region(&self, region: usize) -> &Region {
        &self.wan.regions()[region]
    }

    /// The network, with the harness's region as its last.
    pub fn wan(&self) -> &Wan {
        &self.wan
    }

    pub(super) fn address(&self, region: usize) -> Ipv4Addr {
        self.region(region).address()
    }

    pub(super) fn cut(&self, ways: &Ways) -> Result<(), NoRegion> {
        self.wan.cut(&self.which(ways))
    }

    pub(super) fn heal(&self, ways: &Ways) -> Result<(), NoRegion> {
        self.wan.heal(&self.which(ways))
    }

    pub(super) fn change(&self, ways: &Ways, change: Change) -> Result<(), NoRegion> {
        self.wan.change(&self.which(ways), change)
    }

    /// Those of the cluster's regions: the harness's are never among them.
    fn which(&self, ways: &Ways) -> Which {
        let name = |place: usize| REGIONS[place].to_owned();
        let ways = ways.among(self.round_trips.regions()).into_iter();
        Which::Each(ways.map(|(from, to)| (name(from), name(to))).collect())
    }
}

impl Drop for Land {
    fn drop(&mut self) {
        // It may be dropped by a task, which may not wait for threads.
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}
