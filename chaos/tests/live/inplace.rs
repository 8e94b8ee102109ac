//! Instances are restarted on purpose, and stay what they are.

use std::process::Stdio;

use anyhow::{Context, ensure};
use regent_chaos::clock::now_ns;
use regent_chaos::cluster::Process;
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};
use regent_chaos::demo::setup::as_superuser;
use regent_chaos::history::{Outcome, Write};
use tokio::time::timeout;

use super::stage::{HOME, LONG, Stage, play};

/// Takes effect at a start only, and no standby minds what it is on its primary.
const PARAMETER: &str = "track_activity_query_size";
/// A start that was slow, as on a busy machine, has the next restart of that instance go by a switchover: not again and again.
const TRIES: usize = 5;

#[test]
fn a_standby_and_then_the_primary_are_restarted_and_no_write_is_refused() {
    play(async |stage| {
        let before = stage.whole().await?;
        let standby = before.heir.context("a whole group has an heir")?;
        let writing = stage.start_following().await?;
        let since_ns = now_ns();

        let said = stage.regent_ends(0, &["restart", &instance(standby), "--pending", "--yes"])?;
        ensure!(said.contains("nothing to do"), "regent said: {said}");
        restart(stage, standby, "1111B").await?;
        let between = stage.whole().await?;
        ensure!(
            (between.epoch, between.primary) == (before.epoch, Some(HOME)),
            "{before:?}, then {between:?}"
        );

        let (mut stayed, mut slow) = (false, false);
        for size in (0..TRIES).map(|number| format!("{}B", 2222 + number)) {
            let view = stage.whole().await?;
            let primary = view.primary.context("a whole group has a primary")?;
            let said = restart(stage, primary, &size).await?;
            let waited = said.split_once("commits waited for about ").map(|(_, waited)| waited);
            let waited = waited.with_context(|| format!("regent said: {said}"))?;
            // The gate refuses what has waited for a second; how long a busy machine takes is not for a test to say.
            slow |=
                !waited.split_once(" ms").is_some_and(|(ms, _)| ms.parse::<u32>().is_ok_and(|ms| ms < 700));
            let now = stage.whole().await?;
            stayed = said.contains("restarted in place");
            let same = (view.epoch, view.primary) == (now.epoch, now.primary);
            ensure!(stayed == same, "{said}: {view:?}, then {now:?}");
            if stayed {
                break;
            }
        }
        if !stayed {
            eprintln!("not seen: no restart of a primary was expected to be quick, {TRIES} times");
        }

        stage.judge(writing).await?;
        let refused = |write: &&Write| {
            let by_gate = matches!(&write.outcome, Outcome::Failed(why) if why.starts_with("25006"));
            write.invoked_ns > since_ns && by_gate
        };
        let writes = stage.history.writes();
        let refused = writes.iter().find(refused);
        ensure!(refused.is_none() || slow, "a write was refused: {refused:?}");
        Ok(())
    });
}

/// Commits wait for who is restarted, and for who confirms to the one that is; which of them come to be refused for it, a busy
/// machine decides.
#[test]
fn in_sync_nothing_is_lost_in_a_restart_of_who_confirms_and_of_the_primary() {
    play(async |stage| {
        stage.change_mode("sync").await?;
        let writing = stage.start_following().await?;
        let (before, lost) = (stage.whole().await?, stage.lost());
        restart(stage, before.heir.context("a whole group has an heir")?, "3333B").await?;
        stage.is_well("sync after a standby's restart").await?;
        let between = stage.whole().await?;
        ensure!((between.epoch, between.primary) == (before.epoch, Some(HOME)), "{before:?}, {between:?}");
        let said = restart(stage, HOME, "4444B").await?;
        let after = stage.judge(writing).await?;
        ensure!(
            said.contains("restarted in place") == (after.epoch == before.epoch),
            "{said}: {before:?}, {after:?}"
        );
        ensure!(stage.lost() == lost, "{} acknowledged rows were lost", stage.lost() - lost);
        stage.is_well("sync after the primary's restart").await?;
        stage.change_mode("async").await
    });
}

/// What begins again knows nothing of the restart that it was in.
#[test]
fn an_agent_that_is_killed_in_a_restart_of_its_primary_leaves_nothing_undone() {
    play(async |stage| {
        let (before, writing) = (stage.whole().await?, stage.start_following().await?);
        let (timeline, postmaster) = (stage.history.newest_timeline(), stage.cluster.postmaster(HOME)?);
        let restart = stage.regent_command(&["restart", &instance(HOME), "--yes"]);
        let mut asked =
            tokio::process::Command::from(restart).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let stopped = || stage.cluster.postmaster(HOME).ok().filter(|now| *now != postmaster);
        stage.seen("Postgres has stopped", stopped).await?;
        stage.cluster.kill_process(HOME, Process::Agent)?;
        let log = stage.keep_log(HOME)?;
        stage.cluster.start_processes(HOME)?;
        // The new agent is asked again: until that has come to an end the primary may move at any moment.
        timeout(LONG, asked.wait()).await.context("the restart came to no end")??;
        let after = stage.whole().await?;
        if after.primary != Some(HOME) {
            stage.successor(timeline).await?;
            stage.account_for(timeline, &log)?;
        }
        ensure!(after.epoch >= before.epoch, "{before:?}, then {after:?}");
        stage.judge(writing).await.map(drop)
    });
}

/// Changes the parameter in a region, and restarts the instance there for it. Returns what `regent` said.
async fn restart(stage: &Stage, region: usize, size: &str) -> anyhow::Result<String> {
    let postmaster = |region: usize| stage.cluster.postmaster(region);
    let before: Vec<_> = (0..stage.cluster.regions()).map(postmaster).collect::<Result<_, _>>()?;
    as_superuser(&stage.cluster, region, &format!("ALTER SYSTEM SET {PARAMETER} = '{size}'"))?;
    as_superuser(&stage.cluster, region, "SELECT pg_reload_conf()")?;
    let needed = format!("{}: a restart is needed for: {PARAMETER}", instance(region));
    let told = || stage.regent(&["status", GROUP]).ok().filter(|said| contains(&said.stdout, &needed));
    stage.seen("the status says that a restart is needed", told).await?;
    let said = stage.regent_ends(0, &["restart", &instance(region), "--pending", "--yes"])?;
    let shown = as_superuser(&stage.cluster, region, &format!("SHOW {PARAMETER}"))?;
    ensure!(shown == size, "{PARAMETER} is {shown}, expected {size}: {said}");
    for (other, before) in before.iter().enumerate() {
        let same = *before == postmaster(other)?;
        ensure!(same == (other != region), "restarted in {}: {same}: {said}", REGIONS[other]);
    }
    Ok(said)
}

fn contains(said: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(said).contains(words)
}
