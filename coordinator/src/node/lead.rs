//! What the loop does as Raft leader, and what it notes for people.

use super::proposals::{Ending, subject};
use super::{AgentStream, Event, Node, NodeError};
use crate::clock;
use crate::node::handle::Input;
use crate::raft::ProposeError;
use regent_core::command::{Command, Instance};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId};
use regent_core::message::{HandOver, Solicit, ToAgent, ToNode};
use regent_core::plan::{Action, plan};
use regent_core::restart;
use regent_core::state::{Group, Rejected};
use regent_core::switchover::{Plan, Refused};
use regent_core::time::Time;
use regent_core::vote::{Certificate, Vote};
use regent_proto::api::{Restart, Switchover};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The leader looks at most this often: its plan is about all groups, a report about one.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a proposal may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    /// Looks who leads; if this node does, looks what is to be done, and does it.
    pub(super) async fn lead(&mut self) -> Result<(), NodeError> {
        let now = clock::now();
        self.notice_leader(now);
        if !self.led.ready || now < self.plan_at {
            return Ok(());
        }
        self.plan_at = now + PAUSE;
        let state = self.book.state();
        let own: Vec<_> = self.book.witness.standings(now).collect();
        own.into_iter().for_each(|standing| self.book.view.standing(standing, now));
        self.book.view.members = self.book.members(&state);
        self.book.view.look(&state, now);
        let actions = plan(&state, &self.book.view, now, clock::unix_ms());
        for action in actions {
            match action {
                Action::Propose(command) => self.propose(command, now),
                Action::Solicit(solicit) => {
                    self.announce(&solicit, now);
                    self.book.view.solicited(&solicit, now);
                    self.solicit(solicit).await?;
                }
                Action::SolicitAgain(solicit) => {
                    self.book.view.solicited_again(&solicit.group, now);
                    self.solicit(solicit).await?;
                }
                Action::Move(group, wish) => self.begin_hand_over(&group, &wish, now),
                Action::Ask(group, instance, message) => self.ask_agent(&group, &instance, message),
            }
        }
        Ok(())
    }

    fn notice_leader(&mut self, now: Time) {
        let leadership = self.book.leadership();
        if leadership == self.led {
            return;
        }
        let (leader, term, ready) = (leadership.leader, leadership.term, leadership.ready);
        if ready && !(self.led.ready && self.led.term == term) {
            tracing::info!(term, "this node leads Raft");
            self.audit.note_at(now, "leader", json!({ "term": term }));
            self.book.view.begin_to_lead(now);
            self.plan_at = now;
        } else if leader != self.led.leader {
            match leader {
                Some(leader) if leader == self.book.me.0 => {}
                Some(leader) => tracing::info!(term, "node {leader} leads Raft"),
                None => tracing::info!(term, "nobody leads Raft; leases and promotions go on without"),
            }
        }
        self.led = leadership;
    }

    fn propose(&mut self, command: Command, now: Time) {
        let subject = subject(&command);
        if !self.proposals.begin(&subject, now) {
            return;
        }
        let (raft, handle) = (self.raft.clone(), self.handle.clone());
        tokio::spawn(async move {
            let ending = match raft.propose(command, PATIENCE).await {
                Ok(Ok(_)) => {
                    tracing::debug!("written into the log: {subject}");
                    Ending::Applied
                }
                // The state has moved on since the plan: the next plan knows.
                Ok(Err(Rejected::Stale { .. })) => Ending::Failed,
                Ok(Err(rejected)) => {
                    tracing::warn!("the log refused what the leader wanted ({subject}): {rejected}");
                    Ending::Rejected
                }
                Err(ProposeError::NotLeader { .. }) => Ending::Failed,
                Err(error) => {
                    tracing::warn!("not written into the log ({subject}): {error}");
                    Ending::Failed
                }
            };
            // The loop has ended if it does not listen.
            let _ = handle.send(Input::Proposed(subject, ending)).await;
        });
    }

    fn announce(&mut self, solicit: &Solicit, now: Time) {
        let Solicit { group, epoch, named, reason, .. } = solicit;
        tracing::info!("group {group}: the leader asks for votes for {named} in epoch {epoch}: {reason}");
        let fields = json!({"group": group, "epoch": epoch, "instance": named, "reason": reason.to_string()});
        self.audit.note_at(now, "solicited", fields);
    }

    async fn solicit(&mut self, solicit: Solicit) -> Result<(), NodeError> {
        self.tell_nodes(&ToNode::Solicit(solicit.clone()));
        self.step(Event::Node(ToNode::Solicit(solicit))).await
    }

    fn ask_agent(&mut self, group: &GroupName, instance: &InstanceName, message: ToAgent) {
        tracing::debug!("group {group}: the leader asks {instance}: {message:?}");
        self.agents.tell(group, instance, message);
    }

    pub(super) fn hand_over(&mut self, wish: &Switchover, now: Time) -> Result<Plan, Refused> {
        let plan = self.book.plan_switchover(wish, now)?;
        self.begin_hand_over(&wish.group, &plan.wish, now);
        Ok(plan)
    }

    pub(super) fn restart(&mut self, wish: &Restart, now: Time) -> Result<restart::Plan, Refused> {
        let plan = self.book.plan_restart(wish, now)?;
        if plan.wish.restart {
            self.begin_hand_over(&wish.group, &plan.wish, now);
        }
        Ok(plan)
    }

    /// The next plan asks the primary, or who is to be restarted.
    fn begin_hand_over(&mut self, group: &GroupName, asked: &HandOver, now: Time) {
        let what = if asked.restart { "restart of" } else { "switchover to" };
        tracing::info!("group {group}: {what} {} is asked for", asked.to);
        let fields = json!({"group": group, "epoch": asked.epoch, "instance": asked.to});
        self.audit.note_at(now, if asked.restart { "restart" } else { "switchover" }, fields);
        self.book.view.ask_hand_over(group, asked.clone(), now);
        self.plan_at = now;
    }

    /// A stream is that of an instance: it is told what the log says, as soon as the log says something of its group.
    pub(super) fn attach(
        &mut self,
        stream: &Arc<AgentStream>,
        group: GroupName,
        instance: InstanceName,
        at: Instance,
        now: Time,
    ) -> Result<(), Rejected> {
        let state = self.book.state();
        let registered = state.groups.get(&group).and_then(|known| known.instances.get(&instance));
        if let Some(there) = registered.filter(|there| there.region != at.region) {
            let (registered, got) = (there.region.clone(), at.region);
            return Err(Rejected::InstanceElsewhere { instance, registered, got });
        }
        self.book.view.hello(&group, instance.clone(), at, now);
        if self.agents.attach(group.clone(), instance.clone(), stream) {
            match self.book.witness.group(&group) {
                Some(known) => {
                    tracing::info!("group {group}: the agent of {instance} is here");
                    let known = ToAgent::Known(Box::new(known.clone()));
                    self.agents.tell(&group, &instance, known);
                    if let Some(certificate) = self.book.witness.decided(&group) {
                        let decided = ToAgent::Decided(certificate.clone());
                        self.agents.tell(&group, &instance, decided);
                    }
                }
                None => tracing::warn!(
                    "the agent of {instance} waits for group {group}, which this node does not know; create it with \
                     `regent group create {group}`"
                ),
            }
        }
        Ok(())
    }

    pub(super) fn note_vote(&mut self, vote: &Vote, cast: Time) {
        let Vote { group, floor, named, reason, .. } = vote;
        tracing::info!("group {group}: votes for {named} in epoch {floor}: {reason}");
        let mut fields = json!({"group": group, "epoch": floor, "instance": named, "witness": vote.witness,
            "since": vote.since, "reason": reason.to_string(), "cast_ns": cast.0});
        if let Some(promised) = self.granted.voted(vote, cast) {
            fields["promised"] = promised;
        }
        self.audit.note("vote", fields);
    }

    pub(super) fn note_decision(&self, certificate: &Certificate) {
        let (group, epoch, named) = (certificate.group(), certificate.epoch(), certificate.named());
        let reason = certificate.reason();
        let voters: Vec<_> = certificate.votes().iter().map(|vote| vote.witness).collect();
        tracing::info!(
            "group {group}: {named} is decided for epoch {epoch}, by the votes of {voters:?}: {reason}"
        );
        let fields = json!({"group": group, "epoch": epoch, "instance": named, "voters": voters,
            "reason": reason.to_string()});
        self.audit.note("decided", fields);
    }

    pub(super) fn note_applied(&self, group: &Group, before: Option<&(Epoch, Vec<InstanceName>)>) {
        let (name, epoch) = (&group.name, group.epoch);
        if before.is_none() {
            let nodes: Vec<String> = group.electorate.iter().map(NodeId::to_string).collect();
            tracing::info!("group {name}: is known here, governed by the nodes {}", nodes.join(", "));
        }
        let (was, succession) = before.cloned().unwrap_or_default();
        if epoch > was
            && let (Some(primary), Some(change)) = (&group.primary, group.history.last())
        {
            let reason = change.reason.to_string();
            tracing::info!("group {name}: epoch {epoch} of {primary} is in the log: {reason}");
            let fields = json!({"group": name, "epoch": epoch, "instance": primary, "revision": group.revision,
                "reason": reason});
            self.audit.note("recorded", fields);
        }
        if succession != group.succession {
            let list: Vec<_> = group.succession.iter().map(InstanceName::as_str).collect();
            let shown = if list.is_empty() { "nobody".to_owned() } else { list.join(", ") };
            tracing::info!("group {name}: succession of epoch {epoch}: {shown}");
            let fields =
                json!({"group": name, "epoch": epoch, "succession": list, "revision": group.revision});
            self.audit.note("succession", fields);
        }
    }
}
