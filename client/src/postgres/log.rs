//! The file with the server's output.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::PostgresError;
use super::settings::RunAs;
use super::{files, tool};

/// Opens it for appending.
pub(super) fn open(path: &Path, owner: Option<RunAs>) -> Result<File, PostgresError> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = file.map_err(PostgresError::file("open", path))?;
    files::own(path, owner)?;
    Ok(file)
}

/// How long it is now; nothing if it is not there.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0)
}

/// The end of what was written after that.
pub(super) fn since(path: &Path, before: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(before))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_or_else(|error| format!("(unreadable: {error})"), |text| tool::tail(&text))
}
