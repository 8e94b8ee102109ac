//! `regent switchover`: says what it would do, waits for its time, asks, shows the steps as they happen, and tells how
//! long commits waited. It decides nothing: what is refused or called off, a node says.

use super::commands::Outcome;
use super::exit::Exit;
use super::print::{Failure, Format, Session};
use super::view::{PlanView, SwitchoverView};
use super::{changes, moment, words};
use crate::leadership::Client;
use regent_core::ids::{GroupName, InstanceName};
use regent_core::message::Step;
use regent_proto::api::{Assignment, Consistency, GroupStatus, Switching, Switchover, SwitchoverPlan};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// How often it is looked how far it is.
pub const LOOK: Duration = Duration::from_millis(50);
/// The wall clock is looked at again and again: it may be set while the command waits.
const NAP: Duration = Duration::from_secs(1);

/// What the command line asks for.
pub struct Wish {
    /// What is asked of the nodes.
    pub wish: Switchover,
    /// When.
    pub at: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
}

/// The command with its clients: one for questions, and one that waits as long as a switchover may take.
pub struct Run<'a, 'b> {
    pub client: &'a Client,
    pub patient: &'a Client,
    /// How long commits may need to pass again, once it is decided.
    pub patience: Duration,
    pub format: Format,
    pub session: &'a mut Session<'b>,
}

impl Run<'_, '_> {
    pub async fn run(mut self, asked: Wish) -> Outcome {
        let Wish { wish, at, dry_run, yes } = asked;
        let at =
            at.map(|text| moment::parse(&text, SystemTime::now())).transpose().map_err(Failure::Usage)?;
        if let Some(primary) = self.there_already(&wish).await? {
            let group = &wish.group;
            self.session
                .remark(&format!("regent: {primary} is primary of {group} already; nothing to do"))?;
            let assignment = self.client.primary(group, Consistency::Linearizable).await?;
            return self.moved(&assignment, None);
        }
        let mut plan = self.client.plan_switchover(&wish).await?;
        self.session.remark(&words_of(&plan))?;
        if dry_run {
            let words = || "nothing was changed\n".to_owned();
            self.session.answer(self.format, &PlanView::from(&plan), words)?;
            return Ok(Exit::Ok);
        }
        if !yes {
            confirm(self.session)?;
        }
        if let Some(at) = at {
            self.wait_until(at).await?;
            plan = self.client.plan_switchover(&wish).await?;
        }
        // Named even when it is the heir, so that asking again after a broken connection cannot move it twice.
        let wish = Switchover { to: Some(plan.to.clone()), ..wish };
        let assignment = self.ask(&wish).await?;
        let waited = self.writable(&plan).await?;
        self.moved(&assignment, waited)
    }

    /// The primary, if it is who, or where, is asked for.
    async fn there_already(&self, wish: &Switchover) -> Result<Option<InstanceName>, Failure> {
        let Some(to) = &wish.to else { return Ok(None) };
        let Some(status) = group(self.client, &wish.group).await? else { return Ok(None) };
        let Some(primary) = status.primary else { return Ok(None) };
        let there =
            status.instances.iter().any(|one| one.name == primary && one.region.as_str() == to.as_str());
        Ok((primary == *to || there).then_some(primary))
    }

    async fn wait_until(&mut self, at: SystemTime) -> Result<(), Failure> {
        let left = || at.duration_since(SystemTime::now()).unwrap_or_default();
        self.session.remark(&format!(
            "regent: waits until {} ({} from now) in this terminal; nothing is scheduled anywhere else: keep it running, \
             Ctrl-C gives it up",
            humantime::format_rfc3339_seconds(at),
            words::span(left())
        ))?;
        while !left().is_zero() {
            sleep(left().min(NAP)).await;
        }
        Ok(())
    }

    /// Asks, and shows the steps until it is decided.
    async fn ask(&mut self, wish: &Switchover) -> Result<Assignment, Failure> {
        tokio::select! {
            decided = self.patient.switchover(wish) => Ok(decided?),
            unwritable = show_steps(self.client, self.session, &wish.group) => Err(unwritable),
        }
    }

