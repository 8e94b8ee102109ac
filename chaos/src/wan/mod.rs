//! Distances between processes of one machine, in two kinds.
//!
//! A [`Wan`] is a network of its own: each region is a network namespace, a TUN device leads out of it, and one thread carries
//! every IP packet from one to another, delays it, and loses it, as the [`Terms`] of each ordered pair say. Whatever is run in
//! a region needs to know nothing of it. [`Relays`](relays::Relays) need no privilege and delay TCP alone, connection by
//! connection, for programs that are told to go through them.
//!
//! ```text
//!  region a                    the forwarder's thread                     region b
//!  process ── kernel ── wan0 ──► Link a to b: lost? due when? ──► heap ──► wan0 ── kernel ── process
//! ```
//!
//! What is relied on:
//! - **A delay is never shorter than it was asked for**; how much longer it was is measured, and with it what a run over these
//!   links can say: see [`Lateness`].
//! - **Packets of one way keep their order** unless the terms say otherwise.
//! - **When [`Wan::cut`] returns nothing passes any more**, also nothing of what was under way.
//! - **Nothing is left behind.** Devices go with the process. Names of namespaces and what runs in them are removed at the end,
//!   and after a SIGKILL by the next run ([`namespace`]).
//!
//! What is not here: anything that knows what is carried. Nor IPv6, nor links that share a bottleneck: each way has its own rate.

pub mod command;
mod forwarder;
mod lateness;
pub mod link;
#[cfg(test)]
mod link_tests;
mod namespace;
mod priority;
pub mod privilege;
mod region;
pub mod relays;
pub mod stand_alone;
pub mod terms;
pub mod topology;
mod tun;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use command::Which;
use forwarder::{Forwarder, Order};
pub use lateness::{LIMIT_MS, Lateness, LatenessReport, UNLIKE_MS};
use link::{Counts, Link};
use namespace::Names;
pub use region::{NETWORKS, Refused, Region, outside};
use terms::{Change, Terms};
use topology::{NoRegion, Topology};

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// This user may not.
    #[error(transparent)]
    Missing(#[from] privilege::Missing),
    /// A region cannot be made.
    #[error(transparent)]
    Region(#[from] Refused),
    /// No thread, or no descriptor.
    #[error("cannot start the forwarder")]
    Forwarder(#[from] io::Error),
}

/// One way of a link, as it is now.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Sender's region.
    pub from: String,
    /// Receiver's region.
    pub to: String,
    /// What it is like.
    pub terms: Terms,
    /// Whether nothing passes.
    pub cut: bool,
    /// What has passed since the start.
    pub counts: Counts,
}

/// A running network. Dropping it ends whatever runs in its regions, and removes them.
pub struct Wan {
    topology: Topology,
    regions: Vec<Region>,
    removed: Vec<String>,
    orders: Sender<Order>,
    wake: Arc<EventFd>,
    lateness: Arc<Lateness>,
    thread: Option<JoinHandle<()>>,
}

impl Wan {
    /// Removes what runs that were killed have left, and makes a network. Chance is from `seed`.
    pub fn start(topology: Topology, seed: u64) -> Result<Wan, NotStarted> {
        privilege::check()?;
        let names = Names::lock();
        let removed = names.as_ref().map(Names::sweep).unwrap_or_default();
        let run = run_id();
        let made = topology.regions().iter().enumerate();
        let made = made.map(|(place, name)| Region::make(name, place, &run, names.as_ref()));
        let (regions, tuns): (Vec<_>, Vec<_>) = made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let links = topology.links().map(|(way, terms)| (way, Link::new(terms, seed, way))).collect();
        let (orders, inbox) = mpsc::channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags).map_err(io::Error::from)?);
        let lateness = Arc::new(Lateness::default());
        let forwarder = Forwarder::new(tuns, links, lateness.clone(), inbox, wake.clone());
        let thread = std::thread::Builder::new().name("wan".into()).spawn(move || forwarder.run())?;
        Ok(Wan { topology, regions, removed, orders, wake, lateness, thread: Some(thread) })
    }

    /// In the order of the topology.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// One of them.
    pub fn region(&self, name: &str) -> Result<&Region, NoRegion> {
        self.topology.place(name).map(|place| &self.regions[place])
    }

    /// Namespaces that runs which were killed had left, and that are gone.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// Other terms, for packets from now on.
    pub fn change(&self, which: &Which, change: Change) -> Result<(), NoRegion> {
        let ways = which.ways(&self.topology)?;
        self.ask(|done| Order::Change(ways, change, done));
        Ok(())
    }

    /// Nothing passes when this has returned, and what was under way is lost.
    pub fn cut(&self, which: &Which) -> Result<(), NoRegion> {
        let ways = which.ways(&self.topology)?;
        self.ask(|done| Order::Cut(ways, done));
        Ok(())
    }

    /// Undoes every cut of these ways, whatever command made it.
    pub fn heal(&self, which: &Which) -> Result<(), NoRegion> {
        let ways = which.ways(&self.topology)?;
        self.ask(|done| Order::Heal(ways, done));
        Ok(())
    }

    /// Every way, as it is now.
    pub fn links(&self) -> Vec<LinkReport> {
        let name = |place: usize| self.topology.regions()[place].clone();
        let links = self.ask(Order::Report).into_iter();
        let report = links.map(|(way, terms, cut, counts)| LinkReport {
            from: name(way.from),
            to: name(way.to),
            terms,
            cut,
            counts,
        });
        report.collect()
    }

    /// How late the forwarder was since the start or the last [`Wan::forget_lateness`].
    pub fn lateness(&self) -> LatenessReport {
        self.lateness.report()
    }

    /// Starts measuring afresh.
    pub fn forget_lateness(&self) {
        self.lateness.forget();
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> T {
        let (sender, receiver) = mpsc::channel();
        self.tell(order(sender));
        receiver.recv().expect("the forwarder answers every order and lives as long as its handle")
    }

    fn tell(&self, order: Order) {
        // Fails only when the thread has gone, which whoever waits for an answer hears.
        let _ = self.orders.send(order);
        let _ = self.wake.write(1);
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Removes what networks of runs that were killed have left, and says what that was.
pub fn sweep() -> Vec<String> {
    Names::lock().as_ref().map(Names::sweep).unwrap_or_default()
}

/// Of this network alone, as long as this process lives.
fn run_id() -> String {
    static NETWORKS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed))
}
