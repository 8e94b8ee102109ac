//! The directory of one run: binaries, and per region its files. Gone when the run is over, whatever ended it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use super::reaper::{self, Held};
use super::topology::REGIONS;
use crate::wan;

/// Unprivileged account for the processes, when the harness is root (Postgres refuses to run as root).
#[derive(Clone, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Where the programs come from.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Directory with `regentd`, `regent-agent`, `regent` and `regent-chaos`.
    pub bin_dir: PathBuf,
    /// The gate, as built by `deploy/build-gate`.
    pub gate: PathBuf,
    /// Directory with `postgres`, `initdb`, `pg_waldump`.
    pub postgres_bin: PathBuf,
}

/// The directory, and a process that outlives the harness just long enough to clean up after it.
pub struct RunDir {
    path: PathBuf,
    leases: PathBuf,
    user: Option<User>,
    reaper: Child,
    keep: bool,
    _held: Held,
}

impl Programs {
    /// The programs beside the running one, and a Postgres.
    pub fn find() -> anyhow::Result<Programs> {
        let own = std::env::current_exe()?;
        let mut bin_dir = own.parent().context("a program lives in a directory")?.to_path_buf();
        if bin_dir.ends_with("deps") {
            bin_dir.pop();
        }
        let gate = bin_dir.join("../gate/regent_gate.so");
        let programs = Programs { bin_dir, gate, postgres_bin: postgres_bin()? };
        for name in ["regentd", "regent-agent", "regent", "regent-chaos"] {
            let program = programs.bin_dir.join(name);
            if !program.exists() {
                let profile = if programs.bin_dir.ends_with("release") { " --release" } else { "" };
                bail!("{} is missing: run `cargo build --workspace --bins{profile}`", program.display());
            }
        }
        if !programs.gate.exists() {
            bail!("{} is missing: run `./deploy/build-gate`", programs.gate.display());
        }
        Ok(programs)
    }
}

/// Where the programs of Postgres are: in `REGENT_PG_BIN`, else those of the newest that is installed.
pub fn postgres_bin() -> anyhow::Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("REGENT_PG_BIN").map(PathBuf::from) {
        if !chosen.join("postgres").exists() {
            bail!("REGENT_PG_BIN is {}: expected a directory with the program postgres", chosen.display());
        }
        return Ok(chosen);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    versions.sort();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|dir| dir.join("postgres").exists() && dir.join("initdb").exists())
    };
    let newest = versions.pop().map(|(_, bin)| bin);
    newest.or_else(on_path).context("no Postgres: looked for /usr/lib/postgresql/*/bin/postgres and on PATH")
}

impl RunDir {
    /// Makes the directory, copies the programs into it (a build directory may be closed to the unprivileged
    /// user) and starts the reaper. There are so many regions.
    pub fn create(programs: &Programs, regions: usize) -> anyhow::Result<RunDir> {
        for left in reaper::sweep() {
            eprintln!("removed {}, left by a run that was killed with its reaper", left.display());
        }
        let path = tempfile::Builder::new().prefix(reaper::PREFIX).tempdir()?.keep().canonicalize()?;
        let held = reaper::hold(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let leases = reaper::leases(&path);
        let mut reaper = Command::new(programs.bin_dir.join("regent-chaos"));
        reaper.args([Path::new("reap"), &path, &leases]).stdin(Stdio::piped()).stdout(Stdio::null());
        // Ctrl-C at the terminal reaches the harness and not the reaper.
        reaper.process_group(0);
        if user()?.is_some() {
            // The end of the harness's region is none of its own.
            wan::outside(&mut reaper)?;
        }
        let reaper = reaper.spawn().context("cannot start the reaper")?;
        let run = RunDir { path, leases, user: user()?, reaper, keep: false, _held: held };
        run.copy_programs(programs)?;
        for region in 0..regions {
            run.make(&run.region(region))?;
            run.make(&run.lease_dir(region))?;
        }
        Ok(run)
    }

    /// The whole run's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A copied program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.path.join("bin").join(name)
    }

    /// The gate's copy.
    pub fn gate(&self) -> PathBuf {
        self.program("regent_gate.so")
    }

    /// Where everything in a region works and leaves its files.
    pub fn region(&self, region: usize) -> PathBuf {
        self.path.join(REGIONS[region])
    }

    /// Where a region's lease files are: on tmpfs.
    pub fn lease_dir(&self, region: usize) -> PathBuf {
        self.leases.join(REGIONS[region])
    }

    /// Account to run as, if not the present one.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Leaves the files (logs, data) where they are when the run is over.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether they stay.
    pub(super) fn keeps(&self) -> bool {
        self.keep
    }

    /// Creates a directory that belongs to the account the processes run as.
    pub fn make(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        if let Some(user) = &self.user {
            chown(dir, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }

    fn copy_programs(&self, programs: &Programs) -> anyhow::Result<()> {
        fs::create_dir(self.path.join("bin"))?;
        for name in ["regentd", "regent-agent", "regent"] {
            fs::copy(programs.bin_dir.join(name), self.program(name))?;
        }
        fs::copy(&programs.gate, self.gate())?;
        Ok(())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.keep {
            let _ = fs::write(self.path.join(reaper::KEEP), "");
        }
        // The end of its standard input is the reaper's signal; who still says something is alive.
        if let Some(mut reaper) = self.reaper.stdin.take() {
            let _ = reaper.write_all(reaper::ALIVE);
        }
        let _ = self.reaper.wait();
    }
}

/// Whom to run as: nobody else, unless this is root.
pub fn user() -> anyhow::Result<Option<User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(found) = nix::unistd::User::from_name(name)? {
            let name = name.to_string();
            return Ok(Some(User { name, uid: found.uid.as_raw(), gid: found.gid.as_raw() }));
        }
    }
    bail!("Postgres does not run as root, and there is neither a user postgres nor nobody")
}
