//! The end of a run: processes first, then what Postgres leaves in the kernel when it is killed.
//!
//! A postmaster that is told to stop takes its shared memory along; one that was killed leaves a System V segment, whose
//! id is in its `postmaster.pid`. (What else it shares, the demo's servers keep in files of their data directory.)

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{disk, processes};

/// What a region's own disk is mounted on.
pub(super) const DISK: &str = "disk";
/// How long a server may take to stop at once before it is killed.
const STOPPING: Duration = Duration::from_secs(3);

/// A data directory with a server in it that runs, or was killed.
struct Left {
    data_dir: PathBuf,
    postmaster: i32,
    segment: Option<(i32, i32)>,
}

/// Ends every process that works under `run`, and frees the shared memory of the servers there.
pub fn end_all(run: &Path) -> anyhow::Result<usize> {
    disk::thaw_all_under(run);
    let left = servers(run);
    let count = processes::under(run)?.len();
    // First whoever would start a server again.
    for pid in processes::under(run)? {
        if !left.iter().any(|server| works_in(pid, &server.data_dir)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let running = left.iter().filter(|server| works_in(server.postmaster, &server.data_dir));
    for server in running {
        let _ = kill(Pid::from_raw(server.postmaster), Signal::SIGQUIT);
    }
    let start = Instant::now();
    while start.elapsed() < STOPPING && !processes::under(run)?.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    processes::kill_all_under(run).context("cannot end everything")?;
    left.iter().filter_map(|server| server.segment).for_each(free);
    Ok(count)
}

fn works_in(pid: i32, dir: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
}

/// Servers in the regions of `run`, and on their disks.
fn servers(run: &Path) -> Vec<Left> {
    let children = |dir: &PathBuf| -> Vec<PathBuf> {
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let first = children(&run.to_path_buf());
    let second: Vec<PathBuf> = first.iter().flat_map(children).collect();
    let third: Vec<PathBuf> = second.iter().filter(|dir| dir.ends_with(DISK)).flat_map(children).collect();
    first.into_iter().chain(second).chain(third).filter_map(server).collect()
}

/// `postmaster.pid`: the process's id in the first line, the segment's key and id in the seventh.
fn server(data_dir: PathBuf) -> Option<Left> {
    let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let postmaster = lines.first()?.trim().parse().ok()?;
    let mut numbers = lines.get(6).copied().unwrap_or_default().split_whitespace();
    let segment = numbers.next().and_then(|key| Some((key.parse().ok()?, numbers.next()?.parse().ok()?)));
    Some(Left { data_dir, postmaster, segment })
}

/// Removes a segment, if it is still the one with that key and nobody uses it.
fn free((key, id): (i32, i32)) {
    // SAFETY: the structure is plain data, and the kernel fills it in; wrong ids are refused.
    unsafe {
        let mut found: libc::shmid_ds = std::mem::zeroed();
        let is_there = libc::shmctl(id, libc::IPC_STAT, &mut found) == 0;
        if is_there && found.shm_perm.__key == key && found.shm_nattch == 0 {
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_of_a_killed_server_is_freed() {
        let run = tempfile::tempdir().unwrap();
        let data_dir = run.path().join("us-east/postgres");
        fs::create_dir_all(&data_dir).unwrap();
        let key = std::process::id() as i32;
        // SAFETY: asks the kernel for a segment of its own; nothing is mapped.
        let id = unsafe { libc::shmget(key, 56, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
        assert!(id >= 0, "no segment: {}", std::io::Error::last_os_error());
        let of_another = format!("999999999\n/d\n1\n5432\n/s\nlocalhost\n {} {id}\nready\n", key + 1);
        let exists = || {
            // SAFETY: as above.
            unsafe { libc::shmget(key, 56, 0) >= 0 }
        };
        fs::write(data_dir.join("postmaster.pid"), &of_another).unwrap();
        end_all(run.path()).unwrap();
        assert!(exists(), "the id was given to somebody else meanwhile");
        fs::write(
            data_dir.join("postmaster.pid"),
            of_another.replace(&(key + 1).to_string(), &key.to_string()),
        )
        .unwrap();
        end_all(run.path()).unwrap();
        assert!(!exists());
    }
}
