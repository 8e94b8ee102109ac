//! The admin's calls that the harness needs, and waiting until the cluster is as it should be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::{CreateGroupRequest, GetStatusRequest, GroupStatus, Role, Status};
use regent_proto::v1::{SwitchoverRequest, TransferLeaderRequest};
use tonic::transport::{Channel, Endpoint};

use super::Cluster;
use super::topology::{GROUP, REGIONS, instance, region_of};

const CALL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A view of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Region of the Raft leader.
    pub leader: Option<usize>,
    /// Region of the primary.
    pub primary: Option<usize>,
    /// Its epoch; 0 before the first.
    pub epoch: u64,
    /// Whether it holds a lease.
    pub leased: bool,
    /// Region of who would take over.
    pub heir: Option<usize>,
    /// Standbys in the succession.
    pub successors: usize,
    /// Standbys that stream.
    pub streaming: usize,
    /// In words: who would take over, in how long, losing what.
    pub forecast: String,
}

impl View {
    /// Nothing is missing: a leader, a primary with a lease, all others ready to take over.
    pub fn is_whole(&self) -> bool {
        let others = REGIONS.len() - 1;
        self.leader.is_some() && self.leased && self.successors == others && self.streaming == others
    }

    fn of(status: &Status) -> View {
        let group =
            status.groups.iter().find(|one| one.group.as_ref().is_some_and(|group| group.name == GROUP));
        let empty = GroupStatus::default();
        let group = group.unwrap_or(&empty);
        let forecast = group.forecast.clone().unwrap_or_default();
        let standbys = || group.instances.iter().filter(|one| one.name != group.primary);
        let streams = |one: &&_| one_streams(one);
        View {
            leader: status.leader.map(|id| id as usize - 1),
            primary: region_of(&group.primary).ok(),
            epoch: group.epoch,
            leased: group.leased,
            heir: region_of(&forecast.heir).ok(),
            successors: standbys().filter(|one| one.place > 0).count(),
            streaming: standbys().filter(streams).count(),
            forecast: forecast.words,
        }
    }
}

fn one_streams(one: &regent_proto::v1::InstanceStatus) -> bool {
    one.role() == Role::Standby && one.streaming
}

/// Calls to whichever node answers.
pub struct Admin {
    nodes: Vec<SocketAddr>,
}

impl Admin {
    /// Of the regions that are not lost.
    pub fn of(cluster: &Cluster) -> Admin {
        Admin { nodes: cluster.living().into_iter().map(|region| cluster.node(region)).collect() }
    }

    /// Creates the group of the demo, with its first primary at home.
    pub async fn create_group(&self) -> anyhow::Result<()> {
        let request = CreateGroupRequest {
            group: GROUP.into(),
            mode: Some("async".into()),
            first: Some(instance(0)),
            ..Default::default()
        };
        self.call(async |mut client| Ok(client.create_group(request.clone()).await?)).await.map(drop)
    }

    /// Moves the primary.
    pub async fn switchover(&self, to: usize) -> anyhow::Result<()> {
        let request = SwitchoverRequest { group: GROUP.into(), to: Some(instance(to)) };
        self.call(async |mut client| Ok(client.switchover(request.clone()).await?)).await.map(drop)
    }

    /// Moves the Raft leadership.
    pub async fn transfer_leader(&self, to: usize) -> anyhow::Result<()> {
        let request = TransferLeaderRequest { to: to as u64 + 1 };
        self.call(async |mut client| Ok(client.transfer_leader(request).await?)).await.map(drop)
    }

    /// What the nodes know. The leader is asked if there is one: it hears of everybody.
    pub async fn view(&self) -> anyhow::Result<View> {
        let request = GetStatusRequest { groups: vec![GROUP.into()] };
        let status = self.call(async |mut client| Ok(client.get_status(request.clone()).await?)).await?;
        Ok(View::of(&status))
    }

    /// The first node that answers decides; the errors of all are told when none does.
    async fn call<T>(
        &self,
        request: impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> anyhow::Result<T> {
        let mut refusals = Vec::new();
        for node in &self.nodes {
            let endpoint =
                Endpoint::from_shared(format!("http://{node}"))?.connect_timeout(CALL).timeout(CALL);
            let answer = match endpoint.connect().await {
                Ok(channel) => request(AdminClient::new(channel)).await.map_err(|status| said(&status)),
                Err(error) => Err(error.to_string()),
            };
            match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(why) => refusals.push(format!("{node}: {why}")),
            }
        }
        bail!("no node did it: {}", refusals.join("; "))
    }
}

fn said(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Waits until `done` likes what it sees; `tell` hears of every look. Fails with the last look when time is up, and
/// at once when a process has died by itself.
pub async fn wait_for(
    cluster: &mut Cluster,
    what: &str,
    limit: Duration,
    done: impl Fn(&View) -> bool,
    mut tell: impl FnMut(&View),
) -> anyhow::Result<View> {
    let start = Instant::now();
    let mut last = String::from("nothing was heard");
    while start.elapsed() < limit {
        cluster.check_alive()?;
        match Admin::of(cluster).view().await {
            Ok(view) if done(&view) => return Ok(view),
            Ok(view) => {
                tell(&view);
                last = format!("{view:?}");
            }
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("{what}: not within {limit:?}; last seen: {last}")
}

/// Repeats an admin's call until it succeeds: right after a start or a move there may be no leader.
pub async fn insist(
    what: &str,
    limit: Duration,
    call: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match call().await {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > limit => return Err(error).with_context(|| what.to_string()),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
