//! Giving an adopted Postgres back.

use super::super::{AgentError, Config, fence};
use super::{AdoptionError, Record, alone, group};
use crate::postgres::{Adopted, Back, Server};

/// Gives an adopted instance back to its operator: running if it runs, stopped if it is stopped.
///
/// A standby goes on following whom it follows. A primary is nobody's to fence from then on, so it is only given back when no
/// other instance of its group can become primary beside it: never while an agent of another is heard, and while another is
/// registered, or no node answers, only with `sure`.
///
/// # Errors
/// [`AdoptionError::Refused`] says why not; nothing was changed then.
pub async fn release(config: &Config, sure: bool, tell: &mut dyn FnMut(&str)) -> Result<(), AdoptionError> {
    let Some(record) = Record::load(&config.state_dir)? else {
        return Err(refused("this instance was not adopted: its configuration is the agent's alone"));
    };
    let store = alone(config)?;
    let untouched = record.was_primary && store.load()?.is_none();
    let settings = config.server().map_err(AgentError::from)?;
    let server = Server::new(crate::postgres::Settings { own: Some(record.own.clone()), ..settings })?;
    let runs = matches!(server.adopt().await?, Adopted::Running { .. });
    let standby = server.settings().data_dir.join("standby.signal").exists();
    let primary = untouched || !standby;
    if primary {
        may_release_primary(config, untouched, sure).await?;
    }
    let mut auto: Vec<_> =
        record.taken.iter().filter(|(name, _)| name == "synchronous_standby_names").cloned().collect();
    if !primary && let Some(upstream) = server.filed_upstream()? {
        auto.push(("primary_conninfo".to_owned(), upstream));
    }
    if runs {
        let slots = server.drop_slots().await?;
        if slots > 0 {
            tell(&format!("{slots} slots, which kept WAL for the other instances, are dropped"));
        }
        server.stop_in_order().await?;
        tell("Postgres is stopped");
    }
    server.give_files_back(&record.own, Back { primary, auto }).await?;
    tell("the agent's files and the line that included them are removed");
    if runs {
        let pid = server.start_as_own(&record.own).await?;
        let role = if primary { "primary" } else { "standby" };
        tell(&format!("Postgres runs as process {pid}, a {role} of its own: nothing fences it"));
    }
    open_port(config, tell);
    Record::remove(&config.state_dir)?;
    Ok(())
}

/// What the agent left of its fence in the kernel would keep a primary's port closed for ever.
fn open_port(config: &Config, tell: &mut dyn FnMut(&str)) {
    let place = config.fence_place();
    match fence::remove_left(&place) {
        Ok(true) => tell("the fence in the kernel is removed"),
        Err(error) if config.fence.kernel => tell(&format!(
            "the fence in the kernel could not be removed ({error}); as root, if it is there: nft delete table inet {}",
            place.table
        )),
        Ok(false) | Err(_) => {}
    }
}

/// Whether no second primary can come of it.
async fn may_release_primary(config: &Config, untouched: bool, sure: bool) -> Result<(), AdoptionError> {
    let status = match group::ask(config).await {
        Ok(status) => status,
        Err(crate::error::Error::NotFound { .. }) => return Ok(()),
        Err(_) if sure => return Ok(()),
        Err(error) => {
            let words =
                "this is a primary, and nobody says whether another instance may become one beside it";
            return Err(refused(&format!("{words} ({error}); --yes, if there is no other")));
        }
    };
    let group = &status.group;
    if untouched && group.primary.is_none() {
        return Ok(());
    }
    if let Some(other) = group.primary.as_ref().filter(|primary| **primary != config.instance) {
        return Err(refused(&format!(
            "{other} is the group's primary now, and this one was: start its agent, which makes it a standby, and release that"
        )));
    }
    let others = group::others(config, &status);
    let heard: Vec<&str> = others.iter().filter(|(_, heard)| *heard).map(|(name, _)| *name).collect();
    if !heard.is_empty() {
        return Err(refused(&format!(
            "this is the primary, and {} would be made primary beside it: move the primary there (`regent switchover`) and \
             release this one as a standby, or release the others first",
            heard.join(", ")
        )));
    }
    if !others.is_empty() && !sure {
        let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
        return Err(refused(&format!(
            "this is the primary, and {} of its group could become one beside it if its agent were started: --yes, if it will not be",
            names.join(", ")
        )));
    }
    Ok(())
}

fn refused(why: &str) -> AdoptionError {
    AdoptionError::Refused(why.to_owned())
}
