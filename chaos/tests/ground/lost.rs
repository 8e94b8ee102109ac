//! Regions that are lost: cut off, without power, with a disk that fails.

use anyhow::ensure;
use regent_chaos::cluster::ways::Ways;
use regent_chaos::demo::{fault::bring_home, setup};

use super::stage::{HOME, LONG, Stage, play};

#[test]
fn what_was_acknowledged_survives_a_cut_power_cuts_and_a_disk_that_fails() {
    play(async |stage| {
        home_is_cut_off(stage).await?;
        home_loses_its_power(stage).await?;
        all_lose_their_power(stage).await?;
        a_disk_fails(stage).await
    });
}

/// Another writes, and home comes back: it was never killed, and has to see for itself that it leads no more.
async fn home_is_cut_off(stage: &mut Stage) -> anyhow::Result<()> {
    let writing = stage.start_writing().await?;
    let timeline = stage.history.newest_timeline();
    stage.cluster.cut(&Ways::Around(HOME))?;
    let first = stage.seen("a successor writes", || stage.history.first_after(timeline)).await?;
    ensure!(first.instance != HOME, "{first:?}");
    stage.cluster.heal(&Ways::Around(HOME))?;
    stage.judge(writing, "all write after a cut").await
}

async fn home_loses_its_power(stage: &mut Stage) -> anyhow::Result<()> {
    bring_home(&mut stage.cluster, HOME, LONG).await?;
    stage.whole().await?;
    let writing = stage.start_writing().await?;
    let timeline = stage.history.newest_timeline();
    stage.cluster.cut_power(HOME)?;
    ensure!(!stage.cluster.data_dir(HOME).exists(), "its disk is still there");
    stage.seen("a successor writes", || stage.history.first_after(timeline)).await?;
    stage.cluster.restore_region(HOME)?;
    stage.judge(writing, "all write after a power cut").await
}

/// Nothing is left but what was flushed.
async fn all_lose_their_power(stage: &mut Stage) -> anyhow::Result<()> {
    let writing = stage.start_writing().await?;
    for region in 0..stage.cluster.regions() {
        stage.cluster.cut_power(region)?;
    }
    for region in 0..stage.cluster.regions() {
        stage.cluster.restore_region(region)?;
    }
    stage.judge(writing, "all write after a power cut of all").await
}

/// Who cannot flush ends, and says nothing of what it could not: another takes over.
async fn a_disk_fails(stage: &mut Stage) -> anyhow::Result<()> {
    bring_home(&mut stage.cluster, HOME, LONG).await?;
    stage.whole().await?;
    let (writing, timeline) = (stage.start_writing().await?, stage.history.newest_timeline());
    stage.cluster.fail_disk(HOME)?;
    // More than is left of a log file that was made before.
    let much = "CREATE TABLE much AS SELECT generate_series(1, 400000); CHECKPOINT";
    let ended = setup::as_superuser(&stage.cluster, HOME, much);
    ensure!(ended.is_err(), "Postgres goes on after a flush that failed: {ended:?}");
    let first = stage.seen("a successor writes", || stage.history.first_after(timeline)).await?;
    ensure!(first.instance != HOME, "{first:?}");
    stage.cluster.mend_disk(HOME)?;
    stage.judge(writing, "all write after a disk failed").await
}
