//! Each fault by itself: whether it does what its name says, and is over when it is undone. What Regent makes of it is not
//! looked at here, but that all is whole in the end.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use regent_chaos::cluster::admin::Admin;
use regent_chaos::cluster::ways::Ways;
use regent_chaos::cluster::{Process, Victim};
use regent_chaos::demo::setup::as_superuser;
use regent_chaos::wan::terms::Change;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::stage::{HOME, LONG, Stage, play};

/// Where faults strike: a standby's region, which leads nothing.
const HERE: usize = 2;

#[test]
fn each_fault_does_what_it_says_and_can_be_undone() {
    play(async |stage| {
        processes(stage).await?;
        links(stage).await?;
        disk(stage).await?;
        clock(stage)?;
        resources(stage).await?;
        store(stage).await?;
        stage.whole().await.map(drop)
    });
}

async fn processes(stage: &mut Stage) -> anyhow::Result<()> {
    let writing = stage.start_writing().await?;
    for victim in [Victim::Node, Victim::Agent, Victim::Postmaster, Victim::Postgres, Victim::Region] {
        stage.cluster.freeze(HERE, victim)?;
        // Those that it has then: a Postgres may be just making another.
        let stands = |wanted: bool| {
            let pids = stage.cluster.pids(HERE, victim).ok().filter(|pids| !pids.is_empty())?;
            pids.iter().all(|pid| (state(*pid) == Some('T')) == wanted).then_some(())
        };
        stage.seen(&format!("{victim:?} stands still"), || stands(true)).await?;
        stage.cluster.thaw(HERE)?;
        stage.seen(&format!("{victim:?} goes on"), || stands(false)).await?;
    }
    stage.whole().await?;
    // The clients are at home.
    for (region, victim) in [(HOME, Victim::Backend), (HERE, Victim::Postmaster)] {
        let pid = stage.cluster.pids(region, victim)?[0];
        stage.cluster.kill(region, victim)?;
        stage.seen("it is gone", || matches!(state(pid), None | Some('Z')).then_some(())).await?;
        stage.whole().await?;
    }
    writing.stop().await;
    Ok(())
}

async fn links(stage: &mut Stage) -> anyhow::Result<()> {
    let cases = [(Ways::Around(HERE), 4), (Ways::OneWay(1, HERE), 1), (Ways::All, 6)];
    for (ways, count) in cases {
        stage.cluster.cut(&ways)?;
        let cut: Vec<_> = stage.land.wan().links().into_iter().filter(|link| link.cut).collect();
        ensure!(
            cut.len() == count && cut.iter().all(|link| link.from != "harness" && link.to != "harness"),
            "{cut:?}"
        );
        stage.cluster.heal(&ways)?;
    }
    let loss = |percent: &str| Change::parse(&["loss", percent]);
    stage.cluster.change(&Ways::Around(HERE), loss("30%")?)?;
    let lossy = |stage: &Stage| {
        stage.land.wan().links().iter().filter(|link| link.terms.loss.to_string() == "30%").count()
    };
    ensure!(lossy(stage) == 4, "expected 4 ways that lose packets, got {}", lossy(stage));
    stage.cluster.change(&Ways::Around(HERE), loss("0%")?)?;
    ensure!(lossy(stage) == 0);
    let node = stage.cluster.node(HOME);
    let dial = async move { TcpStream::connect(node).await };
    let mut open = stage.cluster.clients(HERE).spawn(dial).await??;
    stage.cluster.reset_connections(HERE)?;
    let heard = tokio::time::timeout(LONG, open.read_to_end(&mut Vec::new())).await?;
    ensure!(heard.is_err(), "the connection goes on: {heard:?}");
    stage.whole().await.map(drop)
}

async fn disk(stage: &mut Stage) -> anyhow::Result<()> {
    let file = stage.cluster.disk(HERE)?.path().join("file");
    stage.cluster.fill_disk(HERE)?;
    let full = fs::write(&file, [1; 1 << 16]).err().map(|error| error.kind());
    ensure!(full == Some(ErrorKind::StorageFull), "expected a full disk, got {full:?}");
    stage.cluster.free_disk(HERE)?;
    fs::write(&file, [1; 1 << 16])?;
    stage.cluster.freeze_disk(HERE)?;
    let mut waits = tokio::task::spawn_blocking(move || fs::write(file, "late"));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waits).await;
    stage.cluster.thaw_disk(HERE)?;
    ensure!(early.is_err(), "a frozen disk takes what is written");
    waits.await??;
    stage.whole().await.map(drop)
}

