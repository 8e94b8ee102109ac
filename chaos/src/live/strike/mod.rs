//! Faults, made and ended: links and callers here, what befalls one region in [`region`].

mod region;

use std::time::{Duration, Instant};

use super::stage::{Electorate, Stage, straighten_one};
use crate::cluster::ways::Ways;
use crate::gray::Struck;
use crate::hostile::{self, Hostile};
use crate::scenario::fault::{Fault, Kind};
use crate::scenario::place::{Place, Roles};

/// A fault that has begun, and what it takes to end it.
pub struct Ongoing {
    kind: Kind,
    regions: Vec<usize>,
    ways: Vec<Ways>,
    struck: Vec<Struck>,
    hostile: Option<Hostile>,
    flap: Option<Flap>,
}

/// Links that are cut and healed in turn.
struct Flap {
    period: Duration,
    turn: Instant,
    cut: bool,
}

/// Makes a fault, in that epoch.
pub async fn begin(
    stage: &mut Stage,
    fault: &Fault,
    place: &Place,
    roles: &Roles,
    epoch: u64,
) -> anyhow::Result<Ongoing> {
    let (kind, regions) = (fault.kind, roles.regions(place));
    let ways = roles.ways(place).into_iter().map(|(from, to)| Ways::OneWay(from, to)).collect();
    let mut ongoing = Ongoing { kind, regions, ways, struck: Vec::new(), hostile: None, flap: None };
    let cluster = &mut stage.cluster;
    match kind {
        Kind::Cut => ongoing.ways.iter().try_for_each(|ways| cluster.cut(ways))?,
        Kind::Link => ongoing.ways.iter().try_for_each(|ways| cluster.change(ways, fault.link))?,
        Kind::Flap => ongoing.flap = Some(Flap { period: fault.by, turn: Instant::now(), cut: false }),
        Kind::Electorate => {
            stage.electorate = None; // or the wish before would be said once more after this one
            stage.electorate = Some(Electorate::ask(&stage.cluster, ongoing.regions.clone())?);
        }
        _ if hostile::is(kind) => {
            ongoing.hostile = Some(hostile::begin(cluster, fault, &ongoing.regions, epoch)?);
        }
        _ => {
            for region in ongoing.regions.clone() {
                ongoing.struck.extend(region::strike(cluster, fault, region).await?);
            }
        }
    }
    Ok(ongoing)
}

impl Ongoing {
    /// Looks whether it is its turn to do something.
    pub fn tick(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let Some(flap) = self.flap.as_mut().filter(|flap| flap.turn <= Instant::now()) else { return Ok(()) };
        (flap.turn, flap.cut) = (Instant::now() + flap.period, !flap.cut);
        let cluster = &stage.cluster;
        match flap.cut {
            true => self.ways.iter().try_for_each(|ways| cluster.cut(ways)),
            false => self.ways.iter().try_for_each(|ways| cluster.heal(ways)),
        }
    }

    /// Ends it: what was killed comes back, what was stopped goes on.
    pub fn end(self, stage: &mut Stage) -> anyhow::Result<()> {
        let cluster = &mut stage.cluster;
        if let Some(hostile) = self.hostile {
            hostile.end();
        }
        for struck in self.struck {
            struck.end()?;
        }
        match self.kind {
            Kind::Cut | Kind::Flap => self.ways.iter().try_for_each(|ways| cluster.heal(ways))?,
            Kind::Link => {
                let usual = stage.links;
                for ways in &self.ways {
                    let Ways::OneWay(from, to) = *ways else { continue };
                    straighten_one(cluster, from, to, usual)?;
                }
            }
            _ => {}
        }
        self.regions.iter().try_for_each(|region| region::undo(cluster, self.kind, *region))
    }
}
