//! Copying the upstream.

use std::path::{Path, PathBuf};

use super::error::PostgresError;
use super::settings::{Settings, Upstream};
use super::{Server, Synchronous, config, configure, files, lockfile};

/// A copy is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// Where the directory that was there before is now.
    pub replaced: Option<PathBuf>,
}

impl Server {
    /// Copies the upstream beside the data directory and, when the copy is whole, puts it in place. What was there is moved
    /// aside and kept. When anything fails, it has not been touched.
    ///
    /// `progress` is called with each line that `pg_basebackup` reports. Dropping the future ends the copying.
    pub async fn clone_from(
        &self,
        upstream: &Upstream,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Cloned, PostgresError> {
        let _alone = self.changing.lock().await;
        let scratch = self.begin_copy().await?;
        let copied = self.copy(upstream, &scratch, progress).await;
        self.end_copy(scratch, copied, upstream).await
    }

    /// An empty directory for the copy.
    pub(super) async fn begin_copy(&self) -> Result<PathBuf, PostgresError> {
        self.make_way().await?;
        let settings = self.settings.clone();
        files::off_thread(move || {
            files::refuse_mount_point(&settings.data_dir)?;
            files::scratch(&settings.data_dir, settings.run_as)
        })
        .await
    }

    /// Puts the copy in place, or, if there is none, removes what there is of it.
    pub(super) async fn end_copy(
        &self,
        scratch: PathBuf,
        copied: Result<(), PostgresError>,
        upstream: &Upstream,
    ) -> Result<Cloned, PostgresError> {
        let (settings, upstream) = (self.settings.clone(), upstream.clone());
        files::off_thread(move || {
            let placed = copied.and_then(|()| settle(&settings, &upstream, &scratch));
            if placed.is_err() && scratch.exists() {
                files::discard_scratch(&scratch);
            }
            placed
        })
        .await
    }

    async fn copy(
        &self,
        upstream: &Upstream,
        scratch: &Path,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), PostgresError> {
        let tool = self
            .upstream_tool("pg_basebackup")
            .arg("-D")
            .arg(scratch)
            .arg("-d")
            .arg(config::conninfo(&self.settings, upstream, None))
            .args(["--wal-method=stream", "--checkpoint=fast", "--progress", "--no-password"]);
        tool.run_with_progress(progress).await.map(drop)
    }
}

/// Everything is written into the copy before it takes the name, so that it can never start as a second primary.
fn settle(settings: &Settings, upstream: &Upstream, scratch: &Path) -> Result<Cloned, PostgresError> {
    as_standby_of(settings, upstream, scratch)?;
    // Somebody may have started a server while this was copying.
    lockfile::refuse_running(&settings.data_dir)?;
    Ok(Cloned { replaced: files::put_in_place(scratch, &settings.data_dir)? })
}

/// Replaces the configuration that came from the upstream by this instance's own.
pub(super) fn as_standby_of(
    settings: &Settings,
    upstream: &Upstream,
    data_dir: &Path,
) -> Result<(), PostgresError> {
    let owner = settings.run_as;
    files::write_whole(&data_dir.join("standby.signal"), "", owner)?;
    configure::write_fixed(settings, data_dir)?;
    let text = config::upstream(settings, Some(upstream));
    files::write_if_different(&data_dir.join(config::UPSTREAM_FILE), &text, owner)?;
    // The upstream's list came with its files. Its places are another agent's, and not those that the gate here is told.
    let nobody = config::synchronous(&Synchronous::Off);
    files::write_if_different(&data_dir.join(config::SYNCHRONOUS_FILE), &nobody, owner)
}
