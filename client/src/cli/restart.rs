//! `regent restart`: says what it would do, asks, shows the steps as they happen, and tells how long commits waited. It
//! decides nothing: how an instance is restarted, what is refused or called off, a node says.

use super::commands::Outcome;
use super::exit::Exit;
use super::print::{Failure, Format, Session};
use super::switchover::{LOOK, confirm, group, show_steps};
use super::view::RestartView;
use super::words;
use crate::error::Error;
use crate::leadership::Client;
use regent_core::ids::{GroupName, InstanceName};
use regent_core::restart::{How, IN_PLACE};
use regent_proto::api::{Restart, RestartPlan};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a stop and a start may take, beyond the time for a checkpoint.
pub const PATIENCE: Duration = Duration::from_secs(130);

/// What the command line asks for.
pub struct Wish {
    /// Which instance.
    pub instance: InstanceName,
    /// Of which group, if that is said.
    pub group: Option<GroupName>,
    /// Only if parameters wait for it.
    pub pending: bool,
    /// How long the checkpoint before it may take.
    pub wait: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
}

/// The command with its clients: one for questions, and one that waits as long as a restart may take.
pub struct Run<'a, 'b> {
    pub client: &'a Client,
    pub patient: &'a Client,
    /// How long commits may need to pass again, once it is back.
    pub patience: Duration,
    pub format: Format,
    pub session: &'a mut Session<'b>,
}

impl Run<'_, '_> {
    pub async fn run(self, asked: Wish) -> Outcome {
        let of = self.group_of(&asked).await?;
        let wish = Restart { group: of, instance: asked.instance, wait: Some(asked.wait) };
        let plan = self.client.plan_restart(&wish).await?;
        if asked.pending && plan.pending.is_empty() {
            let words = || format!("no parameter of {} waits for a restart: nothing to do\n", plan.instance);
            self.session.answer(self.format, &RestartView::of(&plan, None), words)?;
            return Ok(Exit::Ok);
        }
        self.session.remark(&words_of(&plan))?;
        if asked.dry_run {
            let words = || "nothing was changed\n".to_owned();
            self.session.answer(self.format, &RestartView::of(&plan, None), words)?;
            return Ok(Exit::Ok);
        }
        if !asked.yes {
            confirm(self.session)?;
        }
        let done = tokio::select! {
            done = self.patient.restart(&wish) => done?,
            unwritable = show_steps(self.client, self.session, &wish.group) => return Err(unwritable),
        };
        let waited = if done.how == How::AsStandby { None } else { self.waited(&done).await? };
        let words = || {
            let waited = waited.map(|waited| format!("; commits waited for about {}", words::span(waited)));
            format!("{} is restarted{}\n", done.instance, waited.unwrap_or_default())
        };
        self.session.answer(self.format, &RestartView::of(&done, waited), words)?;
        Ok(Exit::Ok)
    }

    /// How long commits waited, if a node has heard that they pass again.
    async fn waited(&self, done: &RestartPlan) -> Result<Option<Duration>, Failure> {
        let end = Instant::now() + self.patience;
        loop {
            let status = group(self.client, &done.group).await?;
            let switching = status.and_then(|status| status.switching);
            let Some(switching) = switching.filter(|one| one.from == done.instance) else { return Ok(None) };
            if switching.over || Instant::now() > end {
                return Ok(switching.held.filter(|_| switching.over));
            }
            sleep(LOOK).await;
        }
    }

    /// The group with an instance of that name.
    async fn group_of(&self, asked: &Wish) -> Result<GroupName, Failure> {
        if let Some(group) = &asked.group {
            return Ok(group.clone());
        }
        let groups = self.client.groups().await?;
        let mut of = groups.iter().filter(|group| group.instances.contains_key(&asked.instance));
        match (of.next(), of.next()) {
            (Some(group), None) => Ok(group.name.clone()),
            (Some(one), Some(other)) => Err(Failure::Usage(format!(
                "groups {} and {} both have an instance {}: add --group",
                one.name, other.name, asked.instance
            ))),
            (None, _) => {
                let known = groups.iter().flat_map(|group| group.instances.keys());
                let known = words::list(known);
                let message = format!("no instance {}: known are {known}", asked.instance);
                Err(Error::NotFound { message }.into())
            }
        }
    }
}

/// What a restart would do.
fn words_of(plan: &RestartPlan) -> String {
    let RestartPlan { group, instance, how, pause, pending } = plan;
    let long = pause.is_some_and(|pause| pause > IN_PLACE);
    let wait = pause.map(|pause| format!(" for about {}", words::span(pause))).unwrap_or_default();
    let what = match how {
        How::AsStandby if pause.is_none() => {
            format!("{instance} stops and starts as the standby it is; no commit waits.")
        }
        How::AsStandby => format!(
            "{instance} stops and starts as the standby it is. Commits that it has to confirm wait{wait} meanwhile."
        ),
        How::InPlace if long => format!(
            "{instance} stays primary and is restarted in place: nobody could take over. Commits wait{wait} meanwhile; those \
             that wait for longer than a second are refused."
        ),
        How::InPlace => {
            format!("{instance} stays primary and is restarted in place. Commits wait{wait} meanwhile.")
        }
        How::AfterSwitchover(to) => format!(
            "{instance} would keep commits waiting for too long in place: the primary moves to {to}, commits wait{wait} \
             meanwhile, and {instance} starts again as a standby."
        ),
    };
    let pending = if pending.is_empty() {
        String::new()
    } else {
        format!(" It is needed for {}.", words::clean(&words::list(pending)))
    };
    format!("{group}: {what}{pending}")
}
