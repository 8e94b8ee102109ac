//! A store that is not what it was must be refused by name, and never start empty.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftLogReader};
use regent_core::command::{Command, Node};
use regent_core::ids::{NodeId, RegionName};

use super::{close, open, refused};
use crate::raft::engine::Durability;
use crate::raft::error::StartError;
use crate::raft::open::Disk;
use crate::raft::types::{Entry, LogId, Proposal, Types, Vote};

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(RaftLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let node = Node { region: "north".parse::<RegionName>().unwrap(), address: format!("10.0.0.1:{index}") };
    let command = Command::SetNode { id: NodeId(index), node };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(command)) }
}

async fn append(disk: &mut Disk, entries: Vec<Entry>) {
    disk.log.append(entries, IOFlushed::<Types>::noop()).await.unwrap();
    // Durable when what is queued behind it is.
    disk.writer.write(Vec::new()).await.unwrap();
}

/// A store with a vote, thirty entries of which ten are purged, and a record.
async fn filled(dir: &Path) {
    let mut disk = open(dir).unwrap();
    disk.log.save_vote(&Vote::new(3, 1)).await.unwrap();
    for index in 0..30 {
        append(&mut disk, vec![entry(1 + index / 10, index)]).await;
    }
    disk.durable.put("floor/orders", b"seven".to_vec()).await.unwrap();
    close(disk);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let mut disk = open(dir.path()).unwrap();
    assert_eq!(disk.log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    assert_eq!(disk.log.get_log_state().await.unwrap().last_log_id, Some(log_id(3, 29)));
    let entries = disk.log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries.len(), 30);
    assert_eq!(disk.durable.get("floor/orders"), Some(b"seven".to_vec()));
    assert_eq!(disk.durable.scan("floor/").len(), 1);
    assert_eq!(disk.durable.scan("other/").len(), 0);
    disk.log.truncate_after(Some(log_id(3, 24))).await.unwrap();
    append(&mut disk, vec![entry(4, 25)]).await;
    close(disk);
    let mut disk = open(dir.path()).unwrap();
    assert_eq!(disk.log.get_log_state().await.unwrap().last_log_id, Some(log_id(4, 25)));
    close(disk);
}

#[tokio::test]
async fn a_purged_log_without_its_snapshot_is_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let mut disk = open(dir.path()).unwrap();
    disk.log.purge(log_id(1, 9)).await.unwrap();
    close(disk);
    let error = refused(open(dir.path()));
    assert!(matches!(&error, StartError::Lost { file, .. } if file.ends_with("snapshot")), "{error}");
}

#[tokio::test]
async fn a_hole_in_the_log_and_a_falling_term_are_refused() {
    for bad in [entry(3, 31), entry(2, 30)] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path()).await;
        let mut disk = open(dir.path()).unwrap();
        append(&mut disk, vec![bad]).await;
        close(disk);
        let error = refused(open(dir.path()));
        assert!(matches!(&error, StartError::Corrupt { file, .. } if file.ends_with("store/db")), "{error}");
    }
}

#[tokio::test]
async fn another_nodes_directory_and_a_foreign_clusters_are_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let before = listing(dir.path());
    for (cluster, node) in [("test", 2), ("other", 1)] {
        let error = refused(Disk::open(dir.path(), cluster, node, Durability::Full));
        assert!(
            matches!(&error, StartError::Foreign { file, .. } if file.ends_with("identity.json")),
            "{error}"
        );
        assert_eq!(listing(dir.path()), before);
    }
}

#[tokio::test]
async fn a_directory_with_files_but_no_marker_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    fs::remove_file(dir.path().join("identity.json")).unwrap();
    let before = listing(dir.path());
    let error = refused(open(dir.path()));
    assert!(matches!(error, StartError::Unmarked { .. }), "{error}");
    assert_eq!(listing(dir.path()), before);
}

#[tokio::test]
async fn two_processes_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let error = refused(open(dir.path()));
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    close(first);
    close(open(dir.path()).unwrap());
}

#[tokio::test]
async fn a_store_that_is_gone_is_a_loss() {
    for gone in ["store", "store/db"] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path()).await;
        let gone = dir.path().join(gone);
        if gone.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) }.unwrap();
        let error = refused(open(dir.path()));
        assert!(matches!(&error, StartError::Lost { file, .. } if file.ends_with("store/db")), "{error}");
    }
}

#[tokio::test]
async fn a_creation_that_was_interrupted_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()).unwrap());
    let marker = dir.path().join("identity.json");
    let creating = fs::read_to_string(&marker).unwrap().replace("used", "creating");
    fs::write(&marker, creating).unwrap();
    fs::write(dir.path().join("store/db"), b"half a file").unwrap();
    close(open(dir.path()).unwrap());
}

/// Wherever the file ends, the start is refused and names it, or nothing at all is missing.
#[tokio::test]
async fn a_store_cut_short_anywhere_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let whole = fs::metadata(dir.path().join("store/db")).unwrap().len();
    let used = used_bytes(dir.path());
    let mut refusals = 0;
    for cut in (0..16).map(|i| used * i / 16).chain([whole - 1]) {
        let copy = copied(dir.path());
        fs::File::options().write(true).open(copy.path().join("store/db")).unwrap().set_len(cut).unwrap();
        refusals += usize::from(refused_or_whole(copy.path(), &format!("cut at {cut} of {whole}")).await);
    }
    assert!(refusals >= 15, "only {refusals} refused");
}

/// Whichever bit is flipped, the start is refused and names the file, or nothing at all is missing.
#[tokio::test]
async fn a_flipped_bit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let used = used_bytes(dir.path());
    let mut refusals = 0;
    for i in 0..60 {
        let copy = copied(dir.path());
        let file = fs::File::options().read(true).write(true).open(copy.path().join("store/db")).unwrap();
        let at = used * i / 60 + i % 7;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << (i % 8))], at).unwrap();
        refusals +=
            usize::from(refused_or_whole(copy.path(), &format!("bit flipped at {at} of {used}")).await);
    }
    assert!(refusals >= 20, "only {refusals} refused");
}

/// True if refused. A start that is not refused must have everything.
async fn refused_or_whole(dir: &Path, what: &str) -> bool {
    match open(dir) {
        Err(StartError::Corrupt { file, .. } | StartError::Lost { file, .. }) => {
            assert!(file.starts_with(dir.join("store")), "{what}: names {}", file.display());
            true
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(mut disk) => {
            assert_eq!(disk.log.read_vote().await.unwrap(), Some(Vote::new(3, 1)), "{what}");
            assert_eq!(disk.log.try_get_log_entries(..).await.unwrap().len(), 30, "{what}");
            assert_eq!(disk.durable.get("floor/orders"), Some(b"seven".to_vec()), "{what}");
            close(disk);
            false
        }
    }
}

/// How far into the file there is anything but zeros.
fn used_bytes(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join("store/db")).unwrap();
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1)
}

fn copied(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

/// Every file with its contents.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(listing(&entry.path()));
        } else {
            files.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}
