//! `postmaster.pid`: who runs on the data directory.

use std::fs;
use std::path::Path;

use super::error::PostgresError;
use super::process::{Postmaster, works_in};

/// The lines of `postmaster.pid` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockFile {
    /// The process; negative for a backend without a postmaster (`postgres --single`).
    pub(super) pid: i32,
    /// Whether it has opened its sockets: it says its status only then.
    pub(super) listening: bool,
}

/// Who holds the data directory.
#[derive(Debug)]
pub(super) enum Holder {
    /// Nobody; perhaps a file is left whose process is gone.
    Nobody,
    /// A live server.
    Server(Postmaster),
    /// `postgres --single`.
    SingleUser(i32),
    /// The file names a live process that is no server of this directory: the number was reused.
    Stale(i32),
}

/// Reads the file, if it is there and whole.
pub(super) fn read(data_dir: &Path) -> Option<LockFile> {
    let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    let status = lines.nth(6).unwrap_or_default().trim();
    Some(LockFile { pid, listening: matches!(status, "starting" | "ready" | "standby") })
}

/// Finds out who holds the directory: by what the process is, not by its number alone.
pub(super) fn holder(data_dir: &Path) -> Result<Holder, PostgresError> {
    let Some(LockFile { pid, .. }) = read(data_dir) else { return Ok(Holder::Nobody) };
    if pid == 0 {
        return Ok(Holder::Nobody);
    }
    let held = match Postmaster::of_pid(pid.abs()) {
        Ok(held) => held,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Holder::Nobody),
        Err(source) => {
            return Err(PostgresError::File {
                what: "hold the process named by",
                path: lock_path(data_dir),
                source,
            });
        }
    };
    let works = works_in(held.pid, data_dir);
    // It is held since before it was looked at: if it lives still, it is what was looked at.
    if !held.is_alive() {
        return Ok(Holder::Nobody);
    }
    match works {
        Ok(true) if pid < 0 => Ok(Holder::SingleUser(held.pid)),
        Ok(true) => Ok(Holder::Server(held)),
        Ok(false) => Ok(Holder::Stale(held.pid)),
        Err(source) => Err(PostgresError::File {
            what: "look at the process named by",
            path: lock_path(data_dir),
            source,
        }),
    }
}

/// Refuses when anything runs on the directory.
pub(super) fn refuse_running(data_dir: &Path) -> Result<(), PostgresError> {
    match holder(data_dir)? {
        Holder::Server(Postmaster { pid, .. }) | Holder::SingleUser(pid) => {
            Err(PostgresError::Running { pid, path: data_dir.to_owned() })
        }
        Holder::Nobody | Holder::Stale(_) => Ok(()),
    }
}

/// Where the file is.
pub(super) fn lock_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("postmaster.pid")
}