fn clock(stage: &mut Stage) -> anyhow::Result<()> {
    for hours in [1, -1, 0] {
        stage.cluster.set_wall_clock(HERE, hours * 3_600_000)?;
        let shown: f64 =
            as_superuser(&stage.cluster, HERE, "SELECT extract(epoch FROM clock_timestamp())")?.parse()?;
        let ahead = shown - SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        ensure!((ahead / 3600.0).round() == hours as f64, "{ahead} s ahead, expected {hours} h");
    }
    Ok(())
}

async fn resources(stage: &mut Stage) -> anyhow::Result<()> {
    control_groups(stage).await?;
    let pid = |stage: &Stage| stage.cluster.pid(HERE, Process::Node).context("the node runs");
    let limit = |stage: &Stage| -> anyhow::Result<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", pid(stage)?))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).context("a limit")?;
        Ok(line.split_whitespace().nth(3).context("a number")?.parse()?)
    };
    let before = limit(stage)?;
    stage.cluster.exhaust_descriptors(HERE, Process::Node)?;
    let open = fs::read_dir(format!("/proc/{}/fd", pid(stage)?))?.count() as u64;
    ensure!(limit(stage)? <= open + 2, "{} descriptors, {open} of them open", limit(stage)?);
    stage.cluster.release_descriptors(HERE, Process::Node)?;
    ensure!(limit(stage)? >= before);
    let log = |stage: &Stage| anyhow::Ok(fs::read_link(format!("/proc/{}/fd/2", pid(stage)?))?);
    stage.cluster.block_log(HERE, Process::Node)?;
    ensure!(log(stage)?.to_string_lossy().starts_with("pipe:"), "{:?}", log(stage)?);
    stage.cluster.unblock_log(HERE, Process::Node)?;
    ensure!(log(stage)?.ends_with("node.log"), "{:?}", log(stage)?);
    Ok(())
}

async fn control_groups(stage: &mut Stage) -> anyhow::Result<()> {
    if let Err(why) = stage.cluster.starve(HERE, 20) {
        eprintln!("skipped: a region with less of a processor and less memory: {why:#}");
        return Ok(());
    }
    let node = stage.cluster.pid(HERE, Process::Node).context("the node runs")?;
    let groups = fs::read_to_string(format!("/proc/{node}/cgroup"))?;
    ensure!(groups.contains("eu-west"), "{groups}");
    stage.cluster.feed(HERE)?;
    stage.cluster.limit_memory(HERE, 16 << 20)?;
    let much = "SELECT length(repeat('x', 100000000))";
    let answer = as_superuser(&stage.cluster, HERE, much);
    ensure!(answer.is_err(), "expected to be killed, got {answer:?}");
    stage.cluster.lift_memory_limit(HERE)?;
    stage.answers(HERE, much).await?;
    stage.whole().await.map(drop)
}

async fn store(stage: &mut Stage) -> anyhow::Result<()> {
    stage.whole().await?;
    ensure!(stage.cluster.wipe_node(HERE).is_err(), "a node that runs is left alone");
    stage.cluster.kill(HERE, Victim::Node)?;
    let node = stage.cluster.disk(HERE)?.path().join("node");
    stage.cluster.wipe_node(HERE)?;
    ensure!(!node.exists());
    stage.cluster.give_store_back(HERE)?;
    let damaged = stage.cluster.flip_bit(HERE)?;
    is_refused_or_whole(stage, &damaged).await?;
    let torn = stage.cluster.tear_tail(HERE, 4096)?;
    is_refused_or_whole(stage, &torn).await?;
    stage.cluster.revive(HERE, Victim::Node)?;
    stage.whole().await.map(drop)
}

/// The node ends by itself and names the file, and has back what it had; or nothing at all is missing, and it belongs to the
/// others again.
async fn is_refused_or_whole(stage: &mut Stage, damaged: &Path) -> anyhow::Result<()> {
    let log = stage.cluster.run_dir().region(HERE).join("node.log");
    let before = fs::read_to_string(&log)?.len();
    stage.cluster.revive(HERE, Victim::Node)?;
    let start = Instant::now();
    let admin = Admin::at(&stage.cluster, &[HERE])?;
    while stage.cluster.check_alive().is_ok() {
        if admin.view().await.is_ok_and(|view| view.is_led()) {
            stage.cluster.kill(HERE, Victim::Node)?;
            return stage.cluster.keep_store(HERE);
        }
        ensure!(start.elapsed() < LONG, "neither refused nor whole: {}", damaged.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = fs::read_to_string(&log)?.split_off(before);
    ensure!(said.contains(&damaged.display().to_string()), "{} is not named: {said}", damaged.display());
    stage.cluster.kill(HERE, Victim::Node)?;
    stage.cluster.give_store_back(HERE)
}

/// What the kernel says of a process; nothing where there is none.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
