//! Writing the configuration, and making a running server use it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::{Uid, User};

use super::error::PostgresError;
use super::settings::{Settings, Upstream};
use super::synchronous::Synchronous;
use super::{Server, config, files};

/// Writes all configuration but the role.
pub(super) fn write_fixed(settings: &Settings, data_dir: &Path) -> Result<(), PostgresError> {
    let owner = settings.run_as;
    let in_dir = |name: &str| data_dir.join(name);
    let kept = settings.kept(data_dir)?;
    files::write_if_different(&in_dir(config::FIXED_FILE), &config::fixed(settings, &kept), owner)?;
    let slots = in_dir(config::SLOTS_FILE);
    if settings.failover_slots && !slots.exists() {
        files::write_whole(&slots, &config::synchronized_slots(&[]), owner)?;
    }
    if let Some(own) = &settings.own {
        return own.include(settings, data_dir);
    }
    block(settings, &in_dir("postgresql.conf"), &config::includes(settings), false)?;
    block(settings, &in_dir("pg_hba.conf"), &config::hba(settings), true)?;
    block(settings, &in_dir("pg_ident.conf"), &config::ident(settings, &system_users(settings)?), true)
}

fn block(settings: &Settings, path: &Path, block: &str, first: bool) -> Result<(), PostgresError> {
    let there = match fs::read_to_string(path) {
        // A copy of a server whose own configuration is outside of its data directory comes without.
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        there => there.map_err(PostgresError::file("read", path))?,
    };
    files::write_if_different(path, &config::with_block(&there, block, first), settings.run_as)
}

/// The agent's own user, and the one that Postgres runs as.
fn system_users(settings: &Settings) -> Result<Vec<String>, PostgresError> {
    let agent = Uid::effective();
    let postgres = settings.run_as.map_or(agent, |run_as| Uid::from_raw(run_as.uid));
    let mut names = Vec::new();
    for uid in [agent, postgres] {
        let user = User::from_uid(uid).ok().flatten().ok_or_else(|| PostgresError::Setting {
            setting: "run_as".into(),
            expected: "a user with a name: peer authentication over the socket needs one",
            got: format!("user id {uid}"),
        })?;
        if !names.contains(&user.name) {
            names.push(user.name);
        }
    }
    Ok(names)
}

impl Server {
    /// Writes whom to stream from; a running server reads it with its next reload.
    pub(super) async fn write_upstream(&self, upstream: Option<&Upstream>) -> Result<(), PostgresError> {
        self.write_config(config::UPSTREAM_FILE, config::upstream(&self.settings, upstream)).await
    }

    /// Writes whom to wait for; a running server reads it with its next reload.
    pub(super) async fn write_synchronous(&self, synchronous: &Synchronous) -> Result<(), PostgresError> {
        self.write_config(config::SYNCHRONOUS_FILE, config::synchronous(synchronous)).await
    }

    /// Writes whom no logical subscriber may get ahead of; a running server reads it with its next reload.
    pub(super) async fn write_synchronized_slots(&self, slots: &[String]) -> Result<(), PostgresError> {
        self.write_config(config::SLOTS_FILE, config::synchronized_slots(slots)).await
    }

    async fn write_config(&self, file: &str, text: String) -> Result<(), PostgresError> {
        let path = self.data_dir().join(file);
        let owner = self.settings.run_as;
        files::off_thread(move || files::write_if_different(&path, &text, owner)).await
    }
}
