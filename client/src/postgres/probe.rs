//! A write probe: commits of the agent's own that reach the disk, to learn whether the server still works.
//!
//! Each goes over the connection that the last one made, and then over a new one, which the next one will use: so it
//! notices backends that hang as well as a postmaster that takes nobody in. It flushes WAL, whatever `synchronous_commit`
//! says, but waits for no standby. And it writes a small temporary file: a full disk refuses that at once, and a commit
//! only when the WAL needs its next segment.
//!
//! A probe has no time limit. Whoever waits for one decides what its silence means; a connection that is given up would
//! leave a hung backend behind each time, one that is waited for leaves one.

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::error::PostgresError;
use super::{Server, session};

/// More rows than fit into `work_mem`.
const PROBE: &str = "begin read write;
set local synchronous_commit = 'local'; set local work_mem = '64kB'; set local temp_tablespaces = '';
set local log_temp_files = -1; set local statement_timeout = 0;
select count(*) from generate_series(1, 4000);
select pg_logical_emit_message(true, 'regent', '');
commit";

/// What a probe that was answered came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Its commit is on disk.
    Committed,
    /// The gate, which has no lease, let it not commit.
    Barred,
}

/// The connection that a probe leaves to the next one.
#[derive(Debug)]
pub struct ProbeLine {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for ProbeLine {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ProbeLine {
    async fn commit(&self) -> Result<(), Error> {
        self.client.batch_execute(PROBE).await
    }
}

impl Server {
    /// Sees to it that there is a connection to probe over, on a standby as well. Without one, clients that take every place
    /// the moment it is promoted would make a server that works look dead.
    pub async fn hold_line(&self, kept: &mut Option<ProbeLine>) {
        if kept.as_ref().is_none_or(|line| line.client.is_closed()) {
            let line = session::dial(&self.settings).await;
            *kept = line.ok().map(|(client, driver)| ProbeLine { client, driver });
        }
    }

    /// Probes once, over `kept` and over a new connection that takes its place. Waits for as long as the server does not
    /// answer.
    pub async fn probe(&self, kept: &mut Option<ProbeLine>) -> Result<Probed, PostgresError> {
        match self.commit_twice(kept).await {
            Ok(()) => Ok(Probed::Committed),
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(Probed::Barred),
            Err(error) => Err(session::failed(&self.settings, &error)),
        }
    }

    async fn commit_twice(&self, kept: &mut Option<ProbeLine>) -> Result<(), Error> {
        // A connection on which something went wrong is not used again.
        let mut old = kept.take();
        if let Some(line) = &old
            && let Err(error) = line.commit().await
        {
            // Somebody may have ended it: a new one says whether that was all.
            if !line.client.is_closed() {
                return Err(error);
            }
            old = None;
        }
        let line = match session::dial(&self.settings).await {
            Ok((client, driver)) => ProbeLine { client, driver },
            // Clients have taken every place. It answers, and it commits.
            Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) && old.is_some() => {
                *kept = old;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        line.commit().await?;
        *kept = Some(line);
        Ok(())
    }
}
