//! How the loss of the store's tail is noticed.
//!
//! sled answers a damaged file by recovering what comes before the damage: an older store that looks perfectly sound. For a
//! vote that is a broken promise. So every group of writes carries a number that grows, and after each sync that number is
//! also noted in a small file of its own. The note is written after the sync and never synced itself: it can be behind the
//! store, never ahead of it, whatever power cut comes. A store that is behind the note has lost something.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::engine::Op;
use super::record;

/// Two places in turn, in different sectors, so that a torn write spoils one of them at most.
const SLOTS: [u64; 2] = [0, 4096];
const SLOT_LEN: usize = 64;

/// The key of the number inside the store.
pub const KEY: &[u8] = b"\x00watermark";

/// The growing number, and the file it is noted in.
pub struct Watermark {
    file: File,
    path: PathBuf,
    last: u64,
}

impl Watermark {
    /// Opens the note, creating it if there is none; gives the highest number noted.
    pub fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let noted = SLOTS.iter().filter_map(|at| read_slot(&file, *at)).max().unwrap_or(0);
        Ok((Self { file, path: path.to_owned(), last: noted }, noted))
    }

    /// Goes on from what the store holds.
    pub fn resume(&mut self, stored: u64) {
        self.last = stored;
    }

    /// The change that puts the next number into the store.
    pub fn next(&mut self) -> Op {
        self.last += 1;
        Op::Put(KEY.to_vec(), record::seal(self.last.to_string().as_bytes()))
    }

    /// Notes the number. Only after the store is synced.
    pub fn record(&mut self) -> io::Result<()> {
        let mut slot = record::seal(format!("{:020}", self.last).as_bytes());
        slot.resize(SLOT_LEN, b'\n');
        self.file.write_all_at(&slot, SLOTS[(self.last % 2) as usize])
    }

    /// The file to name in an error.
    pub fn file(&self) -> &Path {
        &self.path
    }
}

fn read_slot(file: &File, at: u64) -> Option<u64> {
    // The version byte, the checksum, and twenty digits.
    let mut slot = [0; 25];
    file.read_exact_at(&mut slot, at).ok()?;
    std::str::from_utf8(record::open(&slot).ok()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_survives_a_torn_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        let (mut mark, noted) = Watermark::open(&path).unwrap();
        assert_eq!(noted, 0);
        for _ in 0..7 {
            mark.next();
            mark.record().unwrap();
        }
        assert_eq!(Watermark::open(&path).unwrap().1, 7);
        // Number 7 is in the second slot.
        mark.file.write_all_at(b"torn", SLOTS[1]).unwrap();
        assert_eq!(Watermark::open(&path).unwrap().1, 6);
    }
}
