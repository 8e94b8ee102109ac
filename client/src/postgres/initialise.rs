//! Making a new cluster.

use std::time::Duration;

use super::error::PostgresError;
use super::settings::Settings;
use super::{Directory, Server, configure, files};

/// How long each step may take: seconds on a healthy disk.
const PATIENCE: Duration = Duration::from_secs(300);

/// What `pg_rewind` on another instance reads this one with.
pub(super) const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

impl Server {
    /// Makes a new cluster with its roles and configuration, beside the data directory, and puts it in place when it is
    /// whole. Refuses when anything is there already.
    pub async fn initialise(&self) -> Result<(), PostgresError> {
        let _alone = self.changing.lock().await;
        match self.directory().await? {
            Directory::Missing | Directory::Empty => {}
            _ => return Err(PostgresError::NotEmpty(self.data_dir().to_owned())),
        }
        let settings = self.settings.clone();
        let scratch = files::off_thread(move || {
            files::refuse_mount_point(&settings.data_dir)?;
            files::scratch(&settings.data_dir, settings.run_as)
        })
        .await?;
        let made = self.make_cluster(&scratch).await;
        let data_dir = self.data_dir().to_owned();
        files::off_thread(move || match made {
            Ok(()) => files::put_in_place(&scratch, &data_dir).map(drop),
            Err(error) => {
                files::discard_scratch(&scratch);
                Err(error)
            }
        })
        .await
    }

    async fn make_cluster(&self, dir: &std::path::Path) -> Result<(), PostgresError> {
        let settings = self.settings.clone();
        self.tool("initdb")
            .arg("-D")
            .arg(dir)
            .args(["--data-checksums", "--encoding=UTF8", "--auth-local=peer", "--auth-host=scram-sha-256"])
            .arg(format!("--locale={}", settings.locale))
            .arg(format!("--username={}", settings.superuser))
            .timeout(PATIENCE)
            .run()
            .await?;
        self.make_roles(dir).await?;
        let dir = dir.to_owned();
        files::off_thread(move || configure::write_fixed(&settings, &dir)).await
    }

    /// Without a server, so that nobody can connect before everything is in place, and before the gate is loaded, which
    /// would let nothing commit.
    async fn make_roles(&self, dir: &std::path::Path) -> Result<(), PostgresError> {
        let said = self
            .tool("postgres")
            .args(["--single", "-D"])
            .arg(dir)
            .arg("postgres")
            .input(roles(&self.settings))
            .timeout(PATIENCE)
            .run()
            .await?;
        // It goes on after an error, and ends with 0.
        match said.stderr.lines().find(|line| line.contains("ERROR:")) {
            Some(line) => Err(PostgresError::Tool {
                program: "postgres --single".into(),
                status: "an error in a statement".into(),
                output: line.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// The statement that makes the role that standbys connect as.
pub(super) fn create_role(settings: &Settings) -> String {
    let password = match &settings.replication_password {
        Some(password) => format!(" PASSWORD '{}'", password.0.replace('\'', "''")),
        None => String::new(),
    };
    format!("CREATE ROLE \"{}\" LOGIN REPLICATION{password}", settings.replication_user)
}

/// The statement that lets that role be used by `pg_rewind`, for one function.
pub(super) fn grant(settings: &Settings, function: &str) -> String {
    format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO \"{}\"", settings.replication_user)
}

/// One statement a line, as `postgres --single` wants it.
fn roles(settings: &Settings) -> String {
    let grants = REWIND_FUNCTIONS.map(|function| grant(settings, function));
    let mut text = format!("{}\n{}\n", create_role(settings), grants.join("\n"));
    if settings.database != "postgres" {
        text.push_str(&format!("CREATE DATABASE \"{}\"\n", settings.database));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Secret;

    #[test]
    fn a_password_with_a_quote_stays_one_password() {
        let mut settings = Settings::new("a", "/srv/a");
        settings.replication_password = Some(Secret("a'b".into()));
        assert!(roles(&settings).starts_with(
            "CREATE ROLE \"regent_replication\" LOGIN REPLICATION PASSWORD 'a''b'\nGRANT EXECUTE"
        ));
    }
}
