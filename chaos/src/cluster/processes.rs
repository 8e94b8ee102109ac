//! Starting processes, and finding and killing all of them, including those that nobody here started.
//!
//! Every process of a region works in a directory under the region's own (Postgres makes its data directory the
//! working directory of the postmaster and of each backend). So "every process of a region" is a question to
//! /proc that needs no list of ids, misses no daemon, and cannot hit a stranger whose id was reused.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::run_dir::User;

/// Longer than this to die by SIGKILL means stuck in the kernel.
const DYING: Duration = Duration::from_secs(20);

/// Starts `program` in `dir`, in a process group of its own, with its output appended to `log`.
pub fn spawn(
    program: &Path,
    args: &[&str],
    dir: &Path,
    log: &Path,
    user: Option<&User>,
) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(args);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    spawn_command(command, dir, append(log)?, user)
}

/// A log, to be written on.
pub fn append(log: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.with_context(|| format!("cannot open {}", log.display()))
}

/// The same of a command that has its arguments and its user.
pub fn spawn_command(
    mut command: Command,
    dir: &Path,
    output: File,
    user: Option<&User>,
) -> anyhow::Result<Child> {
    command.current_dir(dir).process_group(0);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // What overrides the configuration of a program that somebody runs here is not meant for these.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REGENT_")) {
        command.env_remove(name);
    }
    if let Some(user) = user {
        command.env("HOME", dir).env("USER", &user.name);
    }
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Ids of all processes that work in `dir` or below, this one excepted.
pub fn under(dir: &Path) -> io::Result<BTreeSet<i32>> {
    let own = std::process::id() as i32;
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Fails for processes that have ended meanwhile, for zombies, and for other users': none is ours.
        let Ok(works_in) = fs::read_link(format!("/proc/{pid}/cwd")) else { continue };
        if pid != own && works_in.starts_with(dir) {
            found.insert(pid);
        }
    }
    Ok(found)
}

/// Sends SIGKILL to every process under `dir` until there is none. Returns how many there were.
pub fn kill_all_under(dir: &Path) -> anyhow::Result<usize> {
    let start = Instant::now();
    let mut killed = BTreeSet::new();
    loop {
        let living = under(dir)?;
        if living.is_empty() {
            return Ok(killed.len());
        }
        ensure!(start.elapsed() < DYING, "{living:?} under {} survive SIGKILL", dir.display());
        for pid in &living {
            // It may be gone by now, which is as good.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        killed.extend(living);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal to every process under `dir`, also to those that begin meanwhile. Returns how many there were.
pub fn signal_all_under(dir: &Path, signal: Signal) -> anyhow::Result<usize> {
    let mut told = BTreeSet::new();
    loop {
        let untold: Vec<i32> = under(dir)?.difference(&told).copied().collect();
        if untold.is_empty() {
            return Ok(told.len());
        }
        for pid in &untold {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        told.extend(untold);
    }
}

/// Collects the exit status of a child that was killed, or kills it first.
pub fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_left_its_session_is_found_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let inner = home.join("data");
        fs::create_dir(&inner).unwrap();
        let log = home.join("log");
        let script = "cd data && setsid -f sleep 600; sleep 600";
        let mut child = Some(spawn(Path::new("/bin/sh"), &["-c", script], &home, &log, None).unwrap());
        let start = Instant::now();
        while under(&inner).unwrap().len() < 2 {
            assert!(start.elapsed() < DYING, "the daemon did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(kill_all_under(&home).unwrap() >= 2);
        end(&mut child);
        assert!(under(&home).unwrap().is_empty());
        assert!(!under(Path::new("/")).unwrap().is_empty(), "strangers live on");
    }
}
