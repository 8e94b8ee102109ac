//! Changing the role of a running server.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::error::PostgresError;
use super::settings::Upstream;
use super::synchronous::Synchronous;
use super::{Server, config, files, session};

/// How long a reload may take to be seen; it takes a millisecond.
const RELOAD_PATIENCE: Duration = Duration::from_secs(2);

impl Server {
    /// Tells a standby to become a primary, and returns at once: see `in_recovery` for when it is one.
    ///
    /// This is what `pg_promote(false)` does, without needing a connection.
    pub async fn promote(&self) -> Result<(), PostgresError> {
        let postmaster = self.expect_running()?;
        let path = self.data_dir().join("promote");
        let owner = self.settings.run_as;
        files::off_thread(move || {
            // Not flushed: it only has to live until the signal that follows.
            std::fs::write(&path, "").map_err(PostgresError::file("write", &path))?;
            files::own(&path, owner)
        })
        .await?;
        postmaster.signal(Signal::SIGUSR1);
        Ok(())
    }

    /// Makes a running standby stream from another upstream, without a restart.
    pub async fn follow(&self, upstream: &Upstream) -> Result<(), PostgresError> {
        self.write_upstream(Some(upstream)).await?;
        let expected = config::standby_conninfo(&self.settings, upstream);
        self.reload("primary_conninfo", &expected).await
    }

    /// Makes a running standby stream from nobody: its upstream can get no acknowledgement from it any more.
    pub async fn detach(&self) -> Result<(), PostgresError> {
        self.write_upstream(None).await?;
        self.reload("primary_conninfo", "").await
    }

    /// Sets whom commits wait for, also on a stopped server, for its next start.
    ///
    /// When it returns on a running server, the postmaster has read it; its processes do within milliseconds, each at its
    /// next step, the checkpointer, by which commits learn that they have to wait at all, perhaps later. What must be
    /// waited for from a certain moment on is therefore said to the gate as well.
    pub async fn set_synchronous_names(&self, synchronous: &Synchronous) -> Result<(), PostgresError> {
        self.write_synchronous(synchronous).await?;
        if self.running().is_none() {
            return Ok(());
        }
        self.reload("synchronous_standby_names", &synchronous.to_string()).await
    }

    /// Sets which slots' owners no logical subscriber may get ahead of. Only where there are failover slots.
    pub async fn set_synchronized_slots(&self, slots: &[String]) -> Result<(), PostgresError> {
        let expected = slots.join(", ");
        if self.running().is_none() || self.shown("synchronized_standby_slots").await?.0 == expected {
            return Ok(());
        }
        self.write_synchronized_slots(slots).await?;
        self.reload("synchronized_standby_slots", &expected).await
    }

    /// Writes a checkpoint: for a new primary, so that others can be rewound to it.
    pub async fn checkpoint(&self) -> Result<(), PostgresError> {
        self.expect_running()?;
        // On a connection of its own: it may take long, and observing goes on meanwhile.
        let (client, driver) = session::connect(&self.settings).await?;
        let done = client.batch_execute("CHECKPOINT").await;
        driver.abort();
        done.map_err(|error| session::failed(&self.settings, &error))
    }

    /// Reloads the configuration; when the server answers statements, waits until it shows the new value.
    async fn reload(&self, parameter: &'static str, expected: &str) -> Result<(), PostgresError> {
        let postmaster = self.expect_running()?;
        postmaster.signal(Signal::SIGHUP);
        let deadline = Instant::now() + RELOAD_PATIENCE;
        loop {
            // A server that does not answer yet reads the file when it can; so it is with a standby that still recovers.
            let Ok((got, place)) = self.shown(parameter).await else { return Ok(()) };
            if got == expected {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(not_applied(parameter, expected, got, place));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A parameter's value, and the file it comes from.
    async fn shown(&self, parameter: &'static str) -> Result<(String, String), PostgresError> {
        const STATEMENT: &str = "select setting, coalesce(sourcefile || ':' || sourceline, source) from pg_settings where name = $1";
        self.query(|session| async move {
            let row = session.client.query_one(STATEMENT, &[&parameter]).await?;
            Ok((row.get(0), row.get(1)))
        })
        .await
    }
}

fn not_applied(parameter: &'static str, expected: &str, got: String, place: String) -> PostgresError {
    if parameter == "primary_conninfo" {
        // It may hold a password.
        let (expected, got) = ("what was written".into(), "another".into());
        return PostgresError::NotApplied { parameter, expected, got, place };
    }
    PostgresError::NotApplied { parameter, expected: expected.to_owned(), got, place }
}
