//! The admin's calls that the harness needs, and waiting until the cluster is as it should be.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_client::{
    Client, Error, GroupName, GroupStatus, InstanceName, InstanceStatus, NewGroup, NewMode, NodeId,
};
use regent_client::{Options, Status, Switchover};
use regent_core::message::Role;
use regent_core::replication::Mode;
use regent_core::state::Change;
use regent_world::history::Log;

use super::Cluster;
use super::topology::{GROUP, instance, region_of};

const CALL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A view of the cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Region of the Raft leader.
    pub leader: Option<usize>,
    /// Region of the primary.
    pub primary: Option<usize>,
    /// Its epoch; 0 before the first.
    pub epoch: u64,
    /// Whether it holds a lease.
    pub leased: bool,
    /// How many standbys there are to be.
    pub standbys: usize,
    /// Region of who would take over.
    pub heir: Option<usize>,
    /// How many standbys belong into the succession: all, or those that confirm.
    pub wanted: usize,
    /// Standbys in the succession.
    pub successors: usize,
    /// Standbys that stream.
    pub streaming: usize,
    /// The regions whose nodes govern the group.
    pub electorate: Vec<usize>,
    /// In words: who would take over, in how long, losing what.
    pub forecast: String,
    /// What stands in the way of each instance, by region; only those that have something to say.
    pub troubles: Vec<(usize, String)>,
}

impl View {
    /// Nothing is missing: a leader, a primary with a lease, all others ready to take over.
    pub fn is_whole(&self) -> bool {
        let ready = self.successors == self.wanted && self.streaming == self.standbys;
        // A node that has just started does not know an heir yet.
        self.leader.is_some() && self.leased && self.heir.is_some() && ready
    }

    /// There is a leader, and a primary that may write.
    pub fn is_led(&self) -> bool {
        self.leader.is_some() && self.leased
    }

    fn of(status: &Status, standbys: usize) -> View {
        let leader = status.leader.map(|id| id.0 as usize - 1);
        let Some(group) = status.groups.iter().find(|one| one.group.name.as_str() == GROUP) else {
            return View { leader, standbys, ..View::default() };
        };
        let others = || group.instances.iter().filter(|one| group.primary.as_ref() != Some(&one.name));
        let forecast = group.forecast.as_ref();
        View {
            leader,
            primary: place(group.primary.as_ref()),
            epoch: group.epoch.0,
            leased: group.leased,
            standbys,
            heir: place(forecast.and_then(|forecast| forecast.heir.as_ref())),
            wanted: match group.group.terms.mode {
                Mode::Async | Mode::Quorum { .. } => standbys,
                Mode::Sync { count } | Mode::Bounded { count, .. } => usize::from(count),
            },
            successors: others().filter(|one| one.place.is_some()).count(),
            streaming: others().filter(|one| streams(one)).count(),
            electorate: group.group.electorate.iter().map(|id| id.0 as usize - 1).collect(),
            forecast: forecast.map(|forecast| forecast.words.clone()).unwrap_or_default(),
            troubles: troubles(group),
        }
    }
}

fn place(instance: Option<&InstanceName>) -> Option<usize> {
    region_of(instance?.as_str()).ok()
}

fn streams(one: &InstanceStatus) -> bool {
    one.role == Some(Role::Standby) && one.streaming
}

fn troubles(group: &GroupStatus) -> Vec<(usize, String)> {
    let troubled = group.instances.iter().filter(|one| !one.trouble.is_empty());
    troubled.filter_map(|one| Some((place(Some(&one.name))?, one.trouble.clone()))).collect()
}

/// Calls to whichever node answers.
pub struct Admin {
    client: Client,
    standbys: usize,
}

impl Admin {
    /// Of the regions that are not lost.
    pub fn of(cluster: &Cluster) -> anyhow::Result<Admin> {
        Admin::at(cluster, &cluster.living())
    }

    /// Of those alone.
    pub fn at(cluster: &Cluster, regions: &[usize]) -> anyhow::Result<Admin> {
        let nodes = regions.iter().map(|region| cluster.node(*region).to_string());
        let options = Options { timeout: CALL, ..Options::default() };
        Ok(Admin { client: Client::with_options(nodes, options)?, standbys: cluster.instances() - 1 })
    }

    /// Creates the group of the demo, with its first primary at home. It may be there from an attempt whose answer
    /// was lost.
    pub async fn create_group(&self, ttl: Option<Duration>) -> anyhow::Result<()> {
        let new = NewGroup { first: Some(name(0)?), ttl, ..NewGroup::new(group()?) };
        match self.client.create_group(new).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes when commits are acknowledged.
    pub async fn set_mode(&self, mode: Mode) -> anyhow::Result<()> {
        self.client.set_mode(NewMode { group: group()?, mode, policy: None }).await?;
        Ok(())
    }

    /// Fails while the group does not keep yet what its mode promises.
    pub async fn in_force(&self) -> anyhow::Result<()> {
        let status = self.client.status(&[group()?]).await?;
        let one = status.groups.first().context("the node does not know the group")?;
        ensure!(one.group.terms.mode == Mode::Async || one.group.in_force(), "{:?}", one.troubles);
        Ok(())
    }

    /// Moves the primary.
    pub async fn switchover(&self, to: usize) -> anyhow::Result<()> {
        self.client.switchover(&Switchover::new(group()?, Some(name(to)?))).await?;
        Ok(())
    }

    /// Has the nodes of those regions govern the group, and waits for it, though not for long.
    pub async fn set_electorate(&self, regions: &[usize]) -> anyhow::Result<()> {
        let nodes = regions.iter().map(|region| NodeId(*region as u64 + 1)).collect();
        self.client.set_electorate(&group()?, nodes).await?;
        Ok(())
    }

    /// Moves the Raft leadership.
    pub async fn transfer_leader(&self, to: usize) -> anyhow::Result<()> {
        self.client.transfer_leader(NodeId(to as u64 + 1)).await?;
        Ok(())
    }

    /// Every change of the group's epoch, as the log has it.
    pub async fn changes(&self) -> anyhow::Result<Vec<Change>> {
        Ok(self.client.history(&group()?).await?)
    }

    /// Who was primary in which epoch, by the log.
    pub async fn log(&self) -> anyhow::Result<Log> {
        Ok(self.changes().await?.into_iter().map(|change| (change.epoch, change.primary)).collect())
    }

    /// What a node knows: every agent reports to each of them.
    pub async fn view(&self) -> anyhow::Result<View> {
        Ok(View::of(&self.client.status(&[group()?]).await?, self.standbys))
    }
}

/// The demo's one group.
pub fn group() -> anyhow::Result<GroupName> {
    Ok(GroupName::new(GROUP)?)
}

fn name(region: usize) -> anyhow::Result<InstanceName> {
    Ok(InstanceName::new(instance(region))?)
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
        match Admin::of(cluster)?.view().await {
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
