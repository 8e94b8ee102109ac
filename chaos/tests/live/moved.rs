//! The primary is moved on purpose.

use anyhow::{Context, ensure};
use regent_chaos::clock::now_ns;
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};

use super::stage::{HOME, Stage, play};

#[test]
fn a_switchover_and_back_loses_nothing_and_clones_nobody() {
    play(async |stage| {
        let away = stage.whole().await?.heir.context("a whole group has an heir")?;
        switch(stage, away).await?;
        switch(stage, HOME).await
    });
}

async fn switch(stage: &mut Stage, to: usize) -> anyhow::Result<()> {
    let before = stage.whole().await?;
    let from = before.primary.context("a whole group has a primary")?;
    // Its stubborn client can only write when home is the primary.
    let writing = if from == HOME { stage.start_writing().await? } else { stage.start_following().await? };
    let (since_ns, lost) = (now_ns(), stage.lost());
    let timeline = stage.history.newest_timeline();
    let said = stage.regent_ends(0, &["switchover", GROUP, "--to", &instance(to), "--yes"])?;
    ensure!(said.contains(&instance(to)), "regent said: {said}");
    let first = stage.successor(timeline).await?;
    ensure!(first.instance == to, "expected {} to write, got {}", REGIONS[to], REGIONS[first.instance]);
    // No log of the old primary is kept: every acknowledged row must be on the new one.
    let after = stage.judge(writing).await?;
    ensure!(after.primary == Some(to) && stage.lost() == lost, "{after:?}");
    let events = stage.events(since_ns);
    let cloned = events.iter().find(|event| event.task.as_ref().is_some_and(|task| task.contains("cloning")));
    ensure!(cloned.is_none(), "an old primary that handed over needs no clone: {cloned:?}");
    Ok(())
}