    /// Waits until commits pass at the new primary. Returns how long they waited, if a node has heard it.
    async fn writable(&mut self, plan: &SwitchoverPlan) -> Result<Option<Duration>, Failure> {
        let end = Instant::now() + self.patience;
        loop {
            let status = group(self.client, &plan.group).await?;
            let Some(switching) = status.and_then(|status| status.switching) else { return Ok(None) };
            if switching.over || switching.to != plan.to {
                return Ok(switching.held.filter(|_| switching.to == plan.to));
            }
            if Instant::now() > end {
                let words = format!(
                    "regent: {} is decided and does not take writes yet; see `regent status`",
                    plan.to
                );
                self.session.remark(&words)?;
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    fn moved(&mut self, assignment: &Assignment, waited: Option<Duration>) -> Outcome {
        let words = || {
            let waited = waited.map(|waited| format!("; commits waited for about {}", words::span(waited)));
            format!("{}{}\n", changes::assignment(assignment), waited.unwrap_or_default())
        };
        self.session.answer(self.format, &SwitchoverView::of(assignment, waited), words)?;
        Ok(Exit::Ok)
    }
}

/// Shows the steps of what is under way in a group, for as long as that can be written.
pub async fn show_steps(client: &Client, session: &mut Session<'_>, of: &GroupName) -> Failure {
    let (start, mut shown) = (Instant::now(), None);
    loop {
        sleep(LOOK).await;
        // What cannot be seen now is seen the next time; the answer does not depend on it.
        let Ok(Some(status)) = group(client, of).await else { continue };
        let fresh = status.switching.filter(|one| one.began <= start.elapsed() + LOOK);
        let Some(switching) = fresh.filter(|one| shown != Some(one.step)) else { continue };
        shown = Some(switching.step);
        if let Err(error) = session.remark(&line(start.elapsed(), &step(&switching))) {
            return error;
        }
    }
}

pub async fn group(client: &Client, name: &GroupName) -> Result<Option<GroupStatus>, Failure> {
    let status = client.status(std::slice::from_ref(name)).await?;
    Ok(status.groups.into_iter().find(|one| one.group.name == *name))
}

/// Goes on only if somebody there says so.
pub fn confirm(session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.terminal.interactive {
        return Err(Failure::Usage(
            "there is no terminal to ask on: add --yes to go on without asking".into(),
        ));
    }
    if session.confirmed("Go on?")? {
        return Ok(());
    }
    Err(Failure::Refused("not confirmed; nothing was changed".into()))
}

/// What a switchover would do.
fn words_of(plan: &SwitchoverPlan) -> String {
    let SwitchoverPlan { group, from, to, lag_bytes, pause } = plan;
    let behind = match lag_bytes {
        Some(lag) => format!("{} behind", words::bytes(*lag)),
        None => "its lag is not known".to_owned(),
    };
    let pause = pause.map(|pause| format!(" for about {}", words::span(pause))).unwrap_or_default();
    format!(
        "{group}: the primary moves from {from} to {to} ({behind}). Commits wait{pause} meanwhile; none is lost."
    )
}

/// How far a switchover is.
pub fn step(switching: &Switching) -> String {
    let Switching { from, to, why, .. } = switching;
    let restart = from == to;
    let wait = if switching.held.is_some() { "commits wait; " } else { "" };
    match switching.step {
        Step::Checkpoint => format!("{from} makes a checkpoint; commits pass"),
        Step::CatchUp if restart => "its heir comes close; commits pass".to_owned(),
        Step::Held if restart => "commits wait; its heir receives the rest".to_owned(),
        Step::Stopping if restart => format!("{wait}{from} stops"),
        Step::Starting => format!("{wait}{from} starts"),
        Step::Restarted => format!("{from} is restarted"),
        Step::CatchUp => format!("{to} comes close; commits pass"),
        Step::Held => format!("commits wait; {to} receives the rest"),
        Step::Stopping => format!("commits wait; {from} sends the rest and stops"),
        Step::Released => format!("{from} has given up in favour of {to}"),
        Step::CalledOff => format!("called off: {why}"),
    }
}

fn line(after: Duration, words: &str) -> String {
    format!("{:>7} ms  {}", after.as_millis(), words::clean(words))
}
