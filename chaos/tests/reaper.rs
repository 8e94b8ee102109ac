//! Whatever ends the harness, nothing of its run is left.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regent_chaos::cluster::processes;

fn reaper(run: &Path, leases: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regent-chaos"));
    command.arg("reap").args([run, leases]).stdin(Stdio::piped()).spawn().unwrap()
}

fn wait_for_process_under(dir: &Path) {
    let start = Instant::now();
    while processes::under(dir).unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing runs under {}", dir.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_end_of_the_harness_ends_the_run() {
    let home = tempfile::tempdir().unwrap().keep().canonicalize().unwrap();
    let (run, leases) = (home.join("run"), home.join("leases"));
    fs::create_dir(&run).unwrap();
    fs::create_dir(&leases).unwrap();
    let daemon = ["-c", "setsid -f sleep 600"];
    let mut shell = processes::spawn(Path::new("/bin/sh"), &daemon, &run, &home.join("log"), None).unwrap();
    shell.wait().unwrap();
    wait_for_process_under(&run);
    let mut reaper = reaper(&run, &leases);
    std::thread::sleep(Duration::from_millis(300));
    assert!(reaper.try_wait().unwrap().is_none(), "the reaper waits for the harness to end");
    assert!(run.exists());
    // What the kernel does for a harness that was killed.
    drop(reaper.stdin.take());
    assert!(reaper.wait().unwrap().success());
    assert!(processes::under(&run).unwrap().is_empty());
    assert!(!run.exists() && !leases.exists());
    fs::remove_dir_all(home).unwrap();
}

#[test]
fn files_are_kept_on_request_and_processes_are_not() {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().canonicalize().unwrap().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("keep"), "").unwrap();
    let mut sleeper =
        processes::spawn(Path::new("/bin/sleep"), &["600"], &run, &run.join("log"), None).unwrap();
    let mut reaper = reaper(&run, &home.path().join("leases"));
    drop(reaper.stdin.take());
    assert!(reaper.wait().unwrap().success());
    assert!(!sleeper.wait().unwrap().success());
    assert!(run.join("log").exists());
}
