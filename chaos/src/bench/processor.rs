//! Who may run on which processor: a figure "on one core" is taken of a process that has no other.

use std::fs;

use anyhow::{Context, ensure};

/// Some of this machine's processors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Processors {
    /// Every one.
    All,
    /// The one that what is measured has for itself.
    Measured,
    /// All but that one.
    Others,
}

/// Binds every thread of a process; what it starts later inherits that.
pub fn bind(pid: u32, to: Processors) -> anyhow::Result<()> {
    // SAFETY: asks for a number. Not `available_parallelism`: that is what the present binding leaves.
    let all = usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) })?;
    ensure!(all > 1, "one processor is too few: what measures must not share it with what is measured");
    let chosen = |one: &usize| to == Processors::All || (*one == 0) == (to == Processors::Measured);
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = thread?.file_name();
        let id: i32 = name.to_str().and_then(|id| id.parse().ok()).context("a thread has a number")?;
        set(id, (0..all).filter(chosen))?;
    }
    Ok(())
}

fn set(thread: i32, processors: impl Iterator<Item = usize>) -> anyhow::Result<()> {
    // SAFETY: the set is plain data, and the kernel copies it.
    let done = unsafe {
        let mut wanted: libc::cpu_set_t = std::mem::zeroed();
        processors.for_each(|one| libc::CPU_SET(one, &mut wanted));
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &wanted)
    };
    let error = std::io::Error::last_os_error();
    // A thread that has ended meanwhile needs no processor.
    ensure!(done == 0 || error.raw_os_error() == Some(libc::ESRCH), "cannot bind thread {thread}: {error}");
    Ok(())
}
