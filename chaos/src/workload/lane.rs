//! One connection to one instance, made again when it breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// Over the longest link: handshake, startup, password, and some.
const CONNECTING: Duration = Duration::from_millis(2000);

/// How clients log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// Role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Database.
    pub database: String,
}

/// Why a statement gave no result, sorted by what is known of its effect.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// The server refused it: no effect.
    #[error("{0}")]
    Refused(String),
    /// It was never sent: no effect.
    #[error("not connected: {0}")]
    NotSent(String),
    /// It was sent, and that is all that is known.
    #[error("{0}")]
    Unknown(String),
}

/// The connection and what is needed to make it.
pub struct Lane {
    config: Config,
    open: Mutex<Option<Open>>,
}

struct Open {
    client: Client,
    warned: Arc<AtomicBool>,
}

impl Lane {
    pub fn new(address: SocketAddr, account: &Account) -> Lane {
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port());
        config.user(&account.user).password(&account.password).dbname(&account.database);
        Lane { config, open: Mutex::new(None) }
    }

    /// Connects unless it is connected.
    pub async fn connect(&self) -> Result<(), NoAnswer> {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|open| !open.client.is_closed()) {
            return Ok(());
        }
        *open = None;
        let connected = timeout(CONNECTING, self.config.connect(NoTls)).await;
        let connected = connected.map_err(|_| NoAnswer::NotSent("no answer".into()))?;
        let (client, connection) = connected.map_err(|error| NoAnswer::NotSent(words(&error)))?;
        let warned = Arc::new(AtomicBool::new(false));
        tokio::spawn(drive(connection, warned.clone()));
        *open = Some(Open { client, warned });
        Ok(())
    }

    /// Forgets the connection: it may still be waiting for an answer.
    pub async fn abandon(&self) {
        *self.open.lock().await = None;
    }

    /// Runs statements in one round trip. A connection on which an answer did not come in time is given up.
    pub async fn ask(&self, sql: &str, patience: Duration) -> Result<Vec<SimpleQueryRow>, NoAnswer> {
        self.connect().await?;
        let mut open = self.open.lock().await;
        let Some(Open { client, warned }) = open.as_ref() else {
            return Err(NoAnswer::NotSent("given up meanwhile".into()));
        };
        warned.store(false, Ordering::SeqCst);
        let answer = match timeout(patience, client.simple_query(sql)).await {
            Ok(Ok(_)) if warned.load(Ordering::SeqCst) => {
                Err(NoAnswer::Unknown("a warning came with it".into()))
            }
            Ok(Ok(messages)) => return Ok(rows(messages)),
            Ok(Err(error)) => Err(sorted(error)),
            Err(_) => Err(NoAnswer::Unknown(format!("no answer within {patience:?}"))),
        };
        if !matches!(answer, Err(NoAnswer::Refused(_))) {
            *open = None;
        }
        answer
    }
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// An ERROR aborts the transaction. A FATAL may come after the commit, and a broken connection says nothing.
fn sorted(error: tokio_postgres::Error) -> NoAnswer {
    use tokio_postgres::error::Severity;
    match error.as_db_error() {
        Some(db) if db.parsed_severity() == Some(Severity::Error) => {
            NoAnswer::Refused(format!("{} {}", db.code().code(), db.message()))
        }
        _ => NoAnswer::Unknown(words(&error)),
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

/// A commit that the server warns about (a cancelled wait for a standby) is no plain acknowledgement.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use tokio_postgres::error::Severity;
    while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.parsed_severity() == Some(Severity::Warning)
        {
            warned.store(true, Ordering::SeqCst);
        }
    }
}
