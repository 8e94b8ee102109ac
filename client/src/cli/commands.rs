//! What each command does.

use super::args::{Args, Command, GroupCommand, LeaderCommand};
use super::exit::Exit;
use super::print::{Failure, Format, Session};
use super::view::{AssignmentView, ChangeView, GroupView, LeaderView, ReplicaView, StatusView};
use super::{changes, drain, status, switchover, words};
use crate::connection::Options;
use crate::leadership::Client;
use futures::StreamExt;
use regent_core::ids::{GroupName, NodeId};
use regent_core::quorum::Electorate;
use regent_core::replication::Mode;
use regent_proto::api::{Consistency, NewGroup, NewMode, Switchover};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) type Outcome = Result<Exit, Failure>;

/// One command with its client.
struct Run<'a, 'b> {
    client: Client,
    format: Format,
    session: &'a mut Session<'b>,
}

pub async fn run(args: Args, session: &mut Session<'_>) -> Outcome {
    let options = Options { timeout: args.timeout, ..Options::default() };
    let client = Client::with_options(args.endpoints.clone(), options.clone())?;
    let mut run = Run { client, format: args.output, session };
    match args.command {
        Command::Status { group } => run.status(group).await,
        Command::Primary { group, local } => run.primary(&group, local).await,
        Command::Replicas { group } => run.replicas(&group).await,
        Command::Watch { groups } => run.watch(groups).await,
        Command::History { group } => run.history(&group).await,
        Command::Switchover { group, to, at, wait, dry_run, yes } => {
            let wish = Switchover { group, to, wait: Some(wait) };
            let patient = Options { timeout: args.timeout + wait, ..options };
            let patient = Client::with_options(args.endpoints, patient)?;
            let (client, format, session) = (&run.client, run.format, &mut *run.session);
            let run = switchover::Run { client, patient: &patient, patience: args.timeout, format, session };
            run.run(switchover::Wish { wish, at, dry_run, yes }).await
        }
        Command::Drain { region, wait } => {
            drain::drain(&run.client, run.format, run.session, &region, wait).await
        }
        Command::Undrain { region } => drain::undrain(&run.client, run.format, run.session, &region).await,
        Command::Group(GroupCommand::List) => run.groups().await,
        Command::Group(GroupCommand::Create {
            name,
            first,
            ttl_ms,
            suspicion_ms,
            max_promotion_lag,
            mode,
            sync_count,
            rpo,
            policy,
            electorate,
        }) => {
            let new = NewGroup {
                mode: mode.map(|mode| numbered(mode, sync_count, rpo)).transpose()?,
                policy,
                ttl: ttl_ms.map(Duration::from_millis),
                suspicion: suspicion_ms.map(Duration::from_millis),
                max_promotion_lag,
                first,
                electorate: electorate.map(nodes),
                ..NewGroup::new(name)
            };
            run.create(new).await
        }
        Command::Group(GroupCommand::Set { name, mode, sync_count, rpo, policy }) => {
            run.set_mode(NewMode { group: name, mode: numbered(mode, sync_count, rpo)?, policy }).await
        }
        Command::Leader(LeaderCommand::Transfer { node }) => run.transfer(NodeId(node)).await,
        Command::Electorate { group, nodes: ids } => run.electorate(&group, nodes(ids)).await,
    }
}

/// The mode with the numbers that were given beside it.
fn numbered(mode: Mode, count: Option<u8>, rpo: Option<Duration>) -> Result<Mode, Failure> {
    let nobody = || {
        let what = "--sync-count says how many confirm in sync, bounded and quorum; in async nobody does";
        Failure::Usage(what.to_owned())
    };
    let mode = count.map_or(Ok(mode), |count| mode.with_count(count).ok_or_else(nobody))?;
    match (mode, rpo) {
        (mode, None) => Ok(mode),
        (Mode::Bounded { count, .. }, Some(rpo)) => Ok(Mode::Bounded { rpo, count }),
        (mode, Some(_)) => Err(Failure::Usage(format!(
            "--rpo says how old what is lost may be in bounded; {} has no such bound",
            mode.kind()
        ))),
    }
}

