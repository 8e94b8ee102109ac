//! A disk of its own: an ext4 in a file, which loses power, fills, freezes and fails without anybody else noticing. Needs root,
//! and the right to mount.
//!
//! The file is on a tmpfs of its own: what the disk has taken is there, whatever happens to the ext4 above it, and the tmpfs
//! can be made to take no more, which is a disk that fails.

mod mounts;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::syncfs;

use mounts::{is_mounted, remove, thaw};
pub use mounts::{remove_all_under, thaw_all_under};

use super::run_dir::User;

/// Enough for a small database, all the log that Postgres keeps by itself, and a copy of it. What nobody has written takes
/// no memory.
pub const SIZE: u64 = 2 << 30;
/// Names, of the file and of what fills the disk.
const IMAGE: &str = "image";
const FILLER: &str = "filler";
/// What the ext4 has for itself: files that there can be, its journal, and the bytes that all of that takes.
const INODES: u32 = 16_384;
const JOURNAL_MB: u32 = 8;
const OWN: i64 = 14 << 20;
/// What the tmpfs has room for beside the file.
const SPARE: u64 = 1 << 20;
/// Longer than this nobody who was killed works on a disk.
const BUSY: Duration = Duration::from_secs(20);
/// The journal is not written either: EXT4_GOING_FLAGS_NOLOGFLUSH.
const WITHOUT_LOG: u32 = 2;

mod ioctl {
    nix::ioctl_readwrite!(
        /// FIFREEZE
        freeze,
        b'X',
        119,
        libc::c_int
    );
    nix::ioctl_readwrite!(
        /// FITHAW
        thaw,
        b'X',
        120,
        libc::c_int
    );
    nix::ioctl_read!(
        /// EXT4_IOC_SHUTDOWN
        shutdown,
        b'X',
        125,
        u32
    );
}

/// The disk. Dropping it ends whatever was done to it, and removes it with all that is on it.
pub struct Disk {
    mount: PathBuf,
    store: PathBuf,
    size: u64,
}

impl Disk {
    /// Why there can be no such disk here, if so.
    pub fn unavailable() -> Option<String> {
        let tried = tempfile::tempdir().map_err(anyhow::Error::from).and_then(|dir| {
            let disk = Disk::make(&dir.path().join("tried"), 32 << 20, None)?;
            drop(disk);
            Ok(())
        });
        tried.err().map(|error| format!("no disk of its own can be mounted: {error:#}"))
    }

