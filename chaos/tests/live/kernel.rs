//! The fence in the kernel, beside real agents: in a network namespace of the test's own, as a user who may change nothing but
//! its network.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_chaos::cluster::Process;
use regent_chaos::cluster::run_dir;
use regent_chaos::cluster::topology::{GROUP, instance};
use regent_chaos::demo::fault::bring_home;

use super::stage::{HOME, LONG, Stage, play};

/// Tells the test that it is inside.
const INSIDE: &str = "REGENT_TEST_INSIDE";
/// How long a connection is waited for that nobody answers.
const SILENT: Duration = Duration::from_secs(1);

#[test]
fn a_primary_whose_agent_stands_still_is_silent_and_a_standby_is_open_again() {
    if std::env::var_os(INSIDE).is_some() {
        return play(plays);
    }
    match run_inside("kernel::a_primary_whose_agent_stands_still_is_silent_and_a_standby_is_open_again") {
        Ok(()) => {}
        Err(Outside::Unavailable(why)) => eprintln!("skipped: {why}"),
        Err(Outside::Failed(why)) => panic!("{why}"),
    }
}

async fn plays(stage: &mut Stage) -> anyhow::Result<()> {
    // Each while it is a standby: a primary whose agent starts again may be voted out for its silence.
    for region in [HOME + 1, HOME + 2] {
        arm(stage, region)?;
    }
    stage.whole().await?;
    bring_home(&mut stage.cluster, HOME + 1, LONG).await?;
    arm(stage, HOME)?;
    stage.at_home().await?;
    is_armed(stage, HOME).await?;
    let writing = stage.start_writing().await?;
    let timeline = stage.history.newest_timeline();
    let agent = stage.cluster.pid(HOME, Process::Agent).context("the agent runs")?;
    let agent = Pid::from_raw(agent as i32);
    kill(agent, Signal::SIGSTOP)?;
    stage.successor(timeline).await?;
    let old = stage.cluster.postgres(HOME);
    let silent = TcpStream::connect_timeout(&old, SILENT);
    ensure!(silent.is_err(), "the port of a primary whose lease is over accepts");
    let log = stage.keep_log(HOME)?;
    stage.account_for(timeline, &log)?;
    kill(agent, Signal::SIGCONT)?;

    let after = stage.judge(writing).await?;
    let primary = after.primary.filter(|primary| *primary != HOME);
    is_armed(stage, primary.context("another is primary")?).await?;
    stage.seen("a standby is open", || TcpStream::connect_timeout(&old, SILENT).ok()).await?;
    // A planned change sends the last of the log under the lease.
    stage.at_home().await?;
    is_armed(stage, HOME).await
}

/// Has the agent there fence in the kernel too.
fn arm(stage: &mut Stage, region: usize) -> anyhow::Result<()> {
    stage.reconfigure(region, |text| format!("{text}\n[fence]\nkernel = true\n")).map(drop)
}

/// Waits until the status says that the primary's fence is armed, and that none is in the way of another's.
async fn is_armed(stage: &mut Stage, primary: usize) -> anyhow::Result<()> {
    stage.whole().await?;
    let name = instance(primary);
    stage
        .seen("status says that it is armed", || {
            let said = stage.regent(&["status", GROUP]).ok()?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let armed = said.lines().any(|line| line.contains(&name) && line.contains("gate+agent+kernel"));
            (armed && !said.contains("not armed")).then_some(())
        })
        .await
}

enum Outside {
    Unavailable(String),
    Failed(String),
}

/// Runs that test again, in a network namespace of its own.
fn run_inside(test: &str) -> Result<(), Outside> {
    let missing = |what: &str| Outside::Unavailable(format!("the kernel fence's live test needs {what}"));
    let user = run_dir::user().ok().flatten().ok_or_else(|| missing("root, and a user postgres"))?;
    for program in ["unshare", "ip", "nft", "setpriv"] {
        Command::new(program).arg("-V").output().map_err(|_| missing(program))?;
    }
    let allowed = Command::new("unshare").args(["--net", "true"]).output();
    allowed.ok().filter(|tried| tried.status.success()).ok_or_else(|| missing("network namespaces"))?;
    let own = std::env::current_exe().map_err(|error| Outside::Failed(error.to_string()))?;
    let net = "+net_admin";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "setpriv"]);
    command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string(), "--clear-groups"]);
    command.args(["--inh-caps", net, "--ambient-caps", net]).arg(own);
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "yes").env("HOME", "/tmp");
    let output = command.output().map_err(|error| Outside::Failed(error.to_string()))?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    output.status.success().then_some(()).ok_or(Outside::Failed(said))
}
