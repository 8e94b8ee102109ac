//! The admin's calls. Any node answers; what must be written is passed on to the Raft leader.

use super::peers::Peers;
use super::status::status;
use super::{patience, stopping};
use crate::config::Config;
use crate::node::{Book, Handle};
use crate::raft::{ProposeError, Raft};
use crate::watch::Hub;
use regent_core::command::Command;
use regent_core::ids::{GroupName, NodeId};
use regent_core::quorum::Electorate;
use regent_core::replication::check_change;
use regent_core::state::{Group, Rejected};
use regent_proto::api::{Drain, NewElectorate, NewGroup, NewMode, Restart, Switchover};
use regent_proto::convert::{name, node_id, rejection};
use regent_proto::v1;
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::admin_server::Admin;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// A call passed on by another node has this: it is not passed on again.
const PASSED_ON: &str = "regent-passed-on";

/// See above.
pub struct Service {
    /// The configuration.
    pub config: Arc<Config>,
    /// The loop.
    pub node: Handle,
    /// The log.
    pub raft: Raft,
    /// What watchers are told.
    pub hub: Arc<Hub>,
    /// The other nodes.
    pub peers: Arc<Peers>,
}

/// Who has to carry out a call.
enum Turn {
    /// This node.
    Here,
    /// The leader, by this client.
    Pass(AdminClient<Channel>),
}

#[tonic::async_trait]
impl Admin for Service {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let deadline = Instant::now() + patience(&request);
        let new: NewGroup = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.create_group(passed_on(request, deadline)).await,
            Turn::Here => {
                let group = self.create(new, deadline).await?;
                Ok(Response::new(group.into()))
            }
        }
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let state = self.raft.state().borrow().state.clone();
        let groups = state.groups.values().map(|group| group.clone().into()).collect();
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::Status>, Status> {
        let groups = request.into_inner().groups.into_iter().map(|group| name("groups", group));
        let groups: Vec<GroupName> = groups.collect::<Result<_, _>>()?;
        let look = move |book: &Book, now| {
            let state = book.state();
            groups.iter().try_for_each(|group| state.group(group).map(drop))?;
            Ok(status(book, &groups, now))
        };
        let seen = self.node.ask(look).await.map_err(stopping)?;
        Ok(Response::new(seen.map_err(|unknown: Rejected| rejection(&unknown))?.into()))
    }

    async fn get_history(
        &self,
        request: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        let group = self.group(&name("group", request.into_inner().group)?)?;
        let changes = group.history.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::GetHistoryResponse { changes }))
    }

    async fn switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<v1::Assignment>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: Switchover = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.switchover(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.switch(wish, deadline).await?.into())),
        }
    }

    async fn plan_switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<v1::SwitchoverPlan>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: Switchover = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.plan_switchover(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.plan(wish).await?.into())),
        }
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartPlan>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: Restart = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.restart(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.carry_out_restart(wish, deadline).await?.into())),
        }
    }

    async fn plan_restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartPlan>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: Restart = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.plan_restart(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.look_at_restart(wish).await?.into())),
        }
    }

    async fn set_drained(
        &self,
        request: Request<v1::SetDrainedRequest>,
    ) -> Result<Response<v1::SetDrainedResponse>, Status> {
        let deadline = Instant::now() + patience(&request);
        let Drain { region, drained } = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.set_drained(passed_on(request, deadline)).await,
            Turn::Here => {
                self.write(Command::SetDrained { region, drained }, deadline).await?;
                let drained = self.raft.state().borrow().state.drained.clone();
                let drained = drained.into_iter().map(Into::into).collect();
                Ok(Response::new(v1::SetDrainedResponse { drained }))
            }
        }
    }

    async fn set_electorate(
        &self,
        request: Request<v1::SetElectorateRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: NewElectorate = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.set_electorate(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.govern(wish, deadline).await?.into())),
        }
    }

    async fn set_mode(&self, request: Request<v1::SetModeRequest>) -> Result<Response<v1::Group>, Status> {
        let deadline = Instant::now() + patience(&request);
        let wish: NewMode = request.get_ref().clone().try_into()?;
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.set_mode(passed_on(request, deadline)).await,
            Turn::Here => Ok(Response::new(self.change_mode(wish, deadline).await?.into())),
        }
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let deadline = Instant::now() + patience(&request);
        let to = node_id("to", request.get_ref().to)?;
        if !self.config.peers.iter().any(|peer| NodeId(peer.id) == to) {
            let known = self.config.peers.iter().map(|peer| NodeId(peer.id)).collect();
            return Err(rejection(&Rejected::UnknownNode { got: to, known }));
        }
        match self.turn(&request, deadline).await? {
            Turn::Pass(mut leader) => leader.transfer_leader(passed_on(request, deadline)).await,
            Turn::Here => {
                let moved = timeout_at(deadline, self.raft.transfer(to.0)).await;
                let moved = moved.map_err(|_| {
                    let why = "it has to be in touch with the leader and lack nothing; see `regent status`";
                    Status::deadline_exceeded(format!("node {to} has not taken over in time: {why}"))
                })?;
                moved.map_err(|error| Status::unavailable(error.to_string()))?;
                let term = self.raft.leadership().borrow().term;
                Ok(Response::new(v1::TransferLeaderResponse { term }))
            }
        }
    }
}

