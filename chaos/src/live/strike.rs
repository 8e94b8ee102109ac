//! Faults, made and ended: the one room that knows by which method of the cluster each is.

use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::stage::{Stage, straighten_one};
use crate::cluster::admin::Admin;
use crate::cluster::ways::Ways;
use crate::cluster::{Cluster, Process};
use crate::demo::setup::as_superuser;
use crate::gray::{self, Struck};
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
        _ if hostile::is(kind) => {
            ongoing.hostile = Some(hostile::begin(cluster, fault, &ongoing.regions, epoch)?);
        }
        _ => {
            for region in ongoing.regions.clone() {
                strike(cluster, fault, region, &mut ongoing.struck).await?;
            }
        }
    }
    Ok(ongoing)
}

async fn strike(
    cluster: &mut Cluster,
    fault: &Fault,
    region: usize,
    struck: &mut Vec<Struck>,
) -> anyhow::Result<()> {
    match fault.kind {
        Kind::FreezeBackends | Kind::CrashLoop => {
            struck.push(gray::strike(half_dead(fault.kind), cluster, region, None)?)
        }
        Kind::FreezePostmaster => struck.push(gray::strike(gray::Kind::Postmaster, cluster, region, None)?),
        Kind::FreezePostgres => struck.push(gray::strike(gray::Kind::Mute, cluster, region, None)?),
        Kind::Restart => {
            for process in [Process::Agent, Process::Node] {
                cluster.terminate_process(region, process)?;
                cluster.start_process(region, process)?;
            }
        }
        Kind::ClocksStop => drop(cluster.shim(region)?.stop_clocks()?),
        Kind::PauseReplay => drop(as_superuser(cluster, region, "SELECT pg_wal_replay_pause()")?),
        Kind::TransferLeader => Admin::of(cluster)?.transfer_leader(region).await?,
        Kind::Switchover => Admin::of(cluster)?.switchover(region).await?,
        Kind::KillRegion => drop(cluster.kill_region(region)?),
        Kind::KillPostgres => drop(cluster.kill_postgres(region)?),
        Kind::KillAgent => drop(cluster.kill_process(region, Process::Agent)?),
        Kind::KillNode => drop(cluster.kill_process(region, Process::Node)?),
        Kind::FreezeRegion => drop(cluster.freeze_region(region)?),
        Kind::FreezeAgent => signal(cluster.pid(region, Process::Agent), Signal::SIGSTOP)?,
        Kind::FreezeNode => signal(cluster.pid(region, Process::Node), Signal::SIGSTOP)?,
        Kind::KillPostmaster => signal(cluster.postmaster(region)?.map(i32::unsigned_abs), Signal::SIGKILL)?,
        kind => anyhow::bail!("{kind:?} is no fault of one region"),
    }
    Ok(())
}

fn signal(pid: Option<u32>, signal: Signal) -> anyhow::Result<()> {
    let pid = pid.context("expected a process that runs")?;
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

fn half_dead(kind: Kind) -> gray::Kind {
    if kind == Kind::CrashLoop { gray::Kind::CrashLoop } else { gray::Kind::Backends }
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
        self.regions.iter().try_for_each(|region| undo(cluster, self.kind, *region))
    }
}

fn undo(cluster: &mut Cluster, kind: Kind, region: usize) -> anyhow::Result<()> {
    match kind {
        Kind::ClocksStop => cluster.shim(region)?.start_clocks(),
        Kind::PauseReplay => {
            // It may be a primary by now, which has nothing to replay.
            let _ = as_superuser(cluster, region, "SELECT pg_wal_replay_resume()");
            Ok(())
        }
        Kind::KillRegion => cluster.restore_region(region),
        Kind::KillAgent | Kind::KillNode => cluster.start_processes(region),
        Kind::FreezeRegion | Kind::FreezeAgent | Kind::FreezeNode => cluster.thaw_region(region),
        _ => Ok(()),
    }
}
