//! The nodes as one: their leader lost, their majority lost, each restarted in turn.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cluster::admin::{Admin, insist};
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process};

/// A node that starts belongs to the others again long before.
const BACK: Duration = Duration::from_secs(60);

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

    /// Asks each node in turn to end, and starts it again; the next has its turn when that one knows of a leader, and of a
    /// primary with a lease.
    pub async fn roll_nodes(&mut self) -> anyhow::Result<()> {
        for region in 0..self.regions() {
            self.terminate_process(region, Process::Node)?;
            self.start_process(region, Process::Node)?;
            let admin = Admin::at(self, &[region])?;
            let back = async || {
                let view = admin.view().await?;
                ensure!(view.is_led(), "no leader, or no primary with a lease: {view:?}");
                Ok(())
            };
            insist(&format!("the node of {} is back", REGIONS[region]), BACK, back).await?;
        }
        Ok(())
    }
}
