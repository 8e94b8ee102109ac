//! How long this machine's disk takes to flush, beside everything that runs on it: commits wait at least as long, whoever acknowledges
//! them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a few bytes are written and flushed.
const EVERY: Duration = Duration::from_millis(50);
/// Above this, in milliseconds, what was not in time may be so because of it: a fifth of the shortest write gap that is allowed.
pub const LIMIT_MS: f64 = 100.0;

/// A thread that writes and flushes again and again, until it is dropped.
pub struct Flushes {
    ended: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flushes {
    /// To a file without a name on the disk that `dir` is on.
    pub fn start(dir: &Path) -> std::io::Result<Flushes> {
        let file = tempfile::tempfile_in(dir)?;
        let (ended, worst_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, worst) = (ended.clone(), worst_us.clone());
        let thread = thread::Builder::new().name("flushes".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // A disk that takes nothing at all has taken as long as that took to say.
                let _ = flush(&file);
                worst.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                thread::sleep(EVERY);
            }
        })?;
        Ok(Flushes { ended, worst_us, thread: Some(thread) })
    }

    /// The longest so far, in milliseconds.
    pub fn worst_ms(&self) -> f64 {
        self.worst_us.load(Ordering::Relaxed) as f64 / 1e3
    }
}

/// Always the same place: a file that grows would have the disk's journal written as well.
fn flush(file: &File) -> std::io::Result<()> {
    file.write_all_at(b"flushed\n", 0)?;
    file.sync_data()
}

impl Drop for Flushes {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it does nothing but write and sleep.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_flush_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let flushes = Flushes::start(dir.path()).unwrap();
        let begun = Instant::now();
        while flushes.worst_ms() == 0.0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was ever flushed");
            thread::yield_now();
        }
        assert!(Flushes::start(Path::new("/nowhere")).is_err());
    }
}
