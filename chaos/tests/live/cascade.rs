//! A standby that receives through another.

use anyhow::ensure;
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};

use super::stage::{HOME, Stage, play};

const MIDDLE: usize = 1;
const LAST: usize = 2;

#[test]
fn a_chain_of_three_outlives_its_head() {
    play(async |stage| {
        stage.whole().await?;
        let tags = format!("\n[tags]\nreplicate_from = \"{}\"\n", instance(MIDDLE));
        let plain = stage.reconfigure(LAST, |text| text.to_owned() + &tags)?;
        receives_through(stage, Some(MIDDLE)).await?;

        let writing = stage.start_writing().await?;
        stage.lose_home().await?;
        stage.cluster.restore_region(HOME)?;
        let after = stage.judge(writing).await?;
        ensure!(after.primary == Some(MIDDLE) || after.primary == Some(LAST), "{after:?}");
        // Its middle is the primary now, or it is the primary itself.
        receives_through(stage, None).await?;

        // It is a chain again when its middle is a standby again.
        stage.regent_ends(0, &["switchover", GROUP, "--to", &instance(HOME), "--yes"])?;
        receives_through(stage, Some(MIDDLE)).await?;
        stage.reconfigure(LAST, |_| plain)?;
        receives_through(stage, None).await?;
        let after = stage.whole().await?;
        stage.verdict(&after).await
    });
}

/// Waits until status shows through whom the last one receives, and that it does.
async fn receives_through(stage: &Stage, through: Option<usize>) -> anyhow::Result<()> {
    let wanted = through.map(instance);
    let what = format!("{} receives through {wanted:?}", REGIONS[LAST]);
    let status = || {
        let said = stage.regent(&["status", GROUP, "-o", "json"]).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
        let last =
            status["groups"][0]["instances"].as_array()?.iter().find(|one| one["name"] == instance(LAST))?;
        let streams = last["streaming"] == true || last["role"] == "primary";
        (streams && last["receives_through"].as_str() == wanted.as_deref()).then_some(())
    };
    stage.seen(&what, status).await
}
