//! The admin's command against the real thing: what it says, and the exit codes that scripts rely on.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use regent_chaos::cluster::topology::{GROUP, instance};

use super::stage::{HOME, Stage, play};

#[test]
fn commands_answer_and_end_with_their_codes() {
    play(async |stage| {
        let (at_home, here) = (instance(HOME), stage.cluster.postgres(HOME).to_string());
        stage.regent_ends(0, &["status", GROUP])?;
        for args in [&["primary", GROUP][..], &["primary", GROUP, "--local"]] {
            ensure!(stage.regent_ends(0, args)?.trim() == here, "{args:?}: expected {here}");
        }
        let history = stage.regent_ends(0, &["history", GROUP, "-o", "json"])?;
        let changes: serde_json::Value = serde_json::from_str(&history)?;
        let epochs: Vec<u64> =
            changes.as_array().into_iter().flatten().filter_map(|change| change["epoch"].as_u64()).collect();
        ensure!(!epochs.is_empty() && epochs.is_sorted_by(|a, b| a < b), "epochs {epochs:?} of {history}");
        ensure!(stage.regent_ends(0, &["group", "list"])?.contains(&at_home));

        stage.regent_ends(3, &["status", "nobodys"])?;
        let said = stage.regent_ends(3, &["primary", "nobodys"])?;
        ensure!(said.contains(GROUP), "the groups there are, are named: {said}");
        stage.regent_ends(3, &["switchover", GROUP, "--to", "nobody", "--yes"])?;
        stage.regent_ends(0, &["switchover", GROUP, "--to", &at_home, "--yes"])?;
        stage.regent_ends(2, &["switchover", GROUP])?;
        stage.regent_ends(6, &["group", "create", GROUP])?;
        stage.regent_ends(2, &["--endpoints", "nowhere", "status"])?;
        stage.regent_ends(4, &["--endpoints", "127.0.0.1:1", "--timeout", "300ms", "status"])?;
        stage.regent_ends(0, &["group", "create", "empty", "--first", "empty-a"])?;
        stage.regent_ends(1, &["primary", "empty"])?;
        stage.regent_ends(1, &["status"])?;
        Ok(())
    });
}

#[test]
fn a_watch_tells_the_present_and_then_each_change() {
    play(async |stage| {
        let before = stage.whole().await?;
        let to = before.heir.context("a whole group has an heir")?;
        let (told, mut watching) = watch(stage)?;
        let first = told.recv_timeout(super::stage::LONG);
        let moved = stage.regent_ends(0, &["switchover", GROUP, "--to", &instance(to), "--yes"]);
        let second = told.recv_timeout(super::stage::LONG);
        watching.kill()?;
        watching.wait()?;
        moved?;
        let (first, second) = (first?, second?);
        ensure!(first["event"] == "present" && first["epoch"] == before.epoch, "{first}");
        ensure!(second["event"] == "changed" && second["epoch"].as_u64() > Some(before.epoch), "{second}");
        ensure!(second["primary"] == instance(to).as_str(), "{second}");
        stage.whole().await?;
        Ok(())
    });
}

type Told = std::sync::mpsc::Receiver<serde_json::Value>;

fn watch(stage: &Stage) -> anyhow::Result<(Told, std::process::Child)> {
    let mut command = Command::new(stage.cluster.run_dir().program("regent"));
    command.args(["--endpoints", &stage.cluster.node(1).to_string(), "watch", GROUP, "-o", "json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(watching.stdout.take().context("its output is a pipe")?).lines();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let events = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
        events.map_while(|event| tell.send(event).ok()).for_each(drop);
    });
    Ok((told, watching))
}
