//! Processes, held by file descriptors so that a number that was reused can never be mistaken for one of them.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::PostgresError;

/// A postmaster: a child of this process, or one found running.
#[derive(Debug)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    fd: AsyncFd<OwnedFd>,
    /// Kept to be reaped. An adopted one is reaped by whoever is its parent.
    child: Mutex<Option<Child>>,
    asked: AtomicBool,
}

impl Postmaster {
    /// Takes hold of a child just started.
    pub(super) fn of_child(child: Child) -> io::Result<Self> {
        let pid = child.id() as i32;
        Ok(Postmaster { pid, fd: hold(pid)?, child: Mutex::new(Some(child)), asked: AtomicBool::new(false) })
    }

    /// Takes hold of whatever process has this number now; the caller looks what it is *afterwards*.
    pub(super) fn of_pid(pid: i32) -> io::Result<Self> {
        Ok(Postmaster { pid, fd: hold(pid)?, child: Mutex::new(None), asked: AtomicBool::new(false) })
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, and a timeout of zero.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready == 0
    }

    /// Waits for its end; resolves at once if that was before.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        // The descriptor stays readable from the end of the process on, and readiness is never cleared here.
        let _ = self.fd.readable().await;
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Whether it ended within `patience`.
    pub(super) async fn ends_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended()).await.is_ok()
    }

    /// Notes that its end is wanted.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether its end was wanted.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Sends a signal to exactly this process; that it has ended already is fine.
    pub(super) fn signal(&self, signal: Signal) {
        send(&self.fd, signal);
    }
}

fn hold(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = open(pid)?;
    // SAFETY: an `OwnedFd` stays the same open descriptor until it is dropped, and only the `AsyncFd` drops it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a system call with integer arguments.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn send(fd: &impl AsRawFd, signal: Signal) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a descriptor that is open, and no siginfo.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal as i32, no_info, 0) };
}

/// Whether the process is a Postgres process that works in `data_dir`.
///
/// Each of them, the postmaster and its children, runs `postgres` with the data directory as its working directory.
pub(super) fn works_in(pid: i32, data_dir: &Path) -> io::Result<bool> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    // An executable that was upgraded meanwhile is shown as `postgres (deleted)`.
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.trim_end_matches(" (deleted)") != "postgres" {
        return Ok(false);
    }
    let cwd = fs::metadata(format!("/proc/{pid}/cwd"))?;
    let data = fs::metadata(data_dir)?;
    Ok((cwd.dev(), cwd.ino()) == (data.dev(), data.ino()))
}

/// Kills what a dead postmaster left behind, and waits until it is gone.
///
/// Children of Postgres end by themselves when their postmaster dies, but only when they next look; until then they could
/// still write, and no new server could start. Each has its own session, so no signal to a group reaches them.
pub(super) async fn kill_leftovers(data_dir: &Path) -> Result<usize, PostgresError> {
    kill_but(data_dir, None).await
}

/// The same for all processes in the directory but the postmaster, which starts no new ones: it is hung, or was told to stop.
pub(super) async fn kill_children(data_dir: &Path, postmaster: i32) -> Result<usize, PostgresError> {
    kill_but(data_dir, Some(postmaster)).await
}

async fn kill_but(data_dir: &Path, spared: Option<i32>) -> Result<usize, PostgresError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut killed = std::collections::BTreeSet::new();
    loop {
        let mut left = leftovers(data_dir);
        left.retain(|(pid, _)| Some(*pid) != spared);
        if left.is_empty() {
            return Ok(killed.len());
        }
        if Instant::now() > deadline {
            return Err(PostgresError::Unkillable { pids: left.into_iter().map(|(pid, _)| pid).collect() });
        }
        for (pid, fd) in left {
            send(&fd, Signal::SIGKILL);
            killed.insert(pid);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn leftovers(data_dir: &Path) -> Vec<(i32, OwnedFd)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            // Looked at, held, and looked at again: a number reused in between does not pass.
            works_in(pid, data_dir).ok().filter(|works| *works)?;
            let fd = open(pid).ok()?;
            works_in(pid, data_dir).ok().filter(|works| *works)?;
            Some((pid, fd))
        })
        .collect()
}
