//! A write probe: commits of the agent's own that reach the disk, to learn whether the server still works.
//!
//! One goes over the connection that the last probe made, and one over a new connection, which the next probe will use: so it
//! notices backends that hang as well as a postmaster that takes nobody in. Both at once: one after the other they would take
//! twice as long on a slow disk, and content with either, a probe would notice a stopped postmaster half a second later. Each
//! flushes WAL, whatever `synchronous_commit` says, but waits for no standby. And it writes a small temporary file: a full disk
//! refuses that at once, and a commit only when the WAL needs its next segment.
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

    /// Probes over the connection that is kept and over a new one, which takes its place. Waits for as long as the server does
    /// not answer on either.
    ///
    /// Who has just ended the kept connection, and clients that have taken every place for a new one, say nothing about the
    /// server, as long as it answers on the other.
    pub async fn probe(&self, kept: &mut Option<ProbeLine>) -> Result<Probed, PostgresError> {
        let (old, new) = tokio::join!(committed(kept.take()), self.new_line());
        let old = match old {
            Some((line, Err(_))) if line.client.is_closed() => None,
            Some((_, Err(error))) => return self.came_to(Err(error)),
            Some((line, Ok(()))) => Some(line),
            None => None,
        };
        match new {
            Ok(line) => *kept = Some(line),
            Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) && old.is_some() => {
                *kept = old
            }
            Err(error) => return self.came_to(Err(error)),
        }
        Ok(Probed::Committed)
    }

    /// A new connection over which something was committed.
    async fn new_line(&self) -> Result<ProbeLine, Error> {
        let (client, driver) = session::dial(&self.settings).await?;
        let line = ProbeLine { client, driver };
        line.commit().await.map(|()| line)
    }

    fn came_to(&self, committed: Result<(), Error>) -> Result<Probed, PostgresError> {
        match committed {
            Ok(()) => Ok(Probed::Committed),
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(Probed::Barred),
            Err(error) => Err(session::failed(&self.settings, &error)),
        }
    }
}

/// What a commit over that connection came to.
async fn committed(line: Option<ProbeLine>) -> Option<(ProbeLine, Result<(), Error>)> {
    let line = line?;
    let committed = line.commit().await;
    Some((line, committed))
}
