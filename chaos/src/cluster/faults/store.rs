//! Damage to what a node has on its disk, done while it does not run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Turns a bit in the middle of what was written to a node's store, and says in which file.
pub(super) fn flip_bit(node: &Path) -> anyhow::Result<PathBuf> {
    let (path, written) = log(node)?;
    let file = File::options().read(true).write(true).open(&path)?;
    let (mut byte, at) = ([0], written / 2);
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(path)
}

/// Takes so many bytes from the end of what was written to a node's store, and says of which file.
pub(super) fn tear_tail(node: &Path, bytes: u64) -> anyhow::Result<PathBuf> {
    let (path, written) = log(node)?;
    ensure!(bytes <= written, "{} has {written} bytes: expected at least {bytes}", path.display());
    File::options().write(true).open(&path)?.set_len(written - bytes)?;
    Ok(path)
}

/// The file that a node's store is in, and how much of it was written: it is made longer before.
fn log(node: &Path) -> anyhow::Result<(PathBuf, u64)> {
    let path = node.join("store/db");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let last = bytes.iter().rposition(|byte| *byte != 0);
    let written = last.with_context(|| format!("nothing is in {}", path.display()))? + 1;
    Ok((path, written as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_damaged_and_not_the_room_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let db = dir.path().join("store/db");
        let write = || fs::write(&db, [&[7; 10][..], &[0; 30]].concat()).unwrap();
        write();
        assert_eq!(flip_bit(dir.path()).unwrap(), db);
        let damaged = fs::read(&db).unwrap();
        assert_eq!(damaged.iter().filter(|byte| **byte == 6).count(), 1);
        assert_eq!(damaged.len(), 40);
        write();
        tear_tail(dir.path(), 3).unwrap();
        assert_eq!(fs::read(&db).unwrap(), [7; 7]);
        assert!(tear_tail(dir.path(), 8).is_err());
    }
}
