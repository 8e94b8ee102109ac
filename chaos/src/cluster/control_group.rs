//! Control groups: how much of a processor, or of memory, some processes have together. In either hierarchy, the older one or the
//! newer, whichever has that on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

const ROOT: &str = "/sys/fs/cgroup";
/// Of so many microseconds a group has some.
const PERIOD_US: u64 = 100_000;

/// What is shared out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Processor,
    Memory,
}

impl Resource {
    const ALL: [Resource; 2] = [Resource::Processor, Resource::Memory];

    fn controller(self) -> &'static str {
        match self {
            Resource::Processor => "cpu",
            Resource::Memory => "memory",
        }
    }

    /// Its directory in the older hierarchy.
    fn old_root(self) -> PathBuf {
        Path::new(ROOT).join(self.controller())
    }

    /// Files and what to write to them, for so much of it: percent of one processor, or bytes.
    fn limits(self, old: bool, most: Option<u64>) -> Vec<(&'static str, String)> {
        let said = |most: Option<u64>, none: &str| most.map_or(none.to_owned(), |most| most.to_string());
        let quota_us = most.map(|percent| PERIOD_US * percent / 100);
        match (self, old) {
            (Resource::Processor, true) => {
                vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", said(quota_us, "-1"))]
            }
            (Resource::Processor, false) => {
                vec![("cpu.max", format!("{} {PERIOD_US}", said(quota_us, "max")))]
            }
            (Resource::Memory, true) => vec![("memory.limit_in_bytes", said(most, "-1"))],
            (Resource::Memory, false) => vec![("memory.max", said(most, "max"))],
        }
    }
}

/// Why there can be no such group here, if so.
pub fn unavailable() -> Option<String> {
    let tried = PathBuf::from(format!("regent-tried-{}", std::process::id()));
    let made = Resource::ALL.into_iter().try_for_each(|resource| {
        let group = ControlGroup::of(&tried, "here", resource)?;
        group.limit(None)
    });
    remove_all_of(&tried);
    made.err().map(|error| format!("no processor and no memory can be shared out: {error:#}"))
}

/// Made when it is first asked for. Nobody removes it before the run is over, when there are no processes in it.
pub(super) struct ControlGroup {
    path: PathBuf,
    old: bool,
    resource: Resource,
}

impl ControlGroup {
    /// The one of a region of a run.
    pub fn of(run: &Path, region: &str, resource: Resource) -> anyhow::Result<ControlGroup> {
        let (controller, old_root) = (resource.controller(), resource.old_root());
        let old = old_root.join("cgroup.procs").exists();
        let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
        if !old && !controllers.split_whitespace().any(|name| name == controller) {
            let root = old_root.display();
            bail!("no control group has {controller}: expected {root}, or it in {ROOT}/cgroup.controllers");
        }
        if !old {
            // It may be so already, or this user may not: what follows says it.
            let _ = fs::write(Path::new(ROOT).join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let root = if old { old_root } else { ROOT.into() };
        let path = root.join(format!("{}-{region}", name(run)?));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot make the control group {}", path.display()))
            }
            _ => Ok(ControlGroup { path, old, resource }),
        }
    }

    /// So much of it: percent of one processor, or bytes of memory beside what its processes had before they were in it. All
    /// there is, if none.
    pub fn limit(&self, most: Option<u64>) -> anyhow::Result<()> {
        self.resource.limits(self.old, most).into_iter().try_for_each(|(file, text)| {
            let path = self.path.join(file);
            fs::write(&path, &text).with_context(|| format!("cannot write {text} to {}", path.display()))
        })
    }

    /// A process is in it from now on, with what it starts.
    pub fn take(&self, pid: i32) -> anyhow::Result<()> {
        match fs::write(self.path.join("cgroup.procs"), pid.to_string()) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done.with_context(|| format!("cannot put {pid} into {}", self.path.display())),
        }
    }
}

/// Removes those of a run whose processes have ended.
pub(super) fn remove_all_of(run: &Path) {
    let Ok(prefix) = name(run).map(|name| format!("{name}-")) else { return };
    for root in Resource::ALL.map(Resource::old_root).into_iter().chain([ROOT.into()]) {
        let groups = fs::read_dir(root).into_iter().flatten().flatten();
        let ours = groups.filter(|group| group.file_name().to_string_lossy().starts_with(&prefix));
        ours.for_each(|group| drop(fs::remove_dir(group.path())));
    }
}

fn name(run: &Path) -> anyhow::Result<String> {
    let name = run.file_name().context("a run directory has a name")?;
    Ok(name.to_string_lossy().into_owned())
}
