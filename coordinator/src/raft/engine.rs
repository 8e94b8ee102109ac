//! The bytes on disk: sled, made to keep its word.
//!
//! sled's own `flush` is not an fsync on Linux. In simulated power cuts it lost everything it had acknowledged, while
//! `kill -9` showed nothing of it. What holds is: no background flusher (it swallows errors), one tree, one atomic batch,
//! `flush`, and then an `fdatasync` on a handle of our own to its file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// One change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Forgets a key.
    Delete(Vec<u8>),
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered store of small values. Owned by one thread, so that there is one order of writes.
pub trait LogEngine: Send + 'static {
    /// Everything there is, in the order of the keys. Called once, at the start.
    fn load(&self) -> io::Result<Vec<Pair>>;
    /// Applies all of the changes or none. They need not be durable yet.
    fn write(&mut self, ops: Vec<Op>) -> io::Result<()>;
    /// When this returns, all that was written is durable.
    fn sync(&mut self) -> io::Result<()>;
    /// The file to name in an error.
    fn file(&self) -> &Path;
}

/// How far a sync goes. Only the tests have a choice: they prove that the power-cut test sees a missing fdatasync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Flush and fdatasync.
    Full,
    /// What sled calls a flush.
    #[cfg(test)]
    FlushOnly,
}

/// [`LogEngine`] on sled.
pub struct Sled {
    db: sled::Db,
    /// Our own handle to sled's file: what is synced is the file, whoever wrote it.
    file: File,
    path: PathBuf,
    durability: Durability,
}

impl Sled {
    /// Opens the store in `dir`, or creates it.
    pub fn open(dir: &Path, durability: Durability) -> io::Result<Self> {
        let config = sled::Config::new()
            .path(dir)
            .flush_every_ms(None)
            .cache_capacity(16 << 20)
            .mode(sled::Mode::HighThroughput);
        let path = dir.join("db");
        wait_until_free(&path)?;
        let db = no_panic("open", || config.open())?;
        let file = File::open(&path)?;
        let engine = Self { db, file, path, durability };
        engine.sync_directory(dir)?;
        Ok(engine)
    }

    /// At creation the names must survive as well: the files, their directory, and its name in its parent.
    fn sync_directory(&self, dir: &Path) -> io::Result<()> {
        if self.durability != Durability::Full {
            return Ok(());
        }
        no_panic("flush", || self.db.flush())?;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(dir)?.sync_all()?;
        match dir.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl LogEngine for Sled {
    fn load(&self) -> io::Result<Vec<Pair>> {
        no_panic("read", || self.db.iter().map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect())
    }

    fn write(&mut self, ops: Vec<Op>) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for op in ops {
            match op {
                Op::Put(key, value) => batch.insert(key, value),
                Op::Delete(key) => batch.remove(key),
            }
        }
        no_panic("write", || self.db.apply_batch(batch))
    }

    fn sync(&mut self) -> io::Result<()> {
        no_panic("flush", || self.db.flush())?;
        if self.durability == Durability::Full {
            nix::unistd::fdatasync(self.file.as_fd())?;
        }
        Ok(())
    }

    fn file(&self) -> &Path {
        &self.path
    }
}

/// sled locks its file and never unlocks it: the lock ends with the last copy of the handle, and a child that was just
/// forked holds a copy until its exec. Our own lock on the directory says that nobody else is there, so the rest is waited for.
fn wait_until_free(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Given up again at once, explicitly, so that no copy can keep it.
            Ok(lock) => return lock.unlock().map(drop).map_err(|(_, errno)| errno.into()),
            Err((_, errno)) if errno != Errno::EWOULDBLOCK || Instant::now() > deadline => {
                return Err(errno.into());
            }
            Err((same, _)) => file = same,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// sled panics on some damaged files where it should return an error.
fn no_panic<T>(what: &str, f: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(io::Error::from),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the store panicked in {what}"))),
    }
}
