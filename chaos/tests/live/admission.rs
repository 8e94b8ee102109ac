//! Who may not take part: another database, a second agent, an agent of a group that nobody has created.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, ensure};
use regent_chaos::cluster::topology::{GROUP, REGIONS, instance};
use regent_chaos::cluster::{Process, processes};

use super::stage::{Stage, play};

const STANDBY: usize = 2;

#[test]
fn a_directory_of_another_database_is_refused_and_left_untouched() {
    play(async |stage| {
        let before = stage.whole().await?;
        let (data_dir, aside) =
            (stage.cluster.data_dir(STANDBY), stage.cluster.data_dir(STANDBY).with_extension("aside"));
        stage.cluster.kill_process(STANDBY, Process::Agent)?;
        stage.cluster.kill_postgres(STANDBY)?;
        fs::rename(&data_dir, &aside)?;
        initdb(stage, &data_dir)?;
        let untouched = contents(&data_dir)?;

        stage.cluster.start_processes(STANDBY)?;
        let words = "holds another database";
        let troubled = |troubles: &[(usize, String)]| {
            troubles.iter().any(|(region, trouble)| *region == STANDBY && trouble.contains(words))
        };
        stage.until("the trouble is shown", |view| troubled(&view.troubles)).await?;
        let said = stage.regent_ends(1, &["status", GROUP])?;
        ensure!(said.contains(words) && said.contains(&instance(STANDBY)), "regent status says: {said}");
        ensure!(contents(&data_dir)? == untouched, "the directory was touched");

        stage.cluster.kill_process(STANDBY, Process::Agent)?;
        fs::remove_dir_all(&data_dir)?;
        fs::rename(&aside, &data_dir)?;
        stage.cluster.start_processes(STANDBY)?;
        stage.until("no trouble any more", |view| view.troubles.is_empty()).await?;
        let after = stage.whole().await?;
        ensure!((after.epoch, after.primary) == (before.epoch, before.primary), "{before:?}, then {after:?}");
        Ok(())
    });
}

fn initdb(stage: &Stage, data_dir: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(stage.cluster.postgres_bin().join("initdb"));
    command.args(["-U", "postgres", "-A", "reject", "--no-sync", "-D"]).arg(data_dir);
    command.current_dir(stage.cluster.run_dir().region(STANDBY));
    if let Some(user) = stage.cluster.run_dir().user() {
        command.uid(user.uid).gid(user.gid);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Every file below a directory with its bytes.
fn contents(dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                ahead.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

#[test]
fn a_second_agent_of_an_instance_is_refused() {
    play(async |stage| {
        let before = stage.whole().await?;
        let dir = stage.cluster.run_dir().region(STANDBY);
        let (first, postmaster) =
            (stage.cluster.pid(STANDBY, Process::Agent), stage.cluster.postmaster(STANDBY)?);
        let mut second = Some(start_agent(stage, STANDBY, &dir.join("agent.toml"), &dir.join("second.log"))?);
        let ended = stage.seen("the second agent ends", || second.as_mut()?.try_wait().ok().flatten()).await;
        processes::end(&mut second);
        let (ended, said) = (ended?, fs::read_to_string(dir.join("second.log"))?);
        ensure!(ended.code() == Some(1) && said.contains("another agent uses"), "{ended}: {said}");
        let after = stage.whole().await?;
        ensure!((after.epoch, after.primary) == (before.epoch, before.primary), "{before:?}, then {after:?}");
        ensure!(stage.cluster.pid(STANDBY, Process::Agent) == first && first.is_some());
        ensure!(stage.cluster.postmaster(STANDBY)? == postmaster && postmaster.is_some());
        Ok(())
    });
}

#[test]
fn an_agent_of_an_unknown_group_says_so_and_joins_when_the_group_is_created() {
    play(async |stage| {
        let (region, group) = (1, "invoices");
        let dir = stage.cluster.run_dir().region(region);
        let (config, log) = (dir.join("invoices.toml"), dir.join("invoices.log"));
        fs::write(&config, of_another_group(&fs::read_to_string(dir.join("agent.toml"))?, &dir, group))?;
        let mut agent = Some(start_agent(stage, region, &config, &log)?);
        let played = join(stage, group, &log, &mut agent).await;
        processes::end(&mut agent);
        processes::kill_all_under(&dir.join(format!("{group}-data")))?;
        played
    });
}

async fn join(stage: &mut Stage, group: &str, log: &Path, agent: &mut Option<Child>) -> anyhow::Result<()> {
    let advice = format!("create it with `regent group create {group}`");
    let nodes: Vec<_> =
        stage.cluster.names().iter().map(|region| stage.cluster.run_dir().path().join(region).join("node.log")).collect();
    let said = |node: &PathBuf| fs::read_to_string(node).is_ok_and(|text| text.contains(&advice));
    stage.seen("the nodes say what is wrong", || nodes.iter().all(said).then_some(())).await?;
    stage.regent_ends(3, &["primary", group])?;
    let ended = agent.as_mut().context("it was started")?.try_wait()?;
    ensure!(ended.is_none(), "the agent did not wait: {ended:?}; see {}", log.display());
    stage.regent_ends(0, &["group", "create", group])?;
    let primary = || stage.regent(&["primary", group]).ok().filter(|output| output.status.success());
    stage.seen("the group has a primary", primary).await?;
    let status = stage.regent_ends(0, &["status", GROUP])?;
    ensure!(status.contains(REGIONS[0]), "the other group is as it was: {status}");
    Ok(())
}

/// The same agent's configuration with another name and other places.
fn of_another_group(config: &str, dir: &Path, group: &str) -> String {
    let dir = dir.display();
    let port = config.lines().find(|line| line.starts_with("port = ")).unwrap_or_default();
    let advertise = config.lines().find(|line| line.starts_with("advertise = ")).unwrap_or_default();
    let ip = config.lines().find_map(|line| line.strip_prefix("listen_address = ")).unwrap_or_default();
    let ip = ip.trim_matches('"');
    let free = std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
    config
        .replace(&format!("group = \"{GROUP}\""), &format!("group = \"{group}\""))
        .replace(&format!("instance = \"{GROUP}-"), &format!("instance = \"{group}-"))
        .replace(&format!("state_dir = \"{dir}/agent\""), &format!("state_dir = \"{dir}/{group}-agent\""))
        .replace(&format!("data_dir = \"{dir}/postgres\""), &format!("data_dir = \"{dir}/{group}-data\""))
        .replace(&format!("{dir}/postgres.log"), &format!("{dir}/{group}-postgres.log"))
        .replace(&format!("audit = \"{dir}/agent.audit\""), &format!("audit = \"{dir}/{group}.audit\""))
        .replace(port, &format!("port = {free}"))
        .replace(advertise, &format!("advertise = \"{ip}:{free}\""))
}

fn start_agent(stage: &Stage, region: usize, config: &Path, log: &Path) -> anyhow::Result<Child> {
    let run = stage.cluster.run_dir();
    let args = ["--config", &config.display().to_string()];
    processes::spawn(&run.program("regent-agent"), &args, &run.region(region), log, run.user())
}
