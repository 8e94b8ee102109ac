//! Control groups: how much of a processor some processes have together. In either hierarchy, the older one or the newer, whichever
//! has this machine's processors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Of so many microseconds a group has some.
const PERIOD_US: u64 = 100_000;
const OLD: &str = "/sys/fs/cgroup/cpu";
const NEW: &str = "/sys/fs/cgroup";

/// Made when it is first asked for. Nobody removes it before the run is over, when there are no processes in it.
pub(super) struct ControlGroup {
    path: PathBuf,
    old: bool,
}

impl ControlGroup {
    /// The one of a region of a run.
    pub fn of(run: &Path, region: &str) -> anyhow::Result<ControlGroup> {
        let old = Path::new(OLD).join("cpu.cfs_quota_us").exists();
        let controllers = fs::read_to_string(Path::new(NEW).join("cgroup.controllers")).unwrap_or_default();
        if !old && !controllers.split_whitespace().any(|name| name == "cpu") {
            bail!("no control group has the processors: expected {OLD}, or cpu in {NEW}/cgroup.controllers");
        }
        if !old {
            // It may be so already, or this user may not: what follows says it.
            let _ = fs::write(Path::new(NEW).join("cgroup.subtree_control"), "+cpu");
        }
        let path = Path::new(if old { OLD } else { NEW }).join(format!("{}-{region}", name(run)?));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot make the control group {}", path.display()))
            }
            _ => Ok(ControlGroup { path, old }),
        }
    }

    /// So much of one processor, in percent, or all there is.
    pub fn limit(&self, percent: Option<u64>) -> anyhow::Result<()> {
        let quota_us = percent.map(|percent| PERIOD_US * percent / 100);
        match (self.old, quota_us) {
            (true, Some(quota_us)) => {
                self.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                self.write("cpu.cfs_quota_us", &quota_us.to_string())
            }
            (true, None) => self.write("cpu.cfs_quota_us", "-1"),
            (false, Some(quota_us)) => self.write("cpu.max", &format!("{quota_us} {PERIOD_US}")),
            (false, None) => self.write("cpu.max", "max"),
        }
    }

    /// A process is in it from now on, with what it starts.
    pub fn take(&self, pid: i32) -> anyhow::Result<()> {
        match fs::write(self.path.join("cgroup.procs"), pid.to_string()) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done.with_context(|| format!("cannot put {pid} into {}", self.path.display())),
        }
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
    }
}

/// Removes those of a run whose processes have ended.
pub(super) fn remove_all_of(run: &Path) {
    let Ok(prefix) = name(run).map(|name| format!("{name}-")) else { return };
    for root in [OLD, NEW] {
        let groups = fs::read_dir(root).into_iter().flatten().flatten();
        let ours = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&prefix));
        ours.for_each(|group| drop(fs::remove_dir(group.path())));
    }
}

fn name(run: &Path) -> anyhow::Result<String> {
    let name = run.file_name().context("a run directory has a name")?;
    Ok(name.to_string_lossy().into_owned())
}
