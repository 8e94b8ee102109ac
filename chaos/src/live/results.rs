//! Where runs are recorded: a directory of this session, with one for each run. What went well is removed, unless all is kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::choice::Run;

/// The session's directory.
pub struct Results {
    path: PathBuf,
    keep: bool,
    number: usize,
}

impl Results {
    /// Makes it.
    pub fn create(keep: bool) -> anyhow::Result<Results> {
        let made = tempfile::Builder::new().prefix("live-").tempdir();
        let path = made.context("no directory for what is recorded")?.keep();
        Ok(Results { path, keep, number: 0 })
    }

    /// The session's directory, if anything is left in it.
    pub fn path(&self) -> Option<&Path> {
        let mut entries = fs::read_dir(&self.path).ok()?;
        entries.next().map(|_| self.path.as_path())
    }

    /// A directory for a run.
    pub fn begin(&mut self, run: &Run) -> anyhow::Result<PathBuf> {
        self.number += 1;
        let dir = self.path.join(format!("{:02}-{}-{}", self.number, run.scenario.name, run.seed));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// It is over.
    pub fn end(&self, dir: &Path, well: bool) -> anyhow::Result<()> {
        if well && !self.keep {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }

    /// Where it is, if it is still there.
    pub fn kept<'a>(&self, dir: &'a Path) -> Option<&'a Path> {
        dir.exists().then_some(dir)
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // Only when nothing is left in it.
        let _ = fs::remove_dir(&self.path);
    }
}
