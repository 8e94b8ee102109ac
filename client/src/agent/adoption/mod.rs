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
use crate::postgres::{Back, Live, PostgresError, Server, Survey};

/// Why an instance was not adopted or released. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// It cannot be done as things stand.
    #[error("refused: {0}")]
    Refused(String),
    /// It did not work, and is as before.
    #[error("Postgres could not be started under the agent, and was given back as it was: {0}")]
    Undone(PostgresError),
    /// It did not work, and could not be given back.
    #[error(
        "Postgres could not be started under the agent ({cause}), and could not be given back: {error}; see its log, mend that, and \
         run `regent-agent release`"
    )]
    Stuck {
        /// Why it did not start.
        cause: Box<PostgresError>,
        /// Why it could not be given back.
        error: Box<PostgresError>,
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
    let store = alone(config)?;
    // Made now, so that the agent finds it as it will be from then on: what Postgres maps is never replaced.
    let lease_file = config.lease_file().map_err(AgentError::from)?;
    let lease = LeaseFile::open(&lease_file, 0).map_err(AgentError::from)?;
    if !lease.is_tmpfs() {
        return Err(AgentError::NotInMemory(lease_file).into());
    }
    let settings = config.server().map_err(AgentError::from)?;
    let server = Server::new(survey.adopted(&settings))?;
    let record = Record::of(survey, store.load()?.is_none());
    record.save(&config.state_dir)?;
    let Some(live) = &survey.live else {
        if let Err(cause) = server.take_files(survey).await {
            return Err(undo(&server, survey, config, cause).await);
        }
        tell("the agent's files are written; Postgres stays stopped until the agent starts it");
        return Ok(());
    };
    let before = Server::new(settings.before(live))?;
    if let Err(error) = stop(&before, survey, live, tell).await {
        Record::remove(&config.state_dir)?;
        return Err(error.into());
    }
    if let Err(cause) = server.start_adopted(survey).await {
        return Err(undo(&server, survey, config, cause).await);
    }
    tell("Postgres runs again, with its gate armed, as a standby: start the agent now");
    Ok(())
}

/// Makes what has to be made while it still serves, and stops it.
async fn stop(
    before: &Server,
    survey: &Survey,
    live: &Live,
    tell: &mut dyn FnMut(&str),
) -> Result<(), PostgresError> {
    before.adopt().await?;
    if !survey.standby {
        for statement in before.make_replication_role(live).await? {
            tell(&format!("done: {}", without_password(&statement)));
        }
    }
    before.stop_in_order().await?;
    tell("Postgres is stopped");
    Ok(())
}

/// The agent's record, which an agent that runs keeps to itself.
fn alone(config: &Config) -> Result<Store, AdoptionError> {
    Store::open(&config.state_dir, &config.full_name()).map_err(|error| match error {
        AgentError::InUse { .. } => AdoptionError::Refused("its agent is running: stop that first".into()),
        other => other.into(),
    })
}

fn without_password(statement: &str) -> &str {
    statement.split_once(" PASSWORD ").map_or(statement, |(before, _)| before)
}

async fn undo(server: &Server, survey: &Survey, config: &Config, cause: PostgresError) -> AdoptionError {
    let back = Back { primary: !survey.standby, auto: survey.moved() };
    let given_back = async {
        server.stop_in_order().await?;
        server.give_files_back(&survey.own, back).await?;
        if survey.live.is_some() {
            server.start_as_own(&survey.own).await?;
        }
        Ok(())
    };
    match given_back.await {
        Ok(()) => match Record::remove(&config.state_dir) {
            Ok(()) => AdoptionError::Undone(cause),
            Err(error) => error.into(),
        },
        Err(error) => AdoptionError::Stuck { cause: Box::new(cause), error: Box::new(error) },
    }
}
