//! A disk by itself: what it keeps, what it loses, what it refuses.

use std::io::{Read, Seek, Write};

use super::mounts::mounted_under;
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
fn what_was_settled_survives_and_nothing_else_does_because_time_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = disk(&dir) else { return };
    fs::write(disk.path().join("before"), "long ago").unwrap();
    disk.settle().unwrap();
    fs::write(disk.path().join("after"), "never flushed").unwrap();
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap();
    let options = mounted.lines().find(|line| line.split(' ').nth(1) == disk.path().to_str()).unwrap();
    assert!(options.contains("commit=3600"), "{options}");
    disk.cut_power().unwrap();
    disk.plug_in().unwrap();
    assert_eq!(fs::read_to_string(disk.path().join("before")).unwrap(), "long ago");
    assert!(!disk.path().join("after").exists());
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
