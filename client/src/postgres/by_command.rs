//! A copy that a program of the operator's makes (a restored backup), in the place of `pg_basebackup`. It is believed nothing:
//! what it leaves behind is looked at before anything is replaced by it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::unistd::Uid;

use super::error::PostgresError;
use super::settings::{RunAs, Upstream};
use super::tool::Tool;
use super::{Cloned, Directory, Server, config, directory, files, lockfile, own};

/// What a restored cluster may say of its recovery that would end it somewhere, or tie it to somebody.
const NOT_KEPT: [&str; 9] = [
    "primary_slot_name",
    "recovery_end_command",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
];

/// A program that makes a copy.
#[derive(Debug, Clone)]
pub struct CloneCommand {
    /// The program, and what it is given.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// What it is told, besides where to put the copy and whom it can be taken from.
    pub environment: Vec<(&'static str, String)>,
}

impl Server {
    /// As `clone_from`, but the copy is made by that program, in the directory that `REGENT_DATA_DIR` says. It has to be one
    /// of the database with this system identifier.
    ///
    /// `progress` is called with each line that the program says.
    pub async fn clone_by(
        &self,
        by: &CloneCommand,
        upstream: &Upstream,
        system_id: u64,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Cloned, PostgresError> {
        let _alone = self.changing.lock().await;
        let scratch = self.begin_copy().await?;
        let copied = self.have_copied(by, upstream, system_id, &scratch, progress).await;
        self.end_copy(scratch, copied, upstream).await
    }

    async fn have_copied(
        &self,
        by: &CloneCommand,
        upstream: &Upstream,
        system_id: u64,
        scratch: &Path,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), PostgresError> {
        let (program, arguments) = by.command.split_first().ok_or_else(|| PostgresError::Setting {
            setting: "clone.command".into(),
            expected: "a program and its arguments",
            got: String::new(),
        })?;
        let mut tool = Tool::of_the_operator(program, self.settings.run_as).timeout(by.timeout);
        for argument in arguments {
            tool = tool.arg(argument);
        }
        for (name, value) in &by.environment {
            tool = tool.env(name, value);
        }
        tool.env("REGENT_DATA_DIR", &scratch.display().to_string())
            .env("REGENT_UPSTREAM_HOST", &upstream.host)
            .env("REGENT_UPSTREAM_PORT", &upstream.port.to_string())
            .env("REGENT_SYSTEM_ID", &system_id.to_string())
            .run_aloud(progress)
            .await?;
        self.expect_copy(scratch, system_id).await?;
        let (dir, names) = (scratch.to_owned(), [&config::OWNED[..], &NOT_KEPT].concat());
        files::off_thread(move || own::take_out(&dir, &names).map(drop)).await?;
        // Not every program flushes what it writes, and the old directory is moved aside for it.
        self.tool("initdb").arg("--sync-only").arg("-D").arg(scratch).run().await.map(drop)
    }

    /// Refuses what is no copy of that database, or not fit to be started.
    async fn expect_copy(&self, scratch: &Path, system_id: u64) -> Result<(), PostgresError> {
        let not = |what: String| Err(PostgresError::NotTheCopy { what });
        let (dir, owner) = (scratch.to_owned(), self.settings.run_as);
        if let Some(what) = files::off_thread(move || Ok(unfit(&dir, owner))).await? {
            return not(what);
        }
        lockfile::refuse_running(scratch)?;
        match directory::inspect(scratch, &self.binaries, owner).await? {
            Directory::Cluster(cluster) if cluster.system_id == system_id => Ok(()),
            Directory::Cluster(cluster) => {
                not(format!("expected system identifier {system_id}, got {}", cluster.system_id))
            }
            Directory::Foreign { what } => not(format!("expected a cluster in REGENT_DATA_DIR, got {what}")),
            Directory::Missing | Directory::Empty => {
                not("expected a cluster in REGENT_DATA_DIR, got nothing".into())
            }
        }
    }
}

/// What Postgres would refuse, in its owner and mode.
fn unfit(scratch: &Path, owner: Option<RunAs>) -> Option<String> {
    let Ok(there) = fs::symlink_metadata(scratch) else {
        return Some("expected a cluster in REGENT_DATA_DIR, got nothing".into());
    };
    if !there.is_dir() {
        return Some("expected a directory at REGENT_DATA_DIR, got something else".into());
    }
    let expected = owner.map_or(Uid::effective().as_raw(), |owner| owner.uid);
    let inside =
        fs::symlink_metadata(scratch.join(directory::CONTROL_FILE)).map_or(expected, |file| file.uid());
    if let Some(got) = [there.uid(), inside].into_iter().find(|uid| *uid != expected) {
        return Some(format!("expected its files to be owned by user id {expected}, got {got}"));
    }
    let mode = there.permissions().mode() & 0o7777;
    (!matches!(mode, 0o700 | 0o750))
        .then(|| format!("expected mode 0700 or 0750 of its directory, got {mode:04o}"))
}
