//! Why an operation on the local Postgres failed, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::directory::ControlState;
use super::settings::Upstream;

/// What can go wrong with the local server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A setting cannot be used.
    #[error("setting {setting}: expected {expected}, got {got:?}")]
    Setting {
        /// Its name.
        setting: String,
        /// What is accepted.
        expected: &'static str,
        /// What was there.
        got: String,
    },
    /// The operator set a parameter that the agent has to decide.
    #[error("parameter {name} is set by the agent itself: take it out of `parameters`")]
    OwnedParameter {
        /// Its name.
        name: String,
    },
    /// A line of the operator's configuration cannot be read.
    #[error("{}, line {line}: {what}; Postgres would not start with it", .file.display())]
    BadConfiguration {
        /// The file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A program is not there.
    #[error("looked for {binary} in {}: not found. Install PostgreSQL 13 or newer, server and client tools, or set bin_dir", list(.looked_in))]
    MissingBinary {
        /// The program.
        binary: String,
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// The binaries are too old.
    #[error("{} says {got:?}: expected PostgreSQL {expected} or newer. Set bin_dir to a newer one", .binary.display())]
    TooOld {
        /// The program that was asked.
        binary: PathBuf,
        /// The oldest accepted.
        expected: u32,
        /// What it said.
        got: String,
    },
    /// A program could not be started at all.
    #[error("could not run {}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status}): {output}")]
    Tool {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// A program did not end in time and was killed.
    #[error("{program} did not end within {seconds} s and was killed")]
    ToolTimeout {
        /// The program.
        program: String,
        /// How long it had.
        seconds: u64,
    },
    /// A file operation failed.
    #[error("could not {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What the operator's program has made is not what was wanted.
    #[error("the clone command made no copy of the group's database: {what}; nothing was replaced")]
    NotTheCopy {
        /// Expected and got.
        what: String,
    },
    /// There is something in the directory already.
    #[error("{} is not empty: it is left as it is. Start it, clone over it, or move it away", .0.display())]
    NotEmpty(PathBuf),
    /// The directory holds no cluster that could be used.
    #[error("{} holds no usable cluster: {what}", .path.display())]
    NoCluster {
        /// The directory.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// The directory cannot be replaced by renaming.
    #[error("{} is a mount point, so it cannot be replaced by renaming: set data_dir to a directory below it", .0.display())]
    MountPoint(PathBuf),
    /// The cluster belongs to another major version.
    #[error("{} was made by PostgreSQL {directory}, but the binaries are {binaries}: set bin_dir to those of {directory}", .path.display())]
    VersionMismatch {
        /// The directory.
        path: PathBuf,
        /// Its major version.
        directory: u32,
        /// That of the binaries.
        binaries: u32,
    },
    /// A standby cannot become a primary by being started as one.
    #[error("{} was a standby ({state}): started as a primary it would stay on its timeline. Start it as a standby and promote it", .path.display())]
    WasStandby {
        /// The directory.
        path: PathBuf,
        /// What its control file says.
        state: ControlState,
    },
    /// A server runs on the directory.
    #[error("a server (process {pid}) is running on {}: stop it, or adopt it", .path.display())]
    Running {
        /// Its postmaster.
        pid: i32,
        /// The directory.
        path: PathBuf,
    },
    /// No server runs.
    #[error("no server is running on {}: start it first", .0.display())]
    NotRunning(PathBuf),
    /// Somebody else listens there.
    #[error("{address} port {port} is in use by another process: end it, or choose another port")]
    PortInUse {
        /// The address.
        address: String,
        /// The port.
        port: u16,
    },
    /// The postmaster ended before it listened.
    #[error("postgres ended while starting ({status}); the end of {}: {tail}", .log.display())]
    StartFailed {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The lines it wrote in this start.
        tail: String,
    },
    /// The postmaster neither listens nor ends.
    #[error("postgres (process {pid}) did not listen within {seconds} s; it is left running, see {}", .log.display())]
    StartTimeout {
        /// Its process.
        pid: i32,
        /// How long it had.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// Processes survive SIGKILL: they hang in the kernel, usually on a disk.
    #[error(
        "processes {pids:?} of the server do not die: their disk may hang; nothing may be started on this directory"
    )]
    Unkillable {
        /// Which.
        pids: Vec<i32>,
    },
    /// The local connection failed.
    #[error("local connection through {}: {what}", .socket.display())]
    Sql {
        /// The directory of the socket.
        socket: PathBuf,
        /// What the driver or the server said.
        what: String,
    },
    /// A parameter did not take the value that was written.
    #[error(
        "{parameter} is {got:?} after a reload, expected {expected:?}; set in {place}: remove it there (ALTER SYSTEM RESET {parameter})"
    )]
    NotApplied {
        /// Its name.
        parameter: &'static str,
        /// What was written.
        expected: String,
        /// What Postgres uses.
        got: String,
        /// The file that wins.
        place: String,
    },
    /// What only this instance has of the log cannot be copied aside, so the rewind that would remove it does not begin.
    #[error(
        "the log that only this instance has needs {needed} bytes in {}, free are {free}: make room there; the rewind waits, \
         and begins by itself",
        .path.display()
    )]
    NoRoom {
        /// Where it would be kept.
        path: PathBuf,
        /// How much it is, with what has to stay free, in bytes.
        needed: u64,
        /// How much is free there, in bytes.
        free: u64,
    },
    /// The upstream cannot be used for this.
    #[error("upstream {upstream}: {what}")]
    Upstream {
        /// Who.
        upstream: Upstream,
        /// Expected and got.
        what: String,
    },
}

impl PostgresError {
    /// For `map_err` on a file operation.
    pub(super) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> PostgresError {
        let path = path.into();
        move |source| PostgresError::File { what, path, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}
