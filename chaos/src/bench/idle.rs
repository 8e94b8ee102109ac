//! What nodes and agents cost while nothing happens: processor time, and memory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use super::report::Row;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::topology::RoundTrips;
use crate::cluster::{Cluster, Process};
use crate::demo::setup;
use crate::terminal::Stage;

const PATIENCE: Duration = Duration::from_secs(60);
/// Until what a start leaves to be done is done.
const SETTLING: Duration = Duration::from_secs(5);

/// The figures of one process.
#[derive(Serialize)]
pub struct Figures {
    /// Which, and in what role.
    pub process: String,
    /// Milliseconds of processor time in each second.
    pub cpu_ms_per_s: f64,
    /// Resident memory at the end.
    pub rss_mib: f64,
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] = &["process", "cpu ms/s", "rss MiB"];

    fn cells(&self) -> Vec<String> {
        vec![self.process.clone(), format!("{:.1}", self.cpu_ms_per_s), format!("{:.1}", self.rss_mib)]
    }
}

/// Waits, and reads what the kernel has counted.
pub async fn measure(round_trips: RoundTrips, seconds: u64) -> anyhow::Result<Vec<Figures>> {
    let (mut cluster, _) = setup::start(round_trips).await?;
    tokio::time::sleep(SETTLING).await;
    let before = wait_for(&mut cluster, "calm", PATIENCE, View::is_whole, |_| ()).await?;
    let stage = Stage::begin(format!("nothing happens for {seconds} s"));
    let (start, used) = (Instant::now(), all(&cluster, &before)?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (elapsed, using) = (start.elapsed(), all(&cluster, &before)?);
    let after = wait_for(&mut cluster, "calm", PATIENCE, View::is_whole, |_| ()).await?;
    ensure!(
        (after.epoch, after.leader) == (before.epoch, before.leader),
        "something happened, the figures are void: {before:?}, then {after:?}"
    );
    stage.done("and nothing did");
    let figures = used.into_iter().zip(using).map(|((process, before), (_, after))| Figures {
        process,
        cpu_ms_per_s: (after.cpu - before.cpu).as_secs_f64() * 1e3 / elapsed.as_secs_f64(),
        rss_mib: after.rss as f64 / (1024.0 * 1024.0),
    });
    Ok(figures.collect())
}

struct Used {
    cpu: Duration,
    rss: u64,
}

fn all(cluster: &Cluster, view: &View) -> anyhow::Result<Vec<(String, Used)>> {
    let mut found = Vec::new();
    for (process, name) in [(Process::Node, "regentd"), (Process::Agent, "regent-agent")] {
        for (region, here) in cluster.names().iter().enumerate() {
            let role = match process {
                Process::Node if view.leader == Some(region) => "Raft leader",
                Process::Node => "follower",
                Process::Agent if view.primary == Some(region) => "of the primary",
                Process::Agent => "of a standby",
            };
            let pid = cluster.pid(region, process).with_context(|| format!("{name} does not run"))?;
            found.push((format!("{name}, {role}, {here}"), used(pid)?));
        }
    }
    Ok(found)
}

/// The processor time of all its threads, ended ones too, and the memory.
fn used(pid: u32) -> anyhow::Result<Used> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32))?;
    let cpu = Duration::from(clock_gettime(clock)?);
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = pages.split_whitespace().nth(1).context("statm has figures")?.parse()?;
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(Used { cpu, rss: pages * u64::try_from(page)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to() {
        let own = std::process::id();
        let before = used(own).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let after = used(own).unwrap();
        assert!(after.cpu > before.cpu && after.rss > 0);
    }
}
