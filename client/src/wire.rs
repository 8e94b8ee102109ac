//! The calls themselves. The only file of the library that names the wire; everything here speaks core types.

use futures::{Stream, StreamExt};
use regent_core::ids::{GroupName, NodeId, RegionName};
use regent_core::state::{Change, Group};
use regent_proto::api::{
    Assignment, Drain, NewElectorate, NewGroup, NewMode, PrimaryQuery, Restart, RestartPlan, Status,
    Switchover, SwitchoverPlan, Told, WatchQuery,
};
use regent_proto::convert::{ConvertError, regions};
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::leadership_client::LeadershipClient;
use regent_proto::v1::{GetHistoryRequest, GetStatusRequest, ListGroupsRequest, TransferLeaderRequest};
use std::time::Duration;
use tonic::Request;
use tonic::transport::Channel;

/// The largest answer taken from a node: the status of some thousand groups.
const MAX_ANSWER: usize = 64 << 20;

/// Why one call to one node failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The node, or the way to it, said no.
    Status(Box<tonic::Status>),
    /// The node's answer cannot be read.
    Malformed(ConvertError),
}

impl From<tonic::Status> for Fault {
    fn from(status: tonic::Status) -> Fault {
        Fault::Status(Box::new(status))
    }
}

impl From<ConvertError> for Fault {
    fn from(error: ConvertError) -> Fault {
        Fault::Malformed(error)
    }
}

/// One attempt: where, and how long the node may take.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub channel: Channel,
    pub limit: Duration,
}

impl Attempt {
    /// The node is told the deadline, so that it does not go on working for nobody.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.limit);
        request
    }

    fn leadership(&self) -> LeadershipClient<Channel> {
        LeadershipClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }
}

pub(crate) async fn primary(attempt: Attempt, query: PrimaryQuery) -> Result<Assignment, Fault> {
    let answer = attempt.leadership().get_primary(attempt.request(query.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

/// Only the opening is bounded in time, by the caller: the stream itself lasts.
pub(crate) async fn watch(
    attempt: Attempt,
    query: WatchQuery,
) -> Result<impl Stream<Item = Result<Told, Fault>> + Send + Unpin + use<>, Fault> {
    let stream = attempt.leadership().watch(Request::new(query.into())).await?.into_inner();
    Ok(stream.map(|event| Ok(Told::try_from(event?)?)))
}

pub(crate) async fn create_group(attempt: Attempt, new: NewGroup) -> Result<Group, Fault> {
    let answer = attempt.admin().create_group(attempt.request(new.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn groups(attempt: Attempt) -> Result<Vec<Group>, Fault> {
    let answer = attempt.admin().list_groups(attempt.request(ListGroupsRequest {})).await?;
    let groups = answer.into_inner().groups.into_iter().map(Group::try_from);
    Ok(groups.collect::<Result<_, _>>()?)
}

pub(crate) async fn status(attempt: Attempt, groups: Vec<GroupName>) -> Result<Status, Fault> {
    let groups = groups.into_iter().map(Into::into).collect();
    let answer = attempt.admin().get_status(attempt.request(GetStatusRequest { groups })).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn history(attempt: Attempt, group: GroupName) -> Result<Vec<Change>, Fault> {
    let request = GetHistoryRequest { group: group.into() };
    let answer = attempt.admin().get_history(attempt.request(request)).await?;
    let changes = answer.into_inner().changes.into_iter().map(Change::try_from);
    Ok(changes.collect::<Result<_, _>>()?)
}

pub(crate) async fn switchover(attempt: Attempt, wish: Switchover) -> Result<Assignment, Fault> {
    let answer = attempt.admin().switchover(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn plan_switchover(attempt: Attempt, wish: Switchover) -> Result<SwitchoverPlan, Fault> {
    let answer = attempt.admin().plan_switchover(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn restart(attempt: Attempt, wish: Restart) -> Result<RestartPlan, Fault> {
    let answer = attempt.admin().restart(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn plan_restart(attempt: Attempt, wish: Restart) -> Result<RestartPlan, Fault> {
    let answer = attempt.admin().plan_restart(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn set_drained(attempt: Attempt, wish: Drain) -> Result<Vec<RegionName>, Fault> {
    let answer = attempt.admin().set_drained(attempt.request(wish.into())).await?;
    Ok(regions("drained", answer.into_inner().drained)?)
}

pub(crate) async fn set_electorate(attempt: Attempt, wish: NewElectorate) -> Result<Group, Fault> {
    let answer = attempt.admin().set_electorate(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn set_mode(attempt: Attempt, wish: NewMode) -> Result<Group, Fault> {
    let answer = attempt.admin().set_mode(attempt.request(wish.into())).await?;
    Ok(answer.into_inner().try_into()?)
}

pub(crate) async fn transfer_leader(attempt: Attempt, to: NodeId) -> Result<u64, Fault> {
    let request = TransferLeaderRequest { to: to.0 };
    let answer = attempt.admin().transfer_leader(attempt.request(request)).await?;
    Ok(answer.into_inner().term)
}
