//! The faults that a trial can make, and what each must lead to.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::clock::now_ns;
use crate::cluster::admin::{Admin, insist};
use crate::cluster::{Cluster, Loss, Process};

/// What is done to the region in which both the primary and the Raft leader are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Its links are cut and all its processes killed.
    Region,
    /// Its Postgres is killed, postmaster and backends.
    Postgres,
    /// Its agent is killed; Postgres runs on.
    Agent,
    /// Its node, the Raft leader, is killed.
    Leader,
    /// Nothing is killed: the primary is moved on purpose.
    Switchover,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Fault; 5] =
        [Fault::Region, Fault::Postgres, Fault::Agent, Fault::Leader, Fault::Switchover];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Fault::Region => "region lost, with primary and Raft leader",
            Fault::Postgres => "Postgres killed",
            Fault::Agent => "agent killed",
            Fault::Leader => "Raft leader killed",
            Fault::Switchover => "switchover",
        }
    }

    /// Whether another instance must be primary afterwards.
    pub fn moves_primary(self) -> bool {
        self != Fault::Leader
    }

    /// The longest write gap that is good enough.
    pub fn limit(self) -> Duration {
        Duration::from_millis(match self {
            Fault::Region | Fault::Agent => 1000,
            Fault::Postgres | Fault::Switchover => 400,
            // One commit's normal time, over the links to the clients, and some for a busy machine.
            Fault::Leader => 200,
        })
    }

    /// Makes it happen in `region`.
    pub async fn inject(self, cluster: &mut Cluster, region: usize, heir: usize) -> anyhow::Result<Loss> {
        match self {
            Fault::Region => cluster.kill_region(region),
            Fault::Postgres => cluster.kill_postgres(region),
            Fault::Agent => cluster.kill_process(region, Process::Agent),
            Fault::Leader => cluster.kill_process(region, Process::Node),
            Fault::Switchover => {
                let at_ns = now_ns();
                Admin::of(cluster)?.switchover(heir).await?;
                Ok(Loss { at_ns, processes: 0 })
            }
        }
    }

    /// Undoes what was killed.
    pub fn undo(self, cluster: &mut Cluster, region: usize) -> anyhow::Result<()> {
        match self {
            Fault::Region => cluster.restore_region(region),
            Fault::Agent | Fault::Leader => cluster.start_processes(region),
            // The agent starts its Postgres again by itself.
            Fault::Postgres | Fault::Switchover => Ok(()),
        }
    }
}

/// Moves primary and Raft leader to the region where every trial begins.
pub async fn bring_home(cluster: &mut Cluster, home: usize, limit: Duration) -> anyhow::Result<()> {
    let admin = Admin::of(cluster)?;
    let at_home = async || {
        let view = admin.view().await?;
        if view.primary != Some(home) {
            admin.switchover(home).await?;
        }
        if view.leader != Some(home) {
            admin.transfer_leader(home).await?;
        }
        let view = admin.view().await?;
        anyhow::ensure!(view.primary == Some(home) && view.leader == Some(home), "not there yet: {view:?}");
        Ok(())
    };
    insist("moving primary and Raft leader home", limit, at_home).await
}
