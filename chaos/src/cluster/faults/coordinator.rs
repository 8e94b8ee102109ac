//! The nodes as one: their leader lost, their majority lost, each restarted in turn.

use anyhow::Context;

use crate::cluster::admin::{Admin, View, wait_for};
use crate::cluster::{Cluster, Process};

/// A node that starts belongs to the others again long before.
const BACK: std::time::Duration = std::time::Duration::from_secs(60);

impl Cluster {
    /// Kills the node that leads the others. Says in which region.
    pub async fn lose_leader(&mut self) -> anyhow::Result<usize> {
        let leader = Admin::of(self)?.view().await?.leader.context("no node leads")?;
        self.kill_process(leader, Process::Node)?;
        Ok(leader)
    }

    /// Kills so many nodes that those which are left can decide nothing: the last ones. Says in which regions.
    pub fn lose_majority(&mut self) -> anyhow::Result<Vec<usize>> {
        let left = (self.regions() - 1) / 2;
        let lost: Vec<usize> = (left..self.regions()).collect();
        for region in &lost {
            self.kill_process(*region, Process::Node)?;
        }
        Ok(lost)
    }

    /// Asks each node in turn to end, and starts it again; the next has its turn when the nodes have a leader and the primary
    /// its lease.
    pub async fn roll_nodes(&mut self) -> anyhow::Result<()> {
        for region in 0..self.regions() {
            self.terminate_process(region, Process::Node)?;
            self.start_process(region, Process::Node)?;
            wait_for(self, "a leader and a lease", BACK, View::is_led, |_| ()).await?;
        }
        Ok(())
    }
}
