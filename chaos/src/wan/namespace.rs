//! Network namespaces: made, named, entered, emptied, and found again when a run was killed.
//!
//! A namespace lives as long as somebody holds it. Its name is a mount under `/run/netns`, as `ip netns` makes them, which
//! outlives a run that is killed. So each run holds a lock on each of its namespaces: the kernel gives the lock back however a
//! run ends, and a later run that gets it knows that nobody cares any more. Names need root; in a user namespace there are
//! none, and nothing that could be left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAMES: &str = "/run/netns";
/// Every name begins with this; what does not is somebody else's.
const PREFIX: &str = "regent-wan-";
const OF_THREAD: &str = "/proc/thread-self/ns/net";
/// Longer than this to die by SIGKILL means stuck in the kernel.
const DYING: Duration = Duration::from_secs(20);

/// A network namespace that this process made.
pub(super) struct Namespace {
    held: Flock<File>,
    name: Option<String>,
}

/// The right to give and take names, one process at a time; none where names cannot be given.
pub(super) struct Names(#[allow(dead_code, reason = "the lock is given back on drop")] Flock<File>);

impl Names {
    /// Waits for it.
    pub fn lock() -> Option<Names> {
        fs::create_dir_all(NAMES).ok()?;
        let directory = File::open(NAMES).ok()?;
        Flock::lock(directory, FlockArg::LockExclusive).ok().map(Names)
    }

    /// Removes what runs that were killed have left, and says which names that were.
    pub fn sweep(&self) -> Vec<String> {
        let names = fs::read_dir(NAMES).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut left: Vec<String> =
            names.filter(|name| name.starts_with(PREFIX) && self.take(name)).collect();
        left.sort();
        left
    }

    /// Removes one that nobody holds.
    fn take(&self, name: &str) -> bool {
        let path = path(name);
        let Ok(file) = File::open(&path) else { return false };
        let Ok(held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return false };
        // Who cannot be killed stays, without a name.
        let _ = end_all_in(&held);
        forget(&path);
        true
    }

    /// Says whether it could: root of a user namespace has no say over what is outside.
    fn give(&self, name: &str) -> io::Result<bool> {
        match self.mount(&path(name)) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn mount(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().create_new(true).write(true).open(path)?;
        let nothing: Option<&str> = None;
        let mounted = mount(Some(OF_THREAD), path, nothing, MsFlags::MS_BIND, nothing);
        if mounted.is_err() {
            fs::remove_file(path)?;
        }
        Ok(mounted?)
    }
}

/// The name of a run's region.
pub(super) fn name(run: &str, region: &str) -> String {
    format!("{PREFIX}{run}-{region}")
}

impl Namespace {
    /// Makes one and puts the calling thread into it, for ever: for a thread of its own.
    pub fn enter_new(name: &str, names: Option<&Names>) -> io::Result<Namespace> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let file = File::open(OF_THREAD)?;
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        let named = names.map_or(Ok(false), |names| names.give(name))?;
        Ok(Namespace { held, name: named.then(|| name.to_owned()) })
    }

    /// Puts the calling thread into it, for ever.
    pub fn enter(&self) -> io::Result<()> {
        enter(&*self.held)
    }

    /// A handle for a process that is to enter it.
    pub fn handle(&self) -> io::Result<File> {
        self.held.try_clone()
    }

    /// What is typed before a command to run it in here.
    pub fn entry(&self) -> String {
        let (own, fd) = (std::process::id(), self.held.as_raw_fd());
        match &self.name {
            Some(name) => format!("ip netns exec {name}"),
            None => format!("nsenter --user --preserve-credentials --target {own} --net=/proc/{own}/fd/{fd}"),
        }
    }
}

/// The namespace that this process began in: the one of its first thread, wherever the calling one is.
pub(super) fn of_process() -> io::Result<File> {
    File::open("/proc/self/ns/net")
}

/// Puts the calling thread into a namespace. A plain system call: it may stand between fork and exec.
pub(super) fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Whoever is in it ends with it.
impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = end_all_in(&self.held);
        if let Some(name) = &self.name {
            forget(&path(name));
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

fn forget(path: &Path) {
    // Fails where a run was killed between making the file and mounting on it.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

/// Sends SIGKILL to every process in a namespace, this one excepted, until there is none.
fn end_all_in(namespace: &File) -> io::Result<()> {
    let start = Instant::now();
    let namespace = namespace.metadata()?;
    loop {
        let living = processes_in((namespace.dev(), namespace.ino()))?;
        if living.is_empty() {
            return Ok(());
        }
        if start.elapsed() > DYING {
            return Err(ErrorKind::TimedOut.into());
        }
        for pid in &living {
            // It may be gone by now, which is as good.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn processes_in(namespace: (u64, u64)) -> io::Result<Vec<i32>> {
    let own = std::process::id() as i32;
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Fails for those that have ended meanwhile, for zombies, and for other users': none is ours.
    let inside = |pid: &i32| {
        let of = fs::metadata(format!("/proc/{pid}/ns/net"));
        *pid != own && of.is_ok_and(|of| (of.dev(), of.ino()) == namespace)
    };
    Ok(pids.filter(inside).collect())
}
