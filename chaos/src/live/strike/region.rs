//! What befalls one region, and what undoes it: the one room that knows by which method of the cluster each is.

use std::time::Duration;

use anyhow::bail;

use crate::cluster::admin::Admin;
use crate::cluster::faults::NothingThere;
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process, Victim};
use crate::demo::setup::as_superuser;
use crate::gray::{self, Struck};
use crate::scenario::fault::{Fault, Kind};

const PROCESSES: [Process; 2] = [Process::Node, Process::Agent];
/// What a torn write takes: a page of the disk.
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// What is done to a victim.
#[derive(Clone, Copy)]
enum Done {
    Killed,
    Stopped,
}

/// Makes a fault there. What goes on by itself until it is ended is given back.
pub async fn strike(cluster: &mut Cluster, fault: &Fault, region: usize) -> anyhow::Result<Option<Struck>> {
    let by_ms = i64::try_from(fault.by.as_millis())?;
    if let Some((victim, done)) = victim(fault.kind) {
        match done {
            Done::Killed => cluster.kill(region, victim)?,
            Done::Stopped => cluster.freeze(region, victim)?,
        };
        return Ok(None);
    }
    match fault.kind {
        Kind::FreezeBackends => {
            return gray::strike(gray::Kind::Backends, cluster, region, None).map(Some);
        }
        Kind::CrashLoop => return gray::strike(gray::Kind::CrashLoop, cluster, region, None).map(Some),
        Kind::Restart => {
            for process in [Process::Agent, Process::Node] {
                cluster.terminate_process(region, process)?;
                cluster.start_process(region, process)?;
            }
        }
        Kind::ClockAhead => cluster.set_wall_clock(region, by_ms)?,
        Kind::ClockBehind => cluster.set_wall_clock(region, -by_ms)?,
        Kind::ClocksStop => drop(cluster.shim(region)?.stop_clocks()?),
        Kind::Reset => cluster.reset_connections(region)?,
        Kind::PauseReplay => {
            let paused = as_superuser(cluster, region, "SELECT pg_wal_replay_pause()");
            let nothing = |why| NothingThere { what: format!("replay ({why:#})"), region: REGIONS[region] };
            paused.map_err(nothing)?;
        }
        Kind::LoseWal => {
            cluster.kill(region, Victim::Agent)?;
            cluster.kill(region, Victim::Postgres)?;
            cluster.lose_wal(region)?;
            cluster.revive(region, Victim::Agent)?;
        }
        Kind::TransferLeader => Admin::of(cluster)?.transfer_leader(region).await?,
        Kind::Switchover => Admin::of(cluster)?.switchover(region).await?,
        _ => starve_or_spoil(cluster, fault, region)?,
    }
    Ok(None)
}

/// The faults of disks and of what a process needs.
fn starve_or_spoil(cluster: &mut Cluster, fault: &Fault, region: usize) -> anyhow::Result<()> {
    let count = u64::from(fault.count);
    match fault.kind {
        Kind::PowerCut => drop(cluster.cut_power(region)?),
        Kind::FreezeDisk => cluster.freeze_disk(region)?,
        Kind::FillDisk => cluster.fill_disk(region)?,
        Kind::FailDisk => {
            cluster.fail_disk(region)?;
            // One would come by itself within minutes, and finds that it cannot flush what has grown.
            let _ = as_superuser(cluster, region, "CHECKPOINT");
        }
        Kind::SlowDisk => cluster.slow_disk(region, fault.by)?,
        Kind::WipeNode | Kind::FlipBit | Kind::TearTail => {
            cluster.kill(region, Victim::Node)?;
            match fault.kind {
                Kind::FlipBit => drop(cluster.flip_bit(region)?),
                Kind::TearTail => drop(cluster.tear_tail(region, PAGE)?),
                _ => cluster.wipe_node(region)?,
            }
            cluster.revive(region, Victim::Node)?;
        }
        Kind::Starve => cluster.starve(region, count)?,
        Kind::LimitMemory => cluster.limit_memory(region, count * MIB)?,
        Kind::NoDescriptors => {
            PROCESSES.iter().try_for_each(|process| cluster.exhaust_descriptors(region, *process))?;
        }
        Kind::BlockLogs => PROCESSES.iter().try_for_each(|process| cluster.block_log(region, *process))?,
        kind => bail!("{kind:?} is no fault of one region"),
    }
    Ok(())
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
        Kind::FreezeStartup => (Victim::Startup, Stopped),
        Kind::FreezeAgent => (Victim::Agent, Stopped),
        Kind::FreezeNode => (Victim::Node, Stopped),
        _ => return None,
    })
}

/// Ends a fault there: what was killed comes back, what was stopped goes on.
pub fn undo(cluster: &mut Cluster, kind: Kind, region: usize) -> anyhow::Result<()> {
    match kind {
        Kind::ClockAhead | Kind::ClockBehind => cluster.set_wall_clock(region, 0),
        Kind::ClocksStop => cluster.shim(region)?.start_clocks(),
        Kind::PowerCut => cluster.restore_region(region),
        Kind::FreezeDisk => cluster.thaw_disk(region),
        Kind::FillDisk => cluster.free_disk(region),
        Kind::FailDisk => cluster.mend_disk(region),
        Kind::SlowDisk => cluster.slow_disk(region, Duration::ZERO),
        Kind::WipeNode | Kind::FlipBit | Kind::TearTail => give_back(cluster, kind, region),
        Kind::PauseReplay => {
            // It may be a primary by now, which has nothing to replay.
            let _ = as_superuser(cluster, region, "SELECT pg_wal_replay_resume()");
            Ok(())
        }
        Kind::Starve => cluster.feed(region),
        Kind::LimitMemory => cluster.lift_memory_limit(region),
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

/// A node whose files were wiped or damaged has back what it had; not so one that found nothing missing and goes on: it has taken
/// part in something since.
fn give_back(cluster: &mut Cluster, kind: Kind, region: usize) -> anyhow::Result<()> {
    let refused = cluster.has_ended(region, Process::Node)?;
    cluster.kill(region, Victim::Node)?;
    if refused || kind == Kind::WipeNode {
        cluster.give_store_back(region)?;
    } else {
        cluster.keep_store(region)?;
    }
    cluster.revive(region, Victim::Node)
}
