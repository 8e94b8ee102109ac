//! Files of the data directory: written whole, flushed, owned by the user Postgres runs as.
//!
//! Everything here blocks for as long as the disk does, so the callers are in `off_thread`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::work::Work;

use super::error::PostgresError;
use super::settings::{RunAs, sibling};

/// Runs file work where a stuck disk cannot stop the agent's loop.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    // What is begun on a thread goes on when nobody waits for it any more: until its end it counts as under way.
    let current = Work::current();
    let work = move || match current {
        Some(current) => {
            let _held = current.hold();
            current.carry_out_blocking(work)
        }
        None => work(),
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Replaces a file: after a crash there is the old text or the new, never half of one.
pub(super) fn write_whole(path: &Path, text: &str, owner: Option<RunAs>) -> Result<(), PostgresError> {
    let unfinished = sibling(path, "new");
    let failed = |source| PostgresError::File { what: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    own(&unfinished, owner)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    sync_parent(path)
}

/// The same, unless the file already says so: most starts change nothing, and a flush costs milliseconds.
pub(super) fn write_if_different(path: &Path, text: &str, owner: Option<RunAs>) -> Result<(), PostgresError> {
    match fs::read_to_string(path) {
        Ok(there) if there == text => Ok(()),
        _ => write_whole(path, text, owner),
    }
}

/// Removes a file; that it is not there is fine.
pub(super) fn remove_if_there(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(PostgresError::File { what: "remove", path: path.to_owned(), source })
        }
        Err(_) => Ok(()),
        Ok(()) => sync_parent(path),
    }
}

/// Makes a directory with mode 0700 for Postgres; that it is there is fine.
pub(super) fn make_directory(path: &Path, owner: Option<RunAs>) -> Result<(), PostgresError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().mode(0o700).create(path).map_err(PostgresError::file("make directory", path))?;
    own(path, owner)
}

/// Gives a path to the user that Postgres runs as.
pub(super) fn own(path: &Path, owner: Option<RunAs>) -> Result<(), PostgresError> {
    match owner {
        Some(RunAs { uid, gid }) => std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .map_err(PostgresError::file("change the owner of", path)),
        None => Ok(()),
    }
}

/// Makes a rename in it durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), PostgresError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(PostgresError::file("flush", parent))
}

/// An empty directory beside `data_dir` in which a new cluster is made before it takes that name.
///
/// What an earlier attempt left there is removed: it never was anybody's data directory.
pub(super) fn scratch(data_dir: &Path, owner: Option<RunAs>) -> Result<PathBuf, PostgresError> {
    let path = sibling(data_dir, "unfinished");
    if fs::symlink_metadata(&path).is_ok() {
        fs::remove_dir_all(&path).map_err(PostgresError::file("remove the unfinished", &path))?;
    }
    make_directory(&path, owner)?;
    Ok(path)
}

/// Removes what `scratch` made, after a failure that is reported instead.
pub(super) fn discard_scratch(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "could not remove an unfinished copy");
    }
}

/// Gives `made` the name of the data directory; what had it is moved aside, to the path returned.
pub(super) fn put_in_place(made: &Path, data_dir: &Path) -> Result<Option<PathBuf>, PostgresError> {
    let aside = match fs::remove_dir(data_dir) {
        // It was empty, or not there: nothing to keep.
        Ok(()) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(move_aside(data_dir)?),
    };
    if let Err(source) = fs::rename(made, data_dir) {
        if let Some(aside) = &aside {
            fs::rename(aside, data_dir).map_err(PostgresError::file("move back", aside))?;
        }
        return Err(PostgresError::File { what: "put in place", path: data_dir.to_owned(), source });
    }
    sync_parent(data_dir)?;
    // It spoke of the directory that is aside now.
    remove_if_there(&rewind_mark(data_dir))?;
    Ok(aside)
}

/// A file beside the data directory: there while a rewind is writing in it. Inside, the rewind would remove it.
pub(super) fn rewind_mark(data_dir: &Path) -> PathBuf {
    sibling(data_dir, "rewinding")
}

/// Renames to `<data>.replaced-<utc>`, never over anything.
fn move_aside(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let stamp: String = now.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut aside = sibling(data_dir, &format!("replaced-{stamp}"));
    let mut count = 1;
    while fs::symlink_metadata(&aside).is_ok() {
        count += 1;
        aside = sibling(data_dir, &format!("replaced-{stamp}-{count}"));
    }
    fs::rename(data_dir, &aside).map_err(PostgresError::file("move aside", data_dir))?;
    Ok(aside)
}

/// The directories that were moved aside, oldest first.
pub(super) fn replaced(data_dir: &Path) -> Result<Vec<PathBuf>, PostgresError> {
    let prefix = sibling(data_dir, "replaced-");
    let parent = data_dir.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(parent).map_err(PostgresError::file("list", parent))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.as_os_str().as_encoded_bytes().starts_with(prefix.as_os_str().as_encoded_bytes()))
        .collect();
    found.sort();
    Ok(found)
}

/// A mount point cannot be renamed: better said before hours of copying than after.
pub(super) fn refuse_mount_point(data_dir: &Path) -> Result<(), PostgresError> {
    let parent = data_dir.parent().unwrap_or(Path::new("/"));
    match (fs::metadata(data_dir), fs::metadata(parent)) {
        (Ok(own), Ok(parent)) if own.dev() != parent.dev() => {
            Err(PostgresError::MountPoint(data_dir.to_owned()))
        }
        _ => Ok(()),
    }
}
