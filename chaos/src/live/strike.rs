//! Faults, made and ended: the one room that knows by which method of the cluster each is.

use std::time::{Duration, Instant};

use super::stage::{Stage, plain};
use crate::cluster::admin::Admin;
use crate::cluster::faults::victim::Victim;
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

/// Makes a fault.
pub async fn begin(stage: &mut Stage, fault: &Fault, place: &Place, roles: &Roles) -> anyhow::Result<Ongoing> {
    let (kind, regions) = (fault.kind, roles.regions(place));
    let ways = roles.ways(place).into_iter().map(|(from, to)| Ways::OneWay(from, to)).collect();
    let mut ongoing = Ongoing { kind, regions, ways, struck: Vec::new(), hostile: None, flap: None };
    let cluster = &mut stage.cluster;
    match kind {
        Kind::Cut => ongoing.ways.iter().try_for_each(|ways| cluster.cut(ways))?,
        Kind::Link => ongoing.ways.iter().try_for_each(|ways| cluster.change(ways, fault.link))?,
        Kind::Flap => ongoing.flap = Some(Flap { period: fault.by, turn: Instant::now(), cut: false }),
        _ if hostile::is(kind) => ongoing.hostile = Some(hostile::begin(cluster, fault, &ongoing.regions)?),
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
    let behind = |by: Duration| i64::try_from(by.as_millis());
    match fault.kind {
        Kind::FreezeBackends | Kind::CrashLoop => struck.push(gray::strike(half_dead(fault.kind), cluster, region)?),
        Kind::Restart => {
            for process in [Process::Agent, Process::Node] {
                cluster.terminate_process(region, process)?;
                cluster.start_process(region, process)?;
            }
        }
        Kind::ClockAhead => cluster.set_wall_clock(region, behind(fault.by)?)?,
        Kind::ClockBehind => cluster.set_wall_clock(region, -behind(fault.by)?)?,
        Kind::ClocksStop => drop(cluster.shim(region)?.stop_clocks()?),
        Kind::PowerCut => drop(cluster.cut_power(region)?),
        Kind::FreezeDisk => cluster.freeze_disk(region)?,
        Kind::FillDisk => cluster.fill_disk(region)?,
        Kind::FailDisk => cluster.fail_disk(region)?,
        Kind::SlowDisk => cluster.slow_disk(region, fault.by)?,
        Kind::WipeNode => {
            cluster.kill_process(region, Process::Node)?;
            cluster.wipe_node(region)?;
            cluster.start_process(region, Process::Node)?;
        }
        Kind::PauseReplay => drop(as_superuser(cluster, region, "SELECT pg_wal_replay_pause()")?),
        Kind::TransferLeader => Admin::of(cluster)?.transfer_leader(region).await?,
        Kind::Switchover => Admin::of(cluster)?.switchover(region).await?,
        Kind::Starve => cluster.starve(region, u64::from(fault.count))?,
        Kind::NoDescriptors => {
            PROCESSES.iter().try_for_each(|process| cluster.exhaust_descriptors(region, *process))?;
        }
        Kind::BlockLogs => PROCESSES.iter().try_for_each(|process| cluster.block_log(region, *process))?,
        kind => match victim(kind) {
            Some((victim, Done::Killed)) => drop(cluster.kill(region, victim)?),
            Some((victim, Done::Stopped)) => drop(cluster.freeze(region, victim)?),
            None => anyhow::bail!("nothing is known of how to do this in one region"),
        },
    }
    Ok(())
}

const PROCESSES: [Process; 2] = [Process::Node, Process::Agent];

fn half_dead(kind: Kind) -> gray::Kind {
    if kind == Kind::CrashLoop { gray::Kind::CrashLoop } else { gray::Kind::Backends }
}

/// What is done to a victim.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Killed,
    Stopped,
}

/// Whom a fault kills or stops.
fn victim(kind: Kind) -> Option<(Victim, Done)> {
    use Done::{Killed, Stopped};
    Some(match kind {
        Kind::KillRegion => (Victim::Region, Killed),
        Kind::KillPostgres => (Victim::Postgres, Killed),
        Kind::KillPostmaster => (Victim::Postmaster, Killed),
        Kind::KillBackend => (Victim::Backend, Killed),
        Kind::KillAgent => (Victim::Agent, Killed),
        Kind::KillNode => (Victim::Node, Killed),
        Kind::FreezeRegion => (Victim::Region, Stopped),
        Kind::FreezePostgres => (Victim::Postgres, Stopped),
        Kind::FreezePostmaster => (Victim::Postmaster, Stopped),
        Kind::FreezeBackend => (Victim::Backend, Stopped),
        Kind::FreezeAgent => (Victim::Agent, Stopped),
        Kind::FreezeNode => (Victim::Node, Stopped),
        _ => return None,
    })
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
                    cluster.change(ways, plain())?;
                    cluster.change(ways, usual)?;
                }
            }
            _ => {}
        }
        self.regions.iter().try_for_each(|region| undo(cluster, self.kind, *region))
    }
}

fn undo(cluster: &mut Cluster, kind: Kind, region: usize) -> anyhow::Result<()> {
    match kind {
        Kind::ClockAhead | Kind::ClockBehind => cluster.set_wall_clock(region, 0),
        Kind::ClocksStop => cluster.shim(region)?.start_clocks(),
        Kind::PowerCut => cluster.restore_region(region),
        Kind::FreezeDisk => cluster.thaw_disk(region),
        Kind::FillDisk => cluster.free_disk(region),
        Kind::FailDisk => cluster.mend_disk(region),
        Kind::SlowDisk => cluster.slow_disk(region, Duration::ZERO),
        Kind::WipeNode => {
            cluster.kill_process(region, Process::Node)?;
            cluster.unwipe_node(region)?;
            cluster.start_process(region, Process::Node)
        }
        Kind::PauseReplay => {
            // It may be a primary by now, which has nothing to replay.
            let _ = as_superuser(cluster, region, "SELECT pg_wal_replay_resume()");
            Ok(())
        }
        Kind::Starve => cluster.feed(region),
        Kind::NoDescriptors => {
            PROCESSES.iter().try_for_each(|process| cluster.release_descriptors(region, *process))
        }
        Kind::BlockLogs => PROCESSES.iter().try_for_each(|process| cluster.unblock_log(region, *process)),
        kind => match victim(kind) {
            Some((victim, Done::Killed)) => cluster.revive(region, victim),
            Some((_, Done::Stopped)) => cluster.thaw(region),
            None => Ok(()),
        },
    }
}
