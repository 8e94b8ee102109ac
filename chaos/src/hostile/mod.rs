//! Callers that nobody should have to do with: herds, slow ones, silent ones, and such that talk nonsense to a node.
//!
//! They talk as a stranger on the network would, some of them byte by byte, and so this is one of the few rooms that knows the
//! wire's own types.

mod herd;
mod raw;
mod wire;

use std::net::SocketAddr;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::scenario::fault::{Fault, Kind};

/// What is known of whom they call.
#[derive(Clone, Debug)]
struct Victim {
    node: SocketAddr,
    /// Its id, and how many nodes there are.
    id: u64,
    nodes: u64,
    /// The epoch that holds when they begin.
    epoch: u64,
}

/// Callers that go on until this is ended or dropped.
pub struct Hostile(JoinSet<()>);

impl Hostile {
    /// Ends them, in the middle of whatever they do.
    pub fn end(self) {
        drop(self.0);
    }
}

/// Whether a fault is made by callers.
pub fn is(kind: Kind) -> bool {
    use Kind::{Garbage, Malformed, Oversized, Replay, SilentWatchers, SlowSenders, Watchers};
    matches!(kind, Garbage | Malformed | Oversized | Replay | SilentWatchers | SlowSenders | Watchers)
}

/// Lets them loose on the nodes of some regions, from there, in that epoch.
pub fn begin(cluster: &Cluster, fault: &Fault, regions: &[usize], epoch: u64) -> anyhow::Result<Hostile> {
    let mut callers = JoinSet::new();
    for region in regions {
        let there = cluster.clients(*region);
        let (node, nodes) = (cluster.node(*region), cluster.regions() as u64);
        let victim = Victim { node, id: *region as u64 + 1, nodes, epoch };
        let each = fault.count / regions.len().max(1) as u32;
        call(&mut callers, &there, fault.kind, victim, each)?;
    }
    Ok(Hostile(callers))
}

fn call(
    callers: &mut JoinSet<()>,
    there: &Handle,
    kind: Kind,
    victim: Victim,
    count: u32,
) -> anyhow::Result<()> {
    match kind {
        Kind::Watchers => drop(callers.spawn_on(herd::come_and_go(victim.node, count), there)),
        Kind::SilentWatchers => {
            for _ in 0..count {
                callers.spawn_on(raw::never_reads(victim.node), there);
            }
        }
        Kind::SlowSenders => {
            for _ in 0..count {
                callers.spawn_on(raw::byte_by_byte(victim.node), there);
            }
        }
        Kind::Garbage => drop(callers.spawn_on(raw::garbage(victim.node), there)),
        Kind::Malformed => drop(callers.spawn_on(wire::malformed(victim), there)),
        Kind::Oversized => drop(callers.spawn_on(wire::oversized(victim), there)),
        Kind::Replay if victim.epoch < 2 => {
            anyhow::bail!("replay: expected an epoch that is over, got only {}", victim.epoch)
        }
        Kind::Replay => drop(callers.spawn_on(wire::replay(victim), there)),
        kind => anyhow::bail!("{kind:?}: expected what callers do"),
    }
    Ok(())
}