    /// Makes one, whose files are to be found at `mount` and belong to `owner`, if that is not the present user.
    pub fn make(mount: &Path, size: u64, owner: Option<&User>) -> anyhow::Result<Disk> {
        let store = mount.with_extension("store");
        fs::create_dir_all(&store)?;
        fs::create_dir_all(mount)?;
        // Removed again also where what follows fails.
        let disk = Disk { mount: mount.to_owned(), store, size };
        disk.mount_store(MsFlags::empty(), size + SPARE).context("cannot mount a tmpfs")?;
        let image = File::create(disk.image())?;
        image.set_len(size)?;
        // What the ext4 needs for itself is in front, and has its room before the tmpfs can be out of it: a disk that fails
        // loses what is written, and not its journal.
        let own =
            format!("-qF -m 0 -N {INODES} -J size={JOURNAL_MB} -E packed_meta_blocks=1,lazy_itable_init=0");
        run("mkfs.ext4", own.split(' ').map(OsStr::new).chain([disk.image().as_ref()]))?;
        fallocate(&image, FallocateFlags::empty(), 0, OWN)?;
        disk.plug_in()?;
        if let Some(user) = owner {
            chown(&disk.mount, Some(user.uid), Some(user.gid))?;
        }
        Ok(disk)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// From now on every write waits.
    pub fn freeze(&self) -> anyhow::Result<()> {
        let directory = File::open(&self.mount)?;
        // SAFETY: the descriptor is open; the kernel does not look at the number.
        unsafe { ioctl::freeze(directory.as_raw_fd(), &mut 0) }.context("cannot freeze the disk")?;
        Ok(())
    }

    /// Lets them go on. Nothing happens where it is not frozen.
    pub fn thaw(&self) {
        thaw(&self.mount);
    }

    /// Takes all the room there is.
    pub fn fill(&self) -> anyhow::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.mount.join(FILLER))?;
        let mut taken = file.metadata()?.len();
        for size in [64 << 20, 1 << 20, 1 << 12] {
            loop {
                match fallocate(&file, FallocateFlags::empty(), taken as i64, size) {
                    Ok(()) => taken += size as u64,
                    Err(Errno::ENOSPC) => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.mount.join(FILLER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// From now on a flush fails of what is written where nothing was written before: the tmpfs below has no room.
    /// The kernel forgets what it could not write, so that the *next* flush of it succeeds.
    pub fn fail(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = statvfs(&self.store)?;
            let used = (now.blocks() - now.blocks_free()) * now.fragment_size();
            match self.mount_store(MsFlags::MS_REMOUNT, used) {
                Ok(()) => return Ok(()),
                // It has grown meanwhile.
                Err(Errno::EINVAL) if start.elapsed() < BUSY => {}
                Err(error) => return Err(error).context("cannot shrink the tmpfs under the disk"),
            }
        }
    }

    /// What is written is kept again.
    pub fn mend(&self) -> anyhow::Result<()> {
        self.mount_store(MsFlags::MS_REMOUNT, self.size + SPARE)
            .context("cannot grow the tmpfs under the disk")
    }

    /// Loses its power: what was not flushed is gone. Nobody may work on it any more.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        let directory = File::open(&self.mount)?;
        // SAFETY: the descriptor is open, and the number outlives the call.
        unsafe { ioctl::shutdown(directory.as_raw_fd(), &mut WITHOUT_LOG.clone()) }
            .context("cannot cut the disk's power")?;
        drop(directory);
        self.unplug()
    }

    /// Whether its file system has taken no more since one of its own writes failed.
    pub fn has_given_up(&self) -> anyhow::Result<bool> {
        Ok(statvfs(&self.mount)?.flags().contains(FsFlags::ST_RDONLY))
    }

    /// Checks it and mounts it again, as a boot after that. Nobody may work on it.
    pub fn check(&self) -> anyhow::Result<()> {
        self.unplug()?;
        let checked =
            Command::new("e2fsck").arg("-fy").arg(self.image()).output().context("cannot run e2fsck")?;
        // 1: what was wrong is right again.
        let said = String::from_utf8_lossy(&checked.stdout);
        ensure!(matches!(checked.status.code(), Some(0 | 1)), "e2fsck: {}: {said}", checked.status);
        self.plug_in()
    }

    fn unplug(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            match umount2(&self.mount, MntFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::EBUSY) if start.elapsed() < BUSY => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => bail!("cannot unmount {}: {error}", self.mount.display()),
            }
        }
    }

    /// Mounts it, as after a boot: its journal is replayed. Nothing happens where its power was never cut.
    pub fn plug_in(&self) -> anyhow::Result<()> {
        if is_mounted(&self.mount) {
            return Ok(());
        }
        // What is deleted gives its memory back, and the journal is written when somebody flushes: what nobody flushed is not
        // there after a power cut because a few seconds have passed.
        let how = "loop,discard,commit=3600";
        run("mount", [OsStr::new("-o"), how.as_ref(), self.image().as_ref(), self.mount.as_ref()])
    }

    /// Everything written so far is kept, as if it had been written long ago.
    pub fn settle(&self) -> anyhow::Result<()> {
        syncfs(File::open(&self.mount)?).context("cannot flush the disk")
    }

    /// Whatever was done to it short of a power cut is over.
    pub fn well(&self) -> anyhow::Result<()> {
        self.thaw();
        self.mend()?;
        self.free()
    }

    /// Leaves a copy of the disk's file beside it, for whoever looks into what happened.
    pub fn keep(&self) -> anyhow::Result<()> {
        let copy = self.mount.with_extension("img");
        run("cp", [OsStr::new("--sparse=always"), self.image().as_ref(), copy.as_ref()])
    }

    fn image(&self) -> PathBuf {
        self.store.join(IMAGE)
    }

    fn mount_store(&self, flags: MsFlags, size: u64) -> nix::Result<()> {
        let size = format!("size={size}");
        mount(Some("tmpfs"), &self.store, Some("tmpfs"), flags, Some(size.as_str()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for path in [&self.mount, &self.store] {
            remove(path);
            let _ = fs::remove_dir(path);
        }
    }
}

fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests;
