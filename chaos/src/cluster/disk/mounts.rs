//! What is mounted under a directory, whoever did it: let go on, and removed.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::ioctl;

/// Ends every disk under `dir`, whoever made it: writes that wait go on, and nothing stays mounted.
pub fn remove_all_under(dir: &Path) {
    // The last that was mounted first: it may lie on another.
    mounted_under(dir).iter().rev().for_each(|path| remove(path));
}

/// Lets every write under `dir` go on that waits for a frozen disk: who waits cannot be killed.
pub fn thaw_all_under(dir: &Path) {
    mounted_under(dir).iter().for_each(|path| thaw(path));
}

pub(super) fn mounted_under(dir: &Path) -> Vec<PathBuf> {
    mounted().into_iter().filter(|path| path.starts_with(dir) && path != dir).collect()
}

pub(super) fn is_mounted(path: &Path) -> bool {
    mounted().iter().any(|mounted| mounted == path)
}

/// In the order in which it was mounted.
fn mounted() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from).collect()
}

pub(super) fn thaw(mount: &Path) {
    // A frozen disk may be read. Refused by what is not frozen, and by what is no disk.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(mount);
    if let Ok(directory) = directory {
        // SAFETY: the descriptor is open; the kernel does not look at the number.
        let _ = unsafe { ioctl::thaw(directory.as_raw_fd(), &mut 0) };
    }
}

pub(super) fn remove(mount: &Path) {
    thaw(mount);
    // Who still works on it must not keep it. Refused where nothing is mounted.
    let _ = umount2(mount, MntFlags::MNT_DETACH);
}
