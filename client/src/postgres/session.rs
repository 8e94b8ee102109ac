//! The one connection to the local server.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};

use super::error::PostgresError;
use super::settings::Settings;
use super::{Server, observe};

/// A connection, with what it asks again and again prepared.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) observation: Statement,
    pub(super) recovery: Statement,
    pub(super) system_id: u64,
    /// What was last read with `observe::SETTINGS`, and the reload it was read after.
    pub(super) settings: std::sync::Mutex<Option<(f64, observe::Checked)>>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    /// The connection, made if there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, PostgresError> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(session.clone());
        }
        let opened = Arc::new(self.in_time(open(&self.settings)).await?);
        *kept = Some(opened.clone());
        Ok(opened)
    }

    /// Runs something on the connection; when it fails or takes too long, the connection is closed.
    pub(super) async fn query<T, F>(&self, ask: impl FnOnce(Arc<Session>) -> F) -> Result<T, PostgresError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let session = self.session().await?;
        let answer =
            self.in_time(async { ask(session.clone()).await.map_err(|e| failed(&self.settings, &e)) });
        let answer = answer.await;
        if answer.is_err() {
            let mut kept = self.session.lock().await;
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &session)) {
                *kept = None;
            }
        }
        answer
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        let limit = self.settings.sql_timeout;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(sql(&self.settings, format!("no answer within {} ms", limit.as_millis())))
        })
    }
}

/// Connects over the socket.
pub(super) async fn connect(settings: &Settings) -> Result<(Client, JoinHandle<()>), PostgresError> {
    dial(settings).await.map_err(|error| failed(settings, &error))
}

/// The same, with the server's own error.
pub(super) async fn dial(settings: &Settings) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(&settings.socket_dir)
        .port(settings.port)
        .user(&settings.superuser)
        .dbname(&settings.database)
        .application_name("regent-agent")
        // Twenty statements a second are nobody's business in the log.
        .options("-c log_statement=none -c log_min_duration_statement=-1 -c log_duration=off");
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        // How it ended is seen by whoever asks next.
        let _ = connection.await;
    });
    Ok((client, driver))
}

async fn open(settings: &Settings) -> Result<Session, PostgresError> {
    let (client, driver) = connect(settings).await?;
    let failed = |error: tokio_postgres::Error| failed(settings, &error);
    let row = client
        .query_one(
            "select system_identifier, current_setting('data_directory') from pg_control_system()",
            &[],
        )
        .await
        .map_err(failed)?;
    same_directory(settings, row.get(1))?;
    let observation = client.prepare_typed(observe::STATEMENT, &[] as &[Type]).await.map_err(failed)?;
    let recovery = client.prepare("select pg_is_in_recovery()").await.map_err(failed)?;
    let system_id = row.get::<_, i64>(0) as u64;
    Ok(Session { client, observation, recovery, system_id, settings: Default::default(), driver })
}

/// Another server may have been given the same socket directory and port.
fn same_directory(settings: &Settings, answered: &str) -> Result<(), PostgresError> {
    let id = |path: &std::path::Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let expected = &settings.data_dir;
    if id(expected) == id(answered.as_ref()) {
        return Ok(());
    }
    let expected = expected.display();
    Err(sql(settings, format!("expected the server of {expected}, but that of {answered} answers there")))
}

pub(super) fn sql(settings: &Settings, what: String) -> PostgresError {
    PostgresError::Sql { socket: settings.socket_dir.clone(), what }
}

/// The server's own words, where there are some; the driver's `Display` leaves them out.
pub(super) fn failed(settings: &Settings, error: &tokio_postgres::Error) -> PostgresError {
    let what = match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    sql(settings, what)
}
