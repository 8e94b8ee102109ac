//! A write probe: commits of the agent's own that reach the disk, to learn whether the server still works.
//!
//! They go in turn over the connection that the last one made, and over a new one, which the next one will use: so they
//! notice backends that hang as well as a postmaster that takes nobody in. Each flushes WAL, whatever `synchronous_commit`
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

    /// Probes over the connection that is kept, and lets go of one on which something went wrong. `None` without one, also
    /// when somebody has just ended it: a new one says whether that was all. Waits for as long as the server does not answer.
    pub async fn probe_kept(&self, kept: &mut Option<ProbeLine>) -> Option<Result<Probed, PostgresError>> {
        let line = kept.take()?;
        match line.commit().await {
            Ok(()) => *kept = Some(line),
            Err(_) if line.client.is_closed() => return None,
            Err(error) => return Some(self.came_to(Err(error))),
        }
        Some(Ok(Probed::Committed))
    }

    /// Probes over a new connection, which takes the place of the one that is kept. `None` when clients have taken every
    /// place, and the one that is kept stays: it was answered. Waits for as long as the server does not answer.
    pub async fn probe_new(&self, kept: &mut Option<ProbeLine>) -> Option<Result<Probed, PostgresError>> {
        let line = match session::dial(&self.settings).await {
            Ok((client, driver)) => ProbeLine { client, driver },
            Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) && kept.is_some() => {
                return None;
            }
            Err(error) => return Some(self.came_to(Err(error))),
        };
        *kept = None;
        let committed = line.commit().await;
        if committed.is_ok() {
            *kept = Some(line);
        }
        Some(self.came_to(committed))
    }

    fn came_to(&self, committed: Result<(), Error>) -> Result<Probed, PostgresError> {
        match committed {
            Ok(()) => Ok(Probed::Committed),
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(Probed::Barred),
            Err(error) => Err(session::failed(&self.settings, &error)),
        }
    }
}