fn nodes(ids: Vec<u64>) -> Electorate {
    ids.into_iter().map(NodeId).collect()
}

impl Run<'_, '_> {
    async fn status(&mut self, group: Option<GroupName>) -> Outcome {
        let groups: Vec<GroupName> = group.into_iter().collect();
        let found = self.client.status(&groups).await?;
        let terminal = self.session.terminal;
        self.session.answer(self.format, &StatusView::from(&found), || status::page(&found, terminal))?;
        Ok(if status::problems(&found).is_empty() { Exit::Ok } else { Exit::Unwell })
    }

    async fn primary(&mut self, group: &GroupName, local: bool) -> Outcome {
        let consistency = if local { Consistency::Local } else { Consistency::Linearizable };
        let found = self.client.primary(group, consistency).await?;
        let address = found.primary.as_ref().map(|primary| format!("{}\n", words::clean(&primary.address)));
        let none = address.is_none();
        self.session.answer(self.format, &AssignmentView::from(&found), || address.unwrap_or_default())?;
        if none {
            let words = "has no primary yet: start the agent of its first instance";
            self.session.remark(&format!("regent: group {group} {words}"))?;
            return Ok(Exit::Unwell);
        }
        Ok(Exit::Ok)
    }

    async fn replicas(&mut self, group: &GroupName) -> Outcome {
        let found = self.client.replicas(group).await?;
        let view: Vec<ReplicaView> = found.iter().map(Into::into).collect();
        let lines = || found.iter().map(|one| format!("{}\n", words::clean(&one.address))).collect();
        self.session.answer(self.format, &view, lines)?;
        Ok(if found.is_empty() { Exit::Unwell } else { Exit::Ok })
    }

    async fn watch(&mut self, groups: Vec<GroupName>) -> Outcome {
        let mut events = self.client.watch(groups);
        while let Some(event) = events.next().await {
            let event = event?;
            let view = changes::event_view(&event);
            self.session.event(self.format, &view, || changes::event(&event, now_unix_ms()))?;
        }
        Ok(Exit::Ok)
    }

    async fn history(&mut self, group: &GroupName) -> Outcome {
        let found = self.client.history(group).await?;
        let view: Vec<ChangeView> = found.iter().map(Into::into).collect();
        let terminal = self.session.terminal;
        self.session.answer(self.format, &view, || changes::history(&found, terminal))?;
        Ok(Exit::Ok)
    }

    async fn create(&mut self, new: NewGroup) -> Outcome {
        let group = self.client.create_group(new).await?;
        let words = || format!("group {} created: {}\n", group.name, status::terms(&group));
        self.session.answer(self.format, &GroupView::from(&group), words)?;
        Ok(Exit::Ok)
    }

    async fn set_mode(&mut self, wish: NewMode) -> Outcome {
        let group = self.client.set_mode(wish).await?;
        let words = || format!("group {}: {}\n", group.name, status::terms(&group));
        self.session.answer(self.format, &GroupView::from(&group), words)?;
        Ok(Exit::Ok)
    }

    async fn groups(&mut self) -> Outcome {
        let found = self.client.groups().await?;
        let view: Vec<GroupView> = found.iter().map(Into::into).collect();
        let terminal = self.session.terminal;
        self.session.answer(self.format, &view, || changes::groups(&found, terminal))?;
        Ok(Exit::Ok)
    }

    async fn transfer(&mut self, to: NodeId) -> Outcome {
        let raft_term = self.client.transfer_leader(to).await?;
        let view = LeaderView { raft_leader: to.0, raft_term };
        self.session.answer(self.format, &view, || format!("node {to} leads Raft in term {raft_term}\n"))?;
        Ok(Exit::Ok)
    }

    async fn electorate(&mut self, group: &GroupName, electorate: Electorate) -> Outcome {
        let found = self.client.set_electorate(group, electorate).await?;
        let words = || format!("group {group} is governed by nodes {}\n", words::list(&found.electorate));
        self.session.answer(self.format, &GroupView::from(&found), words)?;
        Ok(Exit::Ok)
    }
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
