//! The stage: three regions, their clients, and what was remembered of every write since the stage was built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_chaos::askers::Askers;
use regent_chaos::cluster::admin::{self, Admin, View, wait_for};
use regent_chaos::cluster::topology::{GROUP, RoundTrips};
use regent_chaos::cluster::{Cluster, Process, evidence};
use regent_chaos::demo::{fault::bring_home, setup};
use regent_chaos::history::{History, Outcome, Write};
use regent_chaos::invariants::accounted_rows::{self, Tail};
use regent_chaos::invariants::one_writable_primary;
use regent_chaos::timeline::{self, Event};
use regent_chaos::workload::{Account, Clients, Table, Workload};

/// Where primary and Raft leader are when a test begins.
pub const HOME: usize = 0;
/// Nothing takes this long, on however busy a machine.
pub const LONG: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// Rows that the clients of each region write before a fault: one among idle clients says nothing.
const WARM: usize = 50;

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

pub struct Stage {
    pub cluster: Cluster,
    pub history: History,
    account: Account,
    askers: Askers,
    tails: Vec<Tail>,
    lost: BTreeSet<u64>,
    copies: usize,
}

/// A region that was lost.
pub struct Lost {
    pub at_ns: u64,
    /// The timeline of its primary.
    pub timeline: u32,
    /// The first row that was acknowledged by another.
    pub first: Write,
}

/// Plays one scenario, alone, from a calm with primary and Raft leader at home.
pub fn play(scenario: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>) {
    let mut shared = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Taken off the shelf: what a panic leaves is not played on again.
    let taken = shared.take();
    let played = runtime.block_on(async {
        let mut stage = match taken {
            Some(stage) => stage,
            None => Stage::build().await?,
        };
        match stage.played(scenario).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.cluster.keep_files();
                Err(error.context(format!("its files are kept in {}", stage.run_dir().display())))
            }
        }
    });
    match played {
        Ok(stage) => *shared = Some(stage),
        Err(error) => panic!("{error:#}"),
    }
}

impl Stage {
    async fn build() -> anyhow::Result<Stage> {
        let (cluster, account) = setup::start(RoundTrips::parse("60,80,140")?).await?;
        let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
        let askers = Askers::default();
        Ok(Stage { cluster, history, account, askers, tails: Vec::new(), lost: BTreeSet::new(), copies: 0 })
    }

    async fn played(
        &mut self,
        scenario: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.at_home().await?;
        // They live on the scenario's runtime, and end with it.
        self.askers = Askers::start(&self.cluster, &admin::group()?)?;
        scenario(self).await
    }

    fn run_dir(&self) -> &Path {
        self.cluster.run_dir().path()
    }

    /// Waits until the nodes say what is wanted; fails when a process ends that nobody killed.
    pub async fn until(&mut self, what: &str, done: impl Fn(&View) -> bool) -> anyhow::Result<View> {
        wait_for(&mut self.cluster, what, LONG, done, |_| ()).await
    }

    /// Waits until there is a primary with a lease and all others stream from it.
    pub async fn whole(&mut self) -> anyhow::Result<View> {
        self.until("whole", View::is_whole).await
    }

    /// Moves primary and Raft leader home, and waits until all is calm there.
    pub async fn at_home(&mut self) -> anyhow::Result<()> {
        self.whole().await?;
        bring_home(&mut self.cluster, HOME, LONG).await?;
        let calm = |view: &View| view.is_whole() && view.primary == Some(HOME) && view.leader == Some(HOME);
        self.until("calm at home", calm).await.map(drop)
    }

    /// Starts clients in the regions that no fault touches, which follow the primary, and one in the home region, which
    /// knows no other server than the one there and goes on writing to it whatever happens.
    pub async fn start_writing(&self) -> anyhow::Result<Workload> {
        let only = vec![self.cluster.postgres(HOME)];
        let stubborn = Clients { instances: only, ..self.cluster.writers(HOME) };
        self.start(self.followers().chain([stubborn]).collect()).await
    }

    /// The same without the stubborn client.
    pub async fn start_following(&self) -> anyhow::Result<Workload> {
        self.start(self.followers().collect()).await
    }

    fn followers(&self) -> impl Iterator<Item = Clients> {
        (HOME + 1..self.cluster.instances()).map(|region| self.cluster.writers(region))
    }

    async fn start(&self, clients: Vec<Clients>) -> anyhow::Result<Workload> {
        let regions: Vec<&str> = clients.iter().map(|clients| clients.region).collect();
        let writing = Workload::start(clients, &self.account, &self.history);
        for region in regions {
            self.written("clients write", WARM, |write| write.client == region).await?;
        }
        Ok(writing)
    }

