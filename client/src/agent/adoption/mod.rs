//! `regent-agent adopt` and `release`: an existing Postgres comes under the agent, and goes back.
//!
//! Adoption writes the agent's files and restarts Postgres once, as a standby: of whom it followed, or of nobody if it was a
//! primary. A former primary therefore cannot be written to, with or without a gate, from its stop until the group has made
//! it its primary, by the same steps as any other promotion: the decisions know nothing of adoption.

mod group;
mod plan;
mod record;
mod release;

pub use plan::Plan;
pub use release::release;

pub(super) use record::Record;

use super::store::Store;
use super::{AgentError, Config};
use crate::gate::LeaseFile;
use crate::postgres::{Back, PostgresError, Server, Survey};

/// Why an instance was not adopted or released. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// It cannot be done as things stand.
    #[error("refused: {0}")]
    Refused(String),
    /// Postgres did not start with the gate. It runs as before.
    #[error("Postgres did not start under the agent, and was given back as it was: {0}")]
    UndoneAfter(PostgresError),
    /// Postgres did not start with the gate, and could not be given back.
    #[error(
        "Postgres did not start under the agent ({cause}), and could not be given back: {error}; see its log, mend that, and \
         run `regent-agent release`"
    )]
    Stuck {
        /// Why it did not start.
        cause: PostgresError,
        /// Why it could not be given back.
        error: PostgresError,
    },
    /// The agent's own files, or Postgres.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl From<PostgresError> for AdoptionError {
    fn from(error: PostgresError) -> AdoptionError {
        AdoptionError::Agent(error.into())
    }
}

/// Does what the plan says, telling each step.
///
/// # Errors
/// When another agent uses `state_dir`, when a file cannot be written, or when Postgres does not start.
pub async fn adopt(config: &Config, plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<(), AdoptionError> {
    let (Some(survey), []) = (plan.survey(), plan.refusals()) else {
        return Err(AdoptionError::Refused(plan.refusals().join("; ")));
    };
    let store = Store::open(&config.state_dir, &config.full_name())?;
    // Made now, so that the agent finds it as it will be from then on: what Postgres maps is never replaced.
    let lease_file = config.lease_file().map_err(AgentError::from)?;
    let lease = LeaseFile::open(&lease_file, 0).map_err(AgentError::from)?;
    if !lease.is_tmpfs() {
        return Err(AgentError::NotInMemory(lease_file).into());
    }
    let settings = config.server().map_err(AgentError::from)?;
    let server = Server::new(survey.adopted(&settings))?;
    let record = Record::of(survey, store.load()?.is_none());
    let Some(live) = &survey.live else {
        record.save(&config.state_dir)?;
        server.take_files(survey).await?;
        tell("the agent's files are written; Postgres stays stopped until the agent starts it");
        return Ok(());
    };
    let before = Server::new(settings.before(live))?;
    before.adopt().await?;
    if !survey.standby {
        for statement in before.make_replication_role(live).await? {
            tell(&format!("done: {}", without_password(&statement)));
        }
    }
    before.stop_in_order().await?;
    tell("Postgres is stopped");
    record.save(&config.state_dir)?;
    if let Err(cause) = server.start_adopted(survey).await {
        return Err(undo(&server, survey, config, cause).await);
    }
    tell("Postgres runs again, with its gate armed, as a standby: start the agent now");
    Ok(())
}

fn without_password(statement: &str) -> &str {
    statement.split_once(" PASSWORD ").map_or(statement, |(before, _)| before)
}

async fn undo(server: &Server, survey: &Survey, config: &Config, cause: PostgresError) -> AdoptionError {
    let back = Back { primary: !survey.standby, auto: survey.moved() };
    let given_back = async {
        server.stop_in_order().await?;
        server.give_files_back(&survey.own, back).await?;
        server.start_as_own(&survey.own).await
    };
    match given_back.await {
        Ok(_) => match Record::remove(&config.state_dir) {
            Ok(()) => AdoptionError::UndoneAfter(cause),
            Err(error) => error.into(),
        },
        Err(error) => AdoptionError::Stuck { cause, error },
    }
}
