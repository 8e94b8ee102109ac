//! What a cluster stands on: how far its regions are apart, how they are reached, and how something is started in one.
//!
//! - **Relays** need no privilege: all listen on loopback, and are told to reach each other through relays that delay.
//! - A **[`Land`]** needs root: each region is a network namespace with an address of its own, and nobody knows anything of the
//!   network between. What happens to packets there happens to all that the kernel sends, connections being made included.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::Rng;
use tokio::runtime::Handle;

use super::land::Land;
use super::run_dir::User;
use super::topology::{REGIONS, RoundTrips, address, instance};
use super::ways::Ways;
use crate::wan::relays::{LinkSpec, Relays};
use crate::wan::terms::Change;
use crate::wan::{LatenessReport, NETWORKS};

/// Ports are taken below the range that the kernel gives to outgoing connections, so that a server which is killed
/// finds its port free when it comes back.
const PORTS: std::ops::Range<u16> = 15_000..31_000;

/// A fault that this ground cannot make.
#[derive(Debug, thiserror::Error)]
#[error("{fault}: expected a cluster on a network of its own, got one over relays, which {why}")]
pub struct NotOverRelays {
    /// What was asked for.
    pub fault: String,
    /// What they do instead.
    pub why: &'static str,
}

/// Either.
pub(super) enum Ground {
    Relays(Relays, RoundTrips),
    Land(Arc<Land>),
}

impl Ground {
    pub fn round_trips(&self) -> RoundTrips {
        match self {
            Ground::Relays(_, round_trips) => *round_trips,
            Ground::Land(land) => land.round_trips(),
        }
    }

    pub fn is_land(&self) -> bool {
        matches!(self, Ground::Land(_))
    }

    /// An address in a region on which nothing listens.
    pub fn free_address(&self, region: usize, taken: &mut BTreeSet<u16>) -> anyhow::Result<SocketAddr> {
        match self {
            Ground::Relays(..) => free_port(address(region), taken),
            Ground::Land(land) => {
                let here = land.address(region).into();
                land.region(region).inside(|| free_port(here, taken))?
            }
        }
    }

    /// How processes in `from` reach a server in `to`.
    pub fn link(&self, from: usize, to: usize, target: SocketAddr) -> anyhow::Result<SocketAddr> {
        match self {
            Ground::Relays(relays, round_trips) if from != to && round_trips.longest_ms() > 0 => {
                open(relays, round_trips.between(from, to), [from, to], target)
            }
            Ground::Relays(..) | Ground::Land(_) => Ok(target),
        }
    }

    /// From where Postgres may be reached.
    pub fn networks(&self) -> &'static str {
        match self {
            Ground::Relays(..) => "127.0.0.0/8",
            Ground::Land(_) => NETWORKS,
        }
    }

    /// A program that will run in a region, as that user.
    pub fn command(&self, region: usize, program: &Path, user: Option<&User>) -> anyhow::Result<Command> {
        let ids = user.map(|user| (user.uid, user.gid));
        let command = match self {
            Ground::Relays(..) => {
                let mut command = Command::new(program);
                if let Some((user, group)) = ids {
                    command.uid(user).gid(group);
                }
                command
            }
            Ground::Land(land) => land.region(region).daemon(program, ids)?,
        };
        Ok(command)
    }

    /// What is spawned here is a client in that region.
    pub fn clients(&self, region: usize) -> Handle {
        match self {
            Ground::Relays(..) => Handle::current(),
            Ground::Land(land) => land.clients(region).clone(),
        }
    }

    pub fn cut(&self, ways: &Ways) -> anyhow::Result<()> {
        match self {
            Ground::Relays(relays, _) => relays.cut(REGIONS[whole_region(ways)?]),
            Ground::Land(land) => land.cut(ways)?,
        }
        Ok(())
    }

    pub fn heal(&self, ways: &Ways) -> anyhow::Result<()> {
        match self {
            Ground::Relays(relays, _) => relays.heal(REGIONS[whole_region(ways)?]),
            Ground::Land(land) => land.heal(ways)?,
        }
        Ok(())
    }

    pub fn change(&self, ways: &Ways, change: Change) -> anyhow::Result<()> {
        match self {
            Ground::Relays(..) => {
                let fault = format!("{change:?} of {ways:?}");
                Err(NotOverRelays { fault, why: "keep the delay that they began with" }.into())
            }
            Ground::Land(land) => Ok(land.change(ways, change)?),
        }
    }

    /// Ends every connection of a region with others by a reset to both ends, as far as it passes.
    pub fn reset(&self, region: usize) -> anyhow::Result<()> {
        let Ground::Land(land) = self else {
            let fault = format!("resetting the connections of {}", REGIONS[region]);
            return Err(NotOverRelays { fault, why: "have connections of their own between" }.into());
        };
        for peer in (0..land.round_trips().regions()).filter(|peer| *peer != region) {
            let address = land.address(peer).to_string();
            let said = land
                .region(region)
                .inside(|| Command::new("ss").args(["-K", "-H", "-t", "-a", "dst", &address]).output())?;
            let said = said.context("cannot run ss, to reset connections")?;
            ensure!(said.status.success(), "ss -K: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
        Ok(())
    }

    /// Heals a region whose processes were all killed meanwhile: nothing that was under way is delivered.
    pub fn restore(&self, region: usize) -> anyhow::Result<()> {
        match self {
            Ground::Relays(relays, _) => relays.restore(REGIONS[region]),
            Ground::Land(land) => land.heal(&Ways::Around(region))?,
        }
        Ok(())
    }

    /// The relays, for what they alone can do.
    pub fn relays(&self, fault: &str) -> anyhow::Result<&Relays> {
        match self {
            Ground::Relays(relays, _) => Ok(relays),
            Ground::Land(_) => {
                bail!("{fault}: expected a cluster over relays, got one on a network of its own")
            }
        }
    }

    pub fn lateness(&self) -> LatenessReport {
        match self {
            Ground::Relays(relays, _) => relays.lateness(),
            Ground::Land(land) => land.wan().lateness(),
        }
    }

    pub fn forget_lateness(&self) {
        match self {
            Ground::Relays(relays, _) => relays.forget_lateness(),
            Ground::Land(land) => land.wan().forget_lateness(),
        }
    }
}

fn whole_region(ways: &Ways) -> Result<usize, NotOverRelays> {
    match ways {
        Ways::Around(region) => Ok(*region),
        other => Err(NotOverRelays {
            fault: format!("cutting {other:?}"),
            why: "cut off a region and nothing smaller",
        }),
    }
}

fn open(
    relays: &Relays,
    round_trip: Duration,
    [from, to]: [usize; 2],
    target: SocketAddr,
) -> anyhow::Result<SocketAddr> {
    let (from_region, to_region) = (REGIONS[from].to_string(), REGIONS[to].to_string());
    let spec = LinkSpec { from: from_region, to: to_region, listen: address(from), target, round_trip };
    relays
        .link(spec)
        .with_context(|| format!("cannot open a link to {} from {}", instance(to), address(from)))
}

fn free_port(here: IpAddr, taken: &mut BTreeSet<u16>) -> anyhow::Result<SocketAddr> {
    let mut random = rand::rng();
    for _ in 0..1000 {
        let port = random.random_range(PORTS);
        let candidate = SocketAddr::new(here, port);
        if taken.insert(port) && TcpListener::bind(candidate).is_ok() {
            return Ok(candidate);
        }
    }
    bail!("no free port on {here}")
}
