//! A harness that is killed, with all that is to clean up after it: nothing of its run is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_chaos::cluster::run_dir::{Programs, RunDir};
use regent_chaos::cluster::{Cluster, processes};
use regent_chaos::wan;

use super::stage::{land, options};

const DYING: Duration = Duration::from_secs(30);
/// Says to the test below that it is to be killed.
const VICTIM: &str = "REGENT_CHAOS_TEST_IS_KILLED";

/// Run by the other test, in a process of its own.
#[test]
fn a_harness_that_waits_to_be_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let Some(land) = land() else { return };
    land.run(async || {
        let mut cluster = Cluster::start_with(Programs::find().unwrap(), options(&land)).unwrap();
        cluster.check_alive().unwrap();
        println!("\nrun {}", cluster.run_dir().path().display());
        std::future::pending::<()>().await;
    })
    .unwrap();
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    let _alone = super::alone();
    if land().is_none() {
        return;
    }
    for with_reaper in [false, true] {
        let (mut harness, run) = harness();
        assert_eq!(mounts(&run).len(), 6, "a disk in each region, and what it lies on");
        if with_reaper {
            let reaper = reaper_of(&run);
            kill(Pid::from_raw(reaper), Signal::SIGKILL).unwrap();
        }
        harness.kill().unwrap();
        harness.wait().unwrap();
        if with_reaper {
            // What the next run does when it begins.
            drop(RunDir::create(&Programs::find().unwrap(), 3).unwrap());
            wan::sweep();
        }
        let start = Instant::now();
        while let Some(left) = left(&run, harness.id()) {
            assert!(start.elapsed() < DYING, "reaper killed: {with_reaper}; left: {left}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A harness of its own with a cluster that runs.
fn harness() -> (Child, PathBuf) {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(own);
    command.args(["--exact", "killed::a_harness_that_waits_to_be_killed", "--nocapture"]).env(VICTIM, "1");
    let mut harness = command.stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(harness.stdout.take().unwrap());
    let run = said.lines().find_map(|line| Some(PathBuf::from(line.ok()?.strip_prefix("run ")?)));
    (harness, run.expect("a harness says where its run is"))
}

fn reaper_of(run: &Path) -> i32 {
    let wanted = format!("reap\0{}\0", run.display());
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
    };
    pids.find(is_it).expect("a run has a reaper")
}

/// What there still is of a run.
fn left(run: &Path, harness: u32) -> Option<String> {
    let alive = processes::under(run).unwrap();
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut names = names.map(|name| name.file_name().to_string_lossy().into_owned());
    let named = names.find(|name| name.starts_with(&format!("regent-wan-{harness}-")));
    let leases = Path::new("/dev/shm").join(run.file_name().unwrap());
    let found = [
        (!alive.is_empty()).then(|| format!("processes {alive:?}")),
        mounts(run).pop(),
        named,
        run.exists().then(|| run.display().to_string()),
        leases.exists().then(|| leases.display().to_string()),
    ];
    found.into_iter().flatten().next()
}

fn mounts(run: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = mounts.lines().filter(|line| line.contains(&format!("{}/", run.display())));
    ours.map(str::to_owned).collect()
}
