//! The primary is moved on purpose.

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_chaos::clock::now_ns;
use regent_chaos::cluster::processes;
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};
use regent_chaos::timeline::Event;

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
    for words in [instance(to).as_str(), "commits waited for about"] {
        ensure!(said.contains(words), "regent said: {said}");
    }
    let first = stage.successor(timeline).await?;
    ensure!(first.instance == to, "expected {} to write, got {}", REGIONS[to], REGIONS[first.instance]);
    // No log of the old primary is kept: every acknowledged row must be on the new one.
    let after = stage.judge(writing).await?;
    ensure!(after.primary == Some(to) && stage.lost() == lost, "{after:?}");
    let events = stage.events(since_ns);
    let mended = ["keeping", "rewinding", "cloning"];
    let mends = |event: &&Event| {
        event.task.as_ref().is_some_and(|task| mended.iter().any(|word| task.starts_with(word)))
    };
    let mended = events.iter().find(mends);
    ensure!(mended.is_none(), "an old primary that handed over is a standby as it is: {mended:?}");
    Ok(())
}

/// The successor's receiver stands still: it looks as if it streamed, and receives nothing.
#[test]
fn a_switchover_whose_successor_falls_back_is_called_off_and_nobody_notices() {
    play(async |stage| {
        let before = stage.whole().await?;
        let to = before.heir.context("a whole group has an heir")?;
        let dry = stage.regent_ends(0, &["switchover", GROUP, "--to", REGIONS[to], "--dry-run"])?;
        ensure!(dry.contains(&instance(to)) && dry.contains("nothing was changed"), "regent said: {dry}");
        let writing = stage.start_following().await?;
        let since_ns = now_ns();
        let receiver = receiver(stage, to)?;
        kill(receiver, Signal::SIGSTOP)?;
        let said = stage.regent_ends(6, &["switchover", GROUP, "--to", REGIONS[to], "--yes", "--wait", "1s"]);
        kill(receiver, Signal::SIGCONT)?;
        let said = said?;
        ensure!(said.contains("called off") && said.contains(&instance(to)), "regent said: {said}");
        let after = stage.judge(writing).await?;
        ensure!((after.epoch, after.primary) == (before.epoch, before.primary), "{before:?}, then {after:?}");
        let closed = stage.events(since_ns).into_iter().find(|event| event.event == "gate_closed");
        ensure!(closed.is_none(), "commits were held for nothing: {closed:?}");
        Ok(())
    });
}

/// The process of a standby that receives WAL.
fn receiver(stage: &Stage, region: usize) -> anyhow::Result<Pid> {
    let receives = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|title| title.contains("walreceiver"))
    };
    let found = processes::under(&stage.cluster.data_dir(region))?.into_iter().find(receives);
    found.map(Pid::from_raw).context("a standby that streams has a receiver")
}

#[test]
fn a_drained_region_is_free_of_primaries_until_that_is_taken_back() {
    play(async |stage| {
        let before = stage.whole().await?;
        let unknown = stage.regent_ends(3, &["drain", "atlantis"])?;
        ensure!(unknown.contains(REGIONS[HOME]), "the regions there are, are named: {unknown}");
        let said = stage.regent_ends(0, &["drain", REGIONS[HOME]])?;
        let heir = before.heir.context("a whole group has an heir")?;
        ensure!(
            said.contains(&format!("moved from {} to {}", instance(HOME), instance(heir))),
            "it said: {said}"
        );
        stage.until("nobody at home may take over", |view| view.leased && view.successors == 1).await?;
        let refused = stage.regent_ends(6, &["switchover", GROUP, "--to", REGIONS[HOME], "--yes"])?;
        ensure!(refused.contains("drained"), "it said: {refused}");
        stage.regent_ends(0, &["drain", REGIONS[HOME]])?;
        stage.regent_ends(0, &["undrain", REGIONS[HOME]])?;
        let after = stage.whole().await?;
        ensure!(after.primary == Some(heir), "nobody is moved back: {after:?}");
        Ok(())
    });
}