/// The same call, for the leader, with what is left of the time.
fn passed_on<T>(request: Request<T>, deadline: Instant) -> Request<T> {
    let mut passed = Request::new(request.into_inner());
    passed.set_timeout(deadline.saturating_duration_since(Instant::now()));
    passed.metadata_mut().insert(PASSED_ON, tonic::metadata::MetadataValue::from_static("1"));
    passed
}

impl Service {
    /// Waits until somebody is known to lead.
    async fn turn<T>(&self, request: &Request<T>, deadline: Instant) -> Result<Turn, Status> {
        let mut leadership = self.raft.leadership();
        let me = self.config.node;
        let known = leadership.wait_for(|now| now.ready || now.leader.is_some_and(|leader| leader != me));
        let leader = match timeout_at(deadline, known).await {
            Err(_) => return Err(no_leader()),
            Ok(Err(_)) => return Err(stopping(crate::node::Stopping)),
            Ok(Ok(now)) if now.ready => return Ok(Turn::Here),
            Ok(Ok(now)) => now.leader,
        };
        if request.metadata().contains_key(PASSED_ON) {
            return Err(Status::unavailable("the Raft leader has just changed; try again"));
        }
        let client = leader.and_then(|leader| self.peers.admin(NodeId(leader)));
        client.map(Turn::Pass).ok_or_else(|| {
            Status::unavailable(
                "the Raft leader is not among the peers of this node; ask another node, and correct `peers`",
            )
        })
    }

    pub(super) fn group(&self, group: &GroupName) -> Result<Group, Status> {
        let state = self.raft.state().borrow().state.clone();
        state.group(group).cloned().map_err(|unknown| rejection(&unknown))
    }

    async fn write(&self, command: Command, deadline: Instant) -> Result<(), Status> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.raft.propose(command, left).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(rejected)) => Err(rejection(&rejected)),
            Err(error) => Err(match &error {
                ProposeError::Undecided { .. } => Status::deadline_exceeded(error.to_string()),
                ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
                ProposeError::NotLeader { .. } | ProposeError::Stopped(_) => {
                    Status::unavailable(error.to_string())
                }
            }),
        }
    }

    async fn create(&self, new: NewGroup, deadline: Instant) -> Result<Group, Status> {
        let all = || self.config.peers.iter().map(|peer| NodeId(peer.id)).collect::<Electorate>();
        let electorate = new.electorate.clone().unwrap_or_else(all);
        if electorate.is_subset(&all()) {
            self.all_known(&electorate, deadline).await?;
        }
        let (terms, group) = (new.terms(), new.group);
        let command = Command::CreateGroup { group: group.clone(), terms, electorate, first: new.first };
        self.write(command, deadline).await?;
        self.group(&group)
    }

    /// Right after the first start the leader may not have written all nodes down yet.
    async fn all_known(&self, nodes: &Electorate, deadline: Instant) -> Result<(), Status> {
        let mut state = self.raft.state();
        let known = state.wait_for(|now| nodes.iter().all(|id| now.state.nodes.contains_key(id)));
        match timeout_at(deadline, known).await {
            Ok(_) => Ok(()),
            Err(_) => Err(no_leader()),
        }
    }

    async fn change_mode(&self, wish: NewMode, deadline: Instant) -> Result<Group, Status> {
        let NewMode { group, mode, policy } = wish;
        let known = self.group(&group)?;
        let policy = policy.unwrap_or(known.terms.policy);
        let check = move |book: &Book, now| check_change(&known, book.view.group(&known.name), mode, now);
        let checked = self.node.ask(check);
        checked.await.map_err(stopping)?.map_err(|rejected| rejection(&rejected))?;
        self.write(Command::SetMode { group: group.clone(), mode, policy }, deadline).await?;
        self.group(&group)
    }

    async fn govern(&self, wish: NewElectorate, deadline: Instant) -> Result<Group, Status> {
        let NewElectorate { group, electorate } = wish;
        let command = Command::SetDesiredElectorate { group: group.clone(), electorate: electorate.clone() };
        self.write(command, deadline).await?;
        let mut state = self.raft.state();
        let reached = state
            .wait_for(|now| now.state.groups.get(&group).is_some_and(|group| group.electorate == electorate));
        match timeout_at(deadline, reached).await {
            Ok(_) => self.group(&group),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "group {group}: the electorate is not {electorate:?} yet; it changes by one witness at a time while the \
                 primary holds its lease, and goes on: see `regent status`"
            ))),
        }
    }
}

fn no_leader() -> Status {
    Status::unavailable(
        "nobody leads Raft, so nothing can be written; leases and promotions go on. Try again in a moment; if it lasts, see \
         that a majority of the nodes runs and reaches each other",
    )
}
