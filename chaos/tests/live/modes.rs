//! A running group becomes `sync`, and keeps what that promises.

use anyhow::ensure;
use regent_chaos::cluster::topology::{GROUP, REGIONS};

use super::stage::{HOME, Stage, play};

#[test]
fn a_running_group_becomes_synchronous_and_loses_nothing_with_its_region() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let (before, postmaster) = (stage.whole().await?, stage.cluster.postmaster(HOME)?);
        stage.regent_ends(2, &["group", "set", GROUP, "--mode", "sync", "--sync-count", "3"])?;
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "sync"])?;
        stage.is_well("sync is in force").await?;
        for region in REGIONS {
            stage.written("writes go on in sync", 50, |write| write.client == region).await?;
        }
        let after = stage.whole().await?;
        ensure!(after.epoch == before.epoch, "the change cost a promotion: {before:?}, then {after:?}");
        ensure!(stage.cluster.postmaster(HOME)? == postmaster, "the change restarted Postgres");

        let lost = stage.lost();
        let timeline = stage.history.newest_timeline();
        stage.cluster.kill_region(HOME)?;
        stage.successor(timeline).await?;
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        stage.cluster.restore_region(HOME)?;
        stage.judge(writing).await?;
        ensure!(stage.lost() == lost, "{} acknowledged rows were lost in sync", stage.lost() - lost);

        stage.is_well("sync is in force again").await?;
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "async"])?;
        stage.is_well("async again").await
    });
}

impl Stage {
    /// Waits until the command finds nothing wrong with the group.
    async fn is_well(&self, what: &str) -> anyhow::Result<()> {
        let well = || self.regent(&["status", GROUP]).is_ok_and(|status| status.status.success());
        self.seen(what, || well().then_some(())).await
    }
}
