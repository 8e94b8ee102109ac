//! Something of the primary's region dies.

use anyhow::ensure;
use regent_chaos::cluster::Process;
use regent_chaos::cluster::topology::REGIONS;

use super::stage::{HOME, play};

#[test]
fn a_region_is_lost_with_primary_and_raft_leader_and_comes_back_as_a_standby() {
    play(async |stage| {
        let before = stage.whole().await?;
        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        stage.cluster.kill_region(HOME)?;
        stage.successor(timeline).await?;
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        stage.cluster.restore_region(HOME)?;
        let after = stage.judge(writing).await?;
        stage.left_behind(timeline).await?;
        ensure!(after.primary != Some(HOME), "it came back as primary: {after:?}");
        ensure!(after.epoch > before.epoch, "{before:?}, then {after:?}");
        Ok(())
    });
}

#[test]
fn postgres_dies_and_its_agent_releases_before_anybody_votes() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        let loss = stage.cluster.kill_postgres(HOME)?;
        let log = stage.keep_log(HOME)?;
        stage.successor(timeline).await?;
        stage.account_for(timeline, &log)?;
        let after = stage.judge(writing).await?;
        ensure!(after.primary != Some(HOME), "{after:?}");
        let events = stage.events(loss.at_ns);
        let first = |name| events.iter().find(|event| event.event == name);
        let (released, vote) = (first("released"), first("vote"));
        let released_at = released.filter(|event| event.region == REGIONS[HOME]).map(|event| event.t_ns);
        ensure!(
            released_at.is_some() && released_at < vote.map(|event| event.t_ns),
            "expected a release at home before the first vote, got {released:?} and {vote:?}"
        );
        Ok(())
    });
}

#[test]
fn an_agent_dies_and_the_gate_closes_by_itself() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        let postmaster = stage.cluster.postmaster(HOME)?;
        stage.cluster.kill_process(HOME, Process::Agent)?;
        let first = stage.successor(timeline).await?;
        // The old server runs on, its client goes on writing to it, and nobody is there to stop it but the gate.
        let since_ns = first.receipt().map_or(u64::MAX, |receipt| receipt.at_ns);
        stage.refused(REGIONS[HOME], since_ns, "25006").await?;
        ensure!(postmaster.is_some() && stage.cluster.postmaster(HOME)? == postmaster);
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        stage.cluster.start_processes(HOME)?;
        let after = stage.judge(writing).await?;
        ensure!(after.primary != Some(HOME), "{after:?}");
        Ok(())
    });
}

#[test]
fn the_raft_leader_dies_and_nothing_happens_to_writes() {
    play(async |stage| {
        let before = stage.whole().await?;
        let writing = stage.start_writing().await?;
        stage.cluster.kill_process(HOME, Process::Node)?;
        for region in stage.cluster.names() {
            stage.written("writes go on without a leader", 100, |write| write.client == *region).await?;
        }
        let led =
            stage.until("another leads", |view| view.leader.is_some_and(|leader| leader != HOME)).await?;
        stage.cluster.start_processes(HOME)?;
        let after = stage.judge(writing).await?;
        for view in [led, after] {
            ensure!(
                (view.epoch, view.primary) == (before.epoch, before.primary),
                "{before:?}, then {view:?}"
            );
        }
        Ok(())
    });
}
