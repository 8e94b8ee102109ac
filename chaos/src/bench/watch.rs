//! A thousand watchers at one node, each over a connection of its own: how long after a decision each is told.
//!
//! The decision is the moment when a majority of witnesses has voted, by their own audit. No distances: what is measured is
//! what the nodes and the herd cost, not the speed of light.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use regent_client::{Client, Event};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::report::{Row, quantile};
use crate::clock::{ms_between, now_ns};
use crate::cluster::Cluster;
use crate::cluster::admin::{Admin, View, group, insist, wait_for};
use crate::cluster::topology::{REGIONS, RoundTrips};
use crate::demo::setup;
use crate::terminal::Stage;
use crate::timeline;

const PATIENCE: Duration = Duration::from_secs(60);
/// The node that is watched: a follower, as two of three are.
const WATCHED: usize = 1;
/// The audit is written beside the decision, by a thread of its own.
const AUDITED: Duration = Duration::from_millis(500);

/// The figures of one decision.
#[derive(Serialize)]
pub struct Figures {
    /// The epoch decided.
    pub epoch: u64,
    /// How many were told.
    pub watchers: usize,
    /// From the decision until the watched node knew.
    pub node_ms: f64,
    /// From the decision until half were told.
    pub median_ms: f64,
    /// From the decision until 99 of 100 were told.
    pub p99_ms: f64,
    /// From the decision until all were told.
    pub last_ms: f64,
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] =
        &["decision", "watchers", "node ms", "median ms", "p99 ms", "last ms"];

    fn cells(&self) -> Vec<String> {
        let figures = [self.node_ms, self.median_ms, self.p99_ms, self.last_ms];
        let cells = [format!("epoch {}", self.epoch), self.watchers.to_string()];
        cells.into_iter().chain(figures.map(|ms| format!("{ms:.1}"))).collect()
    }
}

type Told = mpsc::UnboundedReceiver<(u64, u64)>;

/// Moves the primary to and fro while all watch.
pub async fn measure(watchers: usize, trials: usize) -> anyhow::Result<Vec<Figures>> {
    allow_connections(watchers as u64)?;
    let (mut cluster, _) = setup::start(RoundTrips::NONE).await?;
    let (mut told, _watching) = watch(&cluster, watchers).await?;
    let mut figures = Vec::new();
    for _ in 0..trials {
        let view = wait_for(&mut cluster, "calm", PATIENCE, View::is_whole, |_| ()).await?;
        let to = view.heir.context("a whole group has an heir")?;
        let admin = Admin::of(&cluster)?;
        let stage = Stage::begin(format!("{watchers} watchers, primary to {}", REGIONS[to]));
        let since_ns = now_ns();
        insist("moving the primary", PATIENCE, async || admin.switchover(to).await).await?;
        let times = times(&mut told, watchers, view.epoch).await?;
        tokio::time::sleep(AUDITED).await;
        let done = of_decision(&cluster, since_ns, times)?;
        stage.done(format!("all told in {:.1} ms", done.last_ms));
        figures.push(done);
    }
    Ok(figures)
}

/// Each watcher is a connection, on both sides; the nodes inherit the limit.
fn allow_connections(watchers: u64) -> anyhow::Result<()> {
    let needed = watchers + 500;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure in, and later copies it.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    ensure!(read == 0, "cannot read the limit of open files: {}", io::Error::last_os_error());
    let hard = limit.rlim_max;
    ensure!(
        needed <= hard,
        "{watchers} watchers need {needed} open files, allowed are {hard}: see `ulimit -Hn`"
    );
    limit.rlim_cur = limit.rlim_cur.max(needed);
    // SAFETY: as above.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    ensure!(set == 0, "cannot allow {needed} open files: {}", io::Error::last_os_error());
    Ok(())
}

/// Begins to watch; returns when every watcher has been told the present state.
async fn watch(cluster: &Cluster, watchers: usize) -> anyhow::Result<(Told, JoinSet<()>)> {
    let stage = Stage::begin(format!("{watchers} connections"));
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut watching = JoinSet::new();
    for _ in 0..watchers {
        let client = Client::new([cluster.node(WATCHED).to_string()])?;
        let mut events = client.watch([group()?]);
        let tell = tell.clone();
        watching.spawn(async move {
            while let Some(event) = events.next().await {
                let epoch = match event {
                    Ok(Event::Present(assignment) | Event::Changed { assignment, .. }) => assignment.epoch.0,
                    _ => continue,
                };
                if tell.send((epoch, now_ns())).is_err() {
                    return;
                }
            }
        });
    }
    times(&mut told, watchers, 0).await?;
    stage.done("each told the present state");
    Ok((told, watching))
}

/// When each watcher was told of the first epoch above that one which all are told of.
async fn times(told: &mut Told, watchers: usize, above: u64) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut of_epochs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    loop {
        let Ok(heard) = timeout(PATIENCE, told.recv()).await else {
            let counts: BTreeMap<_, _> =
                of_epochs.iter().map(|(epoch, times)| (epoch, times.len())).collect();
            bail!("not all of {watchers} watchers were told within {PATIENCE:?}; told by epoch: {counts:?}");
        };
        let (epoch, at_ns) = heard.context("the watchers ended")?;
        if epoch <= above {
            continue;
        }
        let times = of_epochs.entry(epoch).or_default();
        times.push(at_ns);
        if times.len() == watchers {
            return Ok((epoch, std::mem::take(times)));
        }
    }
}

fn of_decision(cluster: &Cluster, since_ns: u64, (epoch, times): (u64, Vec<u64>)) -> anyhow::Result<Figures> {
    let events = timeline::read(&cluster.audit_files(), since_ns, now_ns());
    let of_epoch = |name: &'static str| {
        events.iter().filter(move |event| event.event == name && event.epoch == Some(epoch))
    };
    let majority = cluster.regions() / 2;
    let decided = of_epoch("vote").nth(majority).context("a decision has the votes of a majority")?.t_ns;
    let knew = of_epoch("decided").find(|event| event.region == REGIONS[WATCHED]);
    let mut told: Vec<f64> = times.iter().map(|at| ms_between(decided, *at)).collect();
    told.sort_by(f64::total_cmp);
    Ok(Figures {
        epoch,
        watchers: told.len(),
        node_ms: ms_between(decided, knew.context("the watched node knew of the decision")?.t_ns),
        median_ms: quantile(&told, 0.5),
        p99_ms: quantile(&told, 0.99),
        last_ms: quantile(&told, 1.0),
    })
}
