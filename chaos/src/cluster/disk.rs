//! A disk of its own: an ext4 in a file, which loses power, fills, freezes and fails without anybody else noticing. Needs root,
//! and the right to mount.
//!
//! The file is on a tmpfs of its own: what the disk has taken is there, whatever happens to the ext4 above it, and the tmpfs
//! can be made to take no more, which is a disk that fails.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

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
        let start = Instant::now();
        loop {
            match umount2(&self.mount, MntFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::EBUSY) if start.elapsed() < BUSY => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => bail!("cannot unmount {}: {error}", self.mount.display()),
            }
        }
    }

    /// Mounts it, as after a boot: its journal is replayed.
    pub fn plug_in(&self) -> anyhow::Result<()> {
        // What is deleted gives its memory back.
        run("mount", [OsStr::new("-o"), "loop,discard".as_ref(), self.image().as_ref(), self.mount.as_ref()])
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

/// Ends every disk under `dir`, whoever made it: writes that wait go on, and nothing stays mounted.
pub fn remove_all_under(dir: &Path) {
    // The last that was mounted first: it may lie on another.
    mounted_under(dir).iter().rev().for_each(|path| remove(path));
}

/// Lets every write under `dir` go on that waits for a frozen disk: who waits cannot be killed.
pub fn thaw_all_under(dir: &Path) {
    mounted_under(dir).iter().for_each(|path| thaw(path));
}

fn mounted_under(dir: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    paths.filter(|path| path.starts_with(dir) && path != dir).collect()
}

fn thaw(mount: &Path) {
    // A frozen disk may be read. Refused by what is not frozen, and by what is no disk.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(mount);
    if let Ok(directory) = directory {
        // SAFETY: the descriptor is open; the kernel does not look at the number.
        let _ = unsafe { ioctl::thaw(directory.as_raw_fd(), &mut 0) };
    }
}

fn remove(mount: &Path) {
    thaw(mount);
    // Who still works on it must not keep it. Refused where nothing is mounted.
    let _ = umount2(mount, MntFlags::MNT_DETACH);
}

fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    const SMALL: u64 = 32 << 20;

    fn disk(dir: &tempfile::TempDir) -> Option<Disk> {
        match Disk::unavailable() {
            Some(why) => {
                eprintln!("skipped: {}: {why}", std::thread::current().name().unwrap_or("a test of disks"));
                None
            }
            None => Some(Disk::make(&dir.path().join("disk"), SMALL, None).unwrap()),
        }
    }

    #[test]
    fn what_was_flushed_survives_a_power_cut_and_what_was_not_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir) else { return };
        let mut file = File::create(disk.path().join("log")).unwrap();
        file.write_all(b"flushed").unwrap();
        file.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        file.write_all(b" and more").unwrap();
        drop(file);
        fs::write(disk.path().join("other"), "never flushed").unwrap();
        disk.cut_power().unwrap();
        assert!(fs::read_dir(disk.path()).unwrap().next().is_none(), "it is unmounted");
        disk.plug_in().unwrap();
        assert_eq!(fs::read_to_string(disk.path().join("log")).unwrap(), "flushed");
        assert!(!disk.path().join("other").exists());
    }

    #[test]
    fn a_flush_fails_once_and_the_next_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir) else { return };
        let mut file =
            OpenOptions::new().create_new(true).read(true).write(true).open(disk.path().join("log")).unwrap();
        disk.fail().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the kernel tells of it once");
        disk.mend().unwrap();
        drop(file);
        let mut after = File::create(disk.path().join("after")).unwrap();
        after.write_all(b"whole").unwrap();
        after.sync_all().unwrap();
    }

    #[test]
    fn a_full_disk_takes_nothing_until_room_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir) else { return };
        disk.fill().unwrap();
        let full = fs::write(disk.path().join("more"), vec![1; 1 << 16]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(disk.path().join("more"), vec![1; 1 << 16]).unwrap();
    }

    #[test]
    fn whoever_made_a_disk_it_is_gone_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir) else { return };
        disk.freeze().unwrap();
        std::mem::forget(disk);
        let home = dir.path().canonicalize().unwrap();
        assert_eq!(mounted_under(&home).len(), 2);
        remove_all_under(&home);
        assert!(mounted_under(&home).is_empty());
        let mut text = String::new();
        let mut devices = File::open("/proc/mounts").unwrap();
        devices.rewind().unwrap();
        devices.read_to_string(&mut text).unwrap();
        assert!(!text.contains(home.to_str().unwrap()));
    }
}
