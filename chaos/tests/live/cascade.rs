//! A standby that receives through another.

use std::fs;

use anyhow::{Context, ensure};
use regent_chaos::cluster::Process;
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};

use super::stage::{HOME, Stage, play};

const MIDDLE: usize = 1;
const LAST: usize = 2;

#[test]
fn a_chain_of_three_outlives_its_head() {
    play(async |stage| {
        stage.whole().await?;
        let plain = retag(stage, &format!("[tags]\nreplicate_from = \"{}\"\n", instance(MIDDLE)))?;
        receives_through(stage, Some(MIDDLE)).await?;

        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        stage.cluster.kill_region(HOME)?;
        stage.successor(timeline).await?;
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        stage.cluster.restore_region(HOME)?;
        let after = stage.judge(writing).await?;
        ensure!(after.primary == Some(MIDDLE) || after.primary == Some(LAST), "{after:?}");
        // Its middle is the primary now, or it is the primary itself.
        receives_through(stage, None).await?;

        // It is a chain again when its middle is a standby again.
        stage.regent_ends(0, &["switchover", GROUP, "--to", &instance(HOME), "--yes"])?;
        receives_through(stage, Some(MIDDLE)).await?;
        set_tags(stage, plain)?;
        receives_through(stage, None).await?;
        let after = stage.whole().await?;
        stage.verdict(&after).await
    });
}

/// Restarts the last one's agent with these lines at the end of its settings; returns what they were.
fn retag(stage: &mut Stage, tags: &str) -> anyhow::Result<String> {
    let path = settings(stage);
    let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    set_tags(stage, format!("{before}\n{tags}"))?;
    Ok(before)
}

fn set_tags(stage: &mut Stage, text: String) -> anyhow::Result<()> {
    fs::write(settings(stage), text)?;
    stage.cluster.terminate_process(LAST, Process::Agent)?;
    stage.cluster.start_processes(LAST)
}

fn settings(stage: &Stage) -> std::path::PathBuf {
    stage.cluster.run_dir().region(LAST).join("agent.toml")
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
