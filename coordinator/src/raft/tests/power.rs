//! Power cuts and full disks, on a file system of our own: a file mounted as ext4.
//!
//! A child process writes and says what was acknowledged. It is killed, the file system is shut down without flushing its
//! journal (so exactly what was not synced is gone), mounted again, and the store must hold all that was acknowledged. The
//! same with the fdatasync left out must be seen to fail, or the check would be worth nothing.
//!
//! Needs root and a loop device; says so by name when it is skipped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::raft::engine::Durability;
use crate::raft::error::StartError;
use crate::raft::fatal::EXIT_IO;
use crate::raft::open::Disk;

const DIR: &str = "REGENT_TEST_DIR";
const MUTANT: &str = "REGENT_TEST_FLUSH_ONLY";
const SIZE: &str = "REGENT_TEST_SIZE";

/// A file mounted as ext4. Gone when dropped.
struct Mount {
    image: PathBuf,
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mount {
    /// `None`, and the reason on stderr, where it cannot be had.
    fn new(test: &str, megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let mount = Self { image, at, _dir: dir };
        let made =
            run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&mount.image)).and_then(|()| mount.mount());
        if let Err(why) = made {
            eprintln!("SKIPPED {test}: needs root and a loop device: {why}");
            return None;
        }
        Some(mount)
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at))
    }

    /// What was not synced is gone.
    fn cut_power(&self) {
        // _IOR('X', 125, __u32) of ext4, and its flag for "do not even flush the journal".
        const EXT4_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(&self.at).unwrap();
        // SAFETY: the ioctl reads one u32 from the pointer, which outlives the call.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        drop(root);
        run(Command::new("umount").arg(&self.at)).unwrap();
        self.mount().unwrap();
    }

    fn data(&self) -> PathBuf {
        self.at.join("data")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing to do about a failure here; it would hide the one that matters.
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", stderr.trim())) }
}

fn writer(dir: &Path, durability: Durability, size: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "raft::tests::power::child", "--ignored", "--nocapture"]);
    command.env(DIR, dir).env(SIZE, size.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if durability == Durability::FlushOnly {
        command.env(MUTANT, "1");
    }
    command.spawn().unwrap()
}

/// Writes records, each under the next number, and says each number when it is acknowledged.
#[tokio::test]
#[ignore = "the child of the other tests in this file"]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let durability =
        if std::env::var_os(MUTANT).is_some() { Durability::FlushOnly } else { Durability::Full };
    let size: usize = std::env::var(SIZE).unwrap().parse().unwrap();
    let disk = Disk::open(Path::new(&dir), "test", 1, durability).unwrap();
    for number in disk.durable.scan("n/").len().. {
        disk.durable.put(&name(number), vec![b'x'; size]).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

fn name(number: usize) -> String {
    format!("n/{number:08}")
}

/// Lets a child write until `count` more are acknowledged, kills it, and gives the last number it said.
fn write_and_kill(dir: &Path, durability: Durability, count: usize) -> usize {
    let mut child = writer(dir, durability, 200);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line));
    let mut last = said.by_ref().nth(count).unwrap_or_else(|| {
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        panic!("the child wrote too little: {stderr}")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died counts too.
    last = said.last().unwrap_or(last);
    last
}

fn acknowledged(line: &str) -> Option<usize> {
    line.split("acknowledged ").nth(1)?.trim().parse().ok()
}

/// How many of the acknowledged records are missing.
fn missing(dir: &Path, last: usize) -> Result<usize, StartError> {
    let disk = Disk::open(dir, "test", 1, Durability::Full)?;
    let missing = (0..=last).filter(|number| disk.durable.get(&name(*number)).is_none()).count();
    super::close(disk);
    Ok(missing)
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let Some(mount) = Mount::new("what_was_acknowledged_survives_a_power_cut", 64) else { return };
    for round in 0..8 {
        let last = write_and_kill(&mount.data(), Durability::Full, 10 + 7 * round);
        mount.cut_power();
        let missing = missing(&mount.data(), last).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(missing, 0, "round {round}: of {} acknowledged", last + 1);
    }
}

#[test]
fn a_missing_fdatasync_is_seen_by_the_power_cut() {
    let Some(mount) = Mount::new("a_missing_fdatasync_is_seen_by_the_power_cut", 64) else { return };
    let last = write_and_kill(&mount.data(), Durability::FlushOnly, 50);
    mount.cut_power();
    match missing(&mount.data(), last) {
        Ok(missing) => assert!(missing > 0, "nothing of {} was lost", last + 1),
        // Lost so thoroughly that the start is refused: that is a loss seen as well.
        Err(e) => assert!(matches!(e, StartError::Lost { .. } | StartError::Corrupt { .. }), "{e}"),
    }
}

#[test]
fn a_full_disk_ends_the_process_by_name_and_it_starts_again_when_there_is_room() {
    let test = "a_full_disk_ends_the_process_by_name_and_it_starts_again_when_there_is_room";
    let Some(mount) = Mount::new(test, 32) else { return };
    let ballast = mount.at.join("ballast");
    fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let started = Instant::now();
    let output = writer(&mount.data(), Durability::Full, 60_000).wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    println!("full after {:?}: {stderr}", started.elapsed());
    assert_eq!(output.status.code(), Some(EXIT_IO), "{stderr}");
    assert!(stderr.contains("store/db") && stderr.contains("Check the disk"), "{stderr}");
    let last = String::from_utf8_lossy(&output.stdout).lines().filter_map(acknowledged).next_back().unwrap();
    fs::remove_file(ballast).unwrap();
    assert_eq!(missing(&mount.data(), last).unwrap(), 0);
    write_and_kill(&mount.data(), Durability::Full, 3);
}
