//! Finding Postgres's programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::PostgresError;

/// The oldest version with `primary_conninfo` changed by a reload and `pg_rewind` that recovers by itself.
const OLDEST: u32 = 13;

/// All that are ever run. `psql` is used for upstreams, because libpq knows every way to authenticate.
const NEEDED: [&str; 7] =
    ["postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_waldump", "pg_controldata", "psql"];

/// A directory with every program that is needed, of one version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// The major version.
    pub(super) major: u32,
}

impl Binaries {
    /// Looks in `bin_dir` alone if it is given, else where Postgres usually is.
    pub(super) fn find(bin_dir: Option<&Path>) -> Result<Self, PostgresError> {
        let looked_in = match bin_dir {
            Some(dir) => vec![dir.to_owned()],
            None => usual_places(),
        };
        let missing =
            |binary: &str, looked_in| PostgresError::MissingBinary { binary: binary.into(), looked_in };
        // A directory may hold links to some of them only: one with all is better, wherever it comes in the order.
        let all = looked_in.iter().find(|dir| absent(dir).is_none());
        let Some(dir) = all.or_else(|| looked_in.iter().find(|dir| dir.join("postgres").is_file())).cloned()
        else {
            return Err(missing("postgres", looked_in));
        };
        if let Some(binary) = absent(&dir) {
            return Err(missing(binary, vec![dir]));
        }
        let major = version(&dir.join("postgres"))?;
        Ok(Binaries { dir, major })
    }

    /// The path of one of the programs.
    pub(super) fn path(&self, binary: &'static str) -> PathBuf {
        debug_assert!(NEEDED.contains(&binary));
        self.dir.join(binary)
    }
}

/// The first program that is not in this directory.
fn absent(dir: &Path) -> Option<&'static str> {
    NEEDED.into_iter().find(|binary| !dir.join(binary).is_file())
}

fn version(postgres: &Path) -> Result<u32, PostgresError> {
    let output = Command::new(postgres)
        .arg("--version")
        .output()
        .map_err(|source| PostgresError::Spawn { program: postgres.to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match major_of(&said) {
        Some(major) if major >= OLDEST => Ok(major),
        _ => Err(PostgresError::TooOld { binary: postgres.to_owned(), expected: OLDEST, got: said }),
    }
}

/// `15` from `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, also from `18beta1`.
fn major_of(said: &str) -> Option<u32> {
    let number = said.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

/// `PATH`, what `pg_config` says, and the directories of the Debian and Red Hat packages, newest first.
fn usual_places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        places.extend((!said.is_empty()).then(|| PathBuf::from(said)));
    }
    places.extend(packaged("/usr/lib/postgresql", ""));
    places.extend(packaged("/usr", "pgsql-"));
    let mut seen = std::collections::BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

fn packaged(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn reads_the_versions_that_packages_print() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major_of("mysqld 8.0"), None);
    }
}