    /// Waits for that many more acknowledged rows of a kind.
    pub async fn written(
        &self,
        what: &str,
        count: usize,
        kind: impl Fn(&Write) -> bool,
    ) -> anyhow::Result<()> {
        let acknowledged = |write: &&Write| write.receipt().is_some() && kind(write);
        let now = || self.history.writes().iter().filter(acknowledged).count();
        let before = now();
        self.seen(what, || (now() >= before + count).then_some(())).await
    }

    /// Waits for the first row that is acknowledged on a later timeline than that one.
    pub async fn successor(&self, timeline: u32) -> anyhow::Result<Write> {
        self.seen("a successor writes", || self.history.first_after(timeline)).await
    }

    /// Waits until somebody's write, sent after `since`, is refused with that SQLSTATE.
    pub async fn refused(&self, client: &str, since_ns: u64, code: &str) -> anyhow::Result<()> {
        let refused = |write: &Write| {
            let mine = write.client == client && write.invoked_ns > since_ns;
            mine && matches!(&write.outcome, Outcome::Failed(why) if why.starts_with(code))
        };
        self.seen("the old primary refuses", || self.history.writes().iter().any(refused).then_some(())).await
    }

    /// Waits until `look` sees something.
    pub async fn seen<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if start.elapsed() > LONG {
                let writes = self.history.writes();
                let last: Vec<_> = writes.iter().rev().take(3).map(|write| &write.outcome).collect();
                bail!("{what}: not within {LONG:?}; the last writes: {last:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Loses the home region under writers, and waits until a successor writes. What that one did not take along is looked for
    /// while nobody can rewind it.
    pub async fn lose_home(&mut self) -> anyhow::Result<Lost> {
        let timeline = self.history.newest_timeline();
        let at_ns = self.cluster.kill_region(HOME)?.at_ns;
        let first = self.successor(timeline).await?;
        let log = self.keep_log(HOME)?;
        self.account_for(timeline, &log)?;
        Ok(Lost { at_ns, timeline, first })
    }

    /// Copies the newest part of a server's log, before its agent rewinds it.
    pub fn keep_log(&mut self, region: usize) -> anyhow::Result<PathBuf> {
        self.copies += 1;
        let copy = self.run_dir().join(format!("evidence-{}", self.copies));
        evidence::copy_newest(&self.cluster.data_dir(region), &copy)?;
        Ok(copy)
    }

    /// Reads, from what [`Stage::keep_log`] kept, which commits on `timeline` the successor did not take along. The
    /// first row it acknowledged names it; without one the timeline goes on.
    pub fn account_for(&mut self, timeline: u32, log: &Path) -> anyhow::Result<()> {
        let Some(first) = self.history.first_after(timeline) else { return Ok(()) };
        let receipt = first.receipt().context("the first row was acknowledged")?;
        let fork = evidence::fork(&self.cluster.data_dir(first.instance), receipt.timeline, timeline)?;
        self.tails.push(evidence::tail(self.cluster.postgres_bin(), log, timeline, fork)?);
        Ok(())
    }

    /// Waits until the history says what was left behind of that timeline: as many commits as the old server's files showed,
    /// and they can be read where it says that they are kept.
    pub async fn left_behind(&self, timeline: u32) -> anyhow::Result<()> {
        let tail = self.tails.iter().rfind(|tail| tail.timeline == timeline);
        let tail = tail.context("what was left behind was not looked for")?;
        if tail.commits.is_empty() {
            return Ok(()); // its heir had everything
        }
        let kept = self.seen("the history says what was left behind", || {
            let said = self.regent_ends(0, &["history", GROUP, "-o", "json"]).ok()?;
            let changes: serde_json::Value = serde_json::from_str(&said).ok()?;
            let mut tails =
                changes.as_array()?.iter().filter_map(|change| change["left_behind"].as_array()).flatten();
            tails.find(|found| found["timeline"] == timeline).cloned()
        });
        let kept = kept.await?;
        ensure!(
            kept["commits"] == tail.commits.len() && kept["from"] == evidence::format_lsn(tail.fork),
            "the files of the old server show {} commits from {}, the history {kept}",
            tail.commits.len(),
            evidence::format_lsn(tail.fork)
        );
        let note = Path::new(kept["kept"].as_str().unwrap_or_default()).join("README");
        let note = fs::read_to_string(&note).with_context(|| format!("cannot read {}", note.display()))?;
        let command =
            note.lines().find(|line| line.contains("--start")).context("the note has no command")?;
        let listed = Command::new("sh").args(["-c", command]).output()?;
        let commits = String::from_utf8_lossy(&listed.stdout).matches("desc: COMMIT").count();
        ensure!(
            commits == tail.commits.len(),
            "`{command}` lists {commits} commits, expected {}",
            tail.commits.len()
        );
        Ok(())
    }

    /// Waits until all is whole again and written to, stops the clients, and judges.
    pub async fn judge(&mut self, writing: Workload) -> anyhow::Result<View> {
        let view = self.whole().await?;
        let primary = view.primary.context("a whole group has a primary")?;
        self.written("writes go on", WARM, |write| write.instance == primary).await?;
        writing.stop().await;
        self.verdict(&view).await?;
        Ok(view)
    }

    /// Judges everything that was ever written.
    pub async fn verdict(&mut self, view: &View) -> anyhow::Result<()> {
        let primary = view.primary.context("a whole group has a primary")?;
        let writes = self.history.writes();
        let writable = one_writable_primary::check(&writes);
        ensure!(writable.holds(), "S1 is broken: {writable:?}");
        let rows = Table::rows(self.cluster.postgres(primary), &self.account).await?;
        let accounted = accounted_rows::check(&writes, &rows, &self.tails, &self.lost);
        ensure!(accounted.holds(), "rows are missing, or from nowhere: {accounted:?}");
        self.lost.extend(&accounted.lost);
        self.verdict_of_askers().await
    }

    /// Judges everything that clients were told of who leads.
    async fn verdict_of_askers(&self) -> anyhow::Result<()> {
        let log = Admin::of(&self.cluster)?.log().await?;
        let last = log.last_key_value().map(|(epoch, _)| *epoch).context("a whole group has an epoch")?;
        self.seen("all watchers are told", || (self.askers.watched_up_to() >= last).then_some(())).await?;
        let before = self.askers.answered();
        self.seen("reads are answered", || (self.askers.answered() > before + WARM).then_some(())).await?;
        let found = self.askers.check(&log, &self.events(0));
        ensure!(found.is_empty(), "S6 or S7 is broken: {found:?}");
        Ok(())
    }

    /// Which acknowledged rows were lost with an old primary so far.
    pub fn lost_rows(&self) -> BTreeSet<u64> {
        self.lost.clone()
    }

    /// How many.
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// What nodes and agents say they did since.
    pub fn events(&self, since_ns: u64) -> Vec<Event> {
        timeline::read(&self.cluster.audit_files(), since_ns, u64::MAX)
    }

    /// Gives an agent another configuration and starts it again, if it runs. Returns the one it had.
    pub fn reconfigure(
        &mut self,
        region: usize,
        change: impl FnOnce(&str) -> String,
    ) -> anyhow::Result<String> {
        let path = self.cluster.run_dir().region(region).join("agent.toml");
        let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, change(&before))?;
        if self.cluster.pid(region, Process::Agent).is_some() {
            self.cluster.terminate_process(region, Process::Agent)?;
            self.cluster.start_processes(region)?;
        }
        Ok(before)
    }

    /// Changes the group's mode, and waits until it is in force.
    pub async fn change_mode(&self, mode: &str) -> anyhow::Result<()> {
        self.regent_ends(0, &["group", "set", GROUP, "--mode", mode])?;
        self.is_well(mode).await
    }

    /// Waits until the command finds nothing wrong with the group.
    pub async fn is_well(&self, what: &str) -> anyhow::Result<()> {
        let well = || self.regent(&["status", GROUP]).is_ok_and(|status| status.status.success());
        self.seen(what, || well().then_some(())).await
    }

    /// The admin's command, against all nodes unless `args` say otherwise.
    pub fn regent_command(&self, args: &[&str]) -> Command {
        let nodes: Vec<String> =
            (0..self.cluster.regions()).map(|region| self.cluster.node(region).to_string()).collect();
        let mut command = Command::new(self.cluster.run_dir().program("regent"));
        command.args(args).env("REGENT_ENDPOINTS", nodes.join(","));
        command
    }

    /// Runs it.
    pub fn regent(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.regent_command(args).output().context("cannot run regent")
    }

    /// The same; it must end with that code. Returns what it printed.
    pub fn regent_ends(&self, code: i32, args: &[&str]) -> anyhow::Result<String> {
        let output = self.regent(args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        ensure!(
            output.status.code() == Some(code),
            "regent {args:?}: expected exit code {code}, got {}: {said}{complained}",
            output.status
        );
        Ok(said + &complained)
    }
}
