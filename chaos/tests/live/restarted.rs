//! Processes that end and begin again.

use std::time::Duration;

use anyhow::ensure;
use regent_chaos::cluster::Process;
use regent_chaos::cluster::topology::REGIONS;
use regent_chaos::timeline::Event;

use super::stage::{HOME, play};

const STANDBY: usize = 2;
/// For so long nodes may take the word of an agent that has ended for fresh.
const STALE: Duration = Duration::from_secs(2);

#[test]
fn a_standbys_agent_restarts_and_its_postgres_does_not_notice() {
    play(async |stage| {
        let before = stage.whole().await?;
        let writing = stage.start_writing().await?;
        let postmaster = stage.cluster.postmaster(STANDBY)?;
        ensure!(postmaster.is_some(), "a whole group has two standbys");

        let killed = stage.cluster.kill_process(STANDBY, Process::Agent)?;
        stage.cluster.start_processes(STANDBY)?;
        tokio::time::sleep(STALE).await;
        stage.whole().await?;

        let status = stage.cluster.terminate_process(STANDBY, Process::Agent)?;
        ensure!(status.success(), "regent-agent ended on SIGTERM with {status}");
        ensure!(stage.cluster.postmaster(STANDBY)? == postmaster, "Postgres ended with its agent");
        stage.cluster.start_processes(STANDBY)?;
        tokio::time::sleep(STALE).await;

        let after = stage.judge(writing).await?;
        ensure!(stage.cluster.postmaster(STANDBY)? == postmaster, "Postgres was restarted");
        ensure!((after.epoch, after.primary) == (before.epoch, before.primary), "{before:?}, then {after:?}");
        let disturbed = |event: &&Event| {
            let by_agent = event.region == REGIONS[STANDBY] && event.proc.starts_with("regent-agent");
            // It may tell Postgres once more whom to follow: that is how it knows.
            by_agent && event.task.as_ref().is_some_and(|task| !task.starts_with("following"))
        };
        let events = stage.events(killed.at_ns);
        let disturbed = events.iter().find(disturbed);
        ensure!(disturbed.is_none(), "the agent did something to a standby that was well: {disturbed:?}");
        Ok(())
    });
}

/// Nobody writes meanwhile: should the primary move, its log would be rewound before it could be looked at.
#[test]
fn the_primarys_agent_restarts_and_it_is_primary_still_or_a_standby() {
    play(async |stage| {
        let before = stage.whole().await?;
        stage.start_writing().await?.stop().await;
        let postmaster = stage.cluster.postmaster(HOME)?;
        let status = stage.cluster.terminate_process(HOME, Process::Agent)?;
        ensure!(status.success(), "regent-agent ended on SIGTERM with {status}");
        ensure!(stage.cluster.postmaster(HOME)? == postmaster, "Postgres ended with its agent");
        stage.cluster.start_processes(HOME)?;
        tokio::time::sleep(STALE).await;
        let after = stage.whole().await?;
        // Whether it is back within the suspicion, a busy machine decides.
        if after.epoch == before.epoch {
            ensure!(after.primary == Some(HOME), "{before:?}, then {after:?}");
            ensure!(stage.cluster.postmaster(HOME)? == postmaster, "Postgres was restarted");
        }
        stage.verdict(&after).await
    });
}

#[test]
fn the_whole_cluster_dies_and_starts_with_the_same_data() {
    play(async |stage| {
        let before = stage.whole().await?;
        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        for region in 0..stage.cluster.regions() {
            stage.cluster.kill_region(region)?;
        }
        let log = stage.keep_log(HOME)?;
        for region in 0..stage.cluster.regions() {
            stage.cluster.restore_region(region)?;
        }
        let after = stage.whole().await?;
        if after.primary != Some(HOME) {
            stage.successor(timeline).await?;
            stage.account_for(timeline, &log)?;
        }
        ensure!(after.epoch >= before.epoch, "{before:?}, then {after:?}");
        stage.judge(writing).await?;
        Ok(())
    });
}
