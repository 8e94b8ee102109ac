//! The cluster that scenarios are played on, one after the other, each from a calm with primary and Raft leader at home.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use regent_core::replication::Mode;
use tokio::task::JoinHandle;

use crate::cluster::admin::{Admin, View, insist, wait_for};
use crate::cluster::land::Land;
use crate::cluster::ways::Ways;
use crate::cluster::{Cluster, Options};
use crate::demo::{fault::bring_home, setup};
use crate::scenario::Setting;
use crate::sharp::Blunt;
use crate::terminal::Stage as Progress;
use crate::wan::terms::{Change, Rate, Share, Size, Span, Toggle};
use crate::workload::Account;

/// Where primary and Raft leader are when a scenario begins.
pub const HOME: usize = 0;
/// Nothing takes this long, on however busy a machine.
pub const LONG: Duration = Duration::from_secs(120);

/// The regions, and how clients log in.
pub struct Stage {
    /// The regions.
    pub cluster: Cluster,
    /// How writers log in.
    pub account: Account,
    /// What links are like beside what a fault does to them.
    pub links: Change,
    /// The number of the last row that was sent.
    pub last_id: u64,
    /// Rows that were sent and never answered.
    pub unanswered: BTreeSet<u64>,
    /// Who was asked for to govern the group, last in this run.
    pub electorate: Option<Electorate>,
    mode: Mode,
}

/// How soon a wish that failed is said again.
const PAUSE: Duration = Duration::from_millis(50);

/// Regions that are to govern the group, while that is asked for: a change of them takes its time, and faults go on meanwhile.
pub struct Electorate {
    /// Which.
    pub regions: Vec<usize>,
    asks: JoinHandle<()>,
    refused: Arc<Mutex<String>>,
}

impl Electorate {
    /// Asks for it, again and again until it is so.
    pub fn ask(cluster: &Cluster, regions: Vec<usize>) -> anyhow::Result<Electorate> {
        let (admin, wanted) = (Admin::of(cluster)?, regions.clone());
        let refused = Arc::new(Mutex::new(String::new()));
        let told = refused.clone();
        let asks = tokio::spawn(async move {
            while let Err(why) = admin.set_electorate(&wanted).await {
                *told.lock().expect("nobody panics with it") = format!("{why:#}");
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Electorate { regions, asks, refused })
    }

    /// Why it was refused last; empty if it never was.
    pub fn refused(&self) -> String {
        self.refused.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Electorate {
    fn drop(&mut self) {
        self.asks.abort();
    }
}

impl Stage {
    /// Starts a cluster.
    pub async fn build(
        land: &Arc<Land>,
        setting: &Setting,
        blunt: Option<&'static Blunt>,
    ) -> anyhow::Result<Stage> {
        let mut options = Options::on(land);
        (options.instances, options.shim) = (setting.instances, setting.shim);
        if setting.disks {
            options.disks = (0..setting.regions).collect();
        }
        (options.ttl, options.blunt) = (setting.ttl, blunt);
        let (cluster, account) = setup::start_with(options).await?;
        let (links, unanswered) = (Change::default(), BTreeSet::new());
        Ok(Stage { cluster, account, links, last_id: 0, unanswered, electorate: None, mode: Mode::Async })
    }

    /// Everything streams in the mode of the setting, over links as it says, and primary and Raft leader are at home.
    pub async fn calm(&mut self, setting: &Setting) -> anyhow::Result<View> {
        let mut progress = Progress::begin("calm");
        self.electorate = None;
        self.mend_links()?;
        wait_for(&mut self.cluster, "calm", LONG, View::is_whole, |_| ()).await?;
        if self.mode != setting.mode {
            setup::set_mode(&self.cluster, setting.mode).await?;
            self.mode = setting.mode;
        }
        bring_home(&mut self.cluster, HOME, LONG).await?;
        let at_home =
            |view: &View| view.is_whole() && view.primary == Some(HOME) && view.leader == Some(HOME);
        let tell = |view: &View| progress.tell(format!("{} standbys stream", view.streaming));
        let view = wait_for(&mut self.cluster, "calm at home", LONG, at_home, tell).await?;
        let admin = Admin::of(&self.cluster)?;
        insist("the mode in force", LONG, async || admin.in_force().await).await?;
        self.cluster.settle_disks()?;
        self.links = setting.links;
        straighten(&self.cluster, self.links)?;
        progress.done(format!("{}, epoch {}, {}", self.cluster.names()[HOME], view.epoch, setting.mode));
        Ok(view)
    }

    /// Links as they are without faults, whatever was begun and not ended.
    pub fn mend_links(&self) -> anyhow::Result<()> {
        self.cluster.heal(&Ways::All)?;
        straighten(&self.cluster, Change::default())
    }

    /// Where everything is left when this is over.
    pub fn keep_files(&mut self) {
        self.cluster.keep_files();
    }

    /// What the nodes know now.
    pub async fn view(&self) -> anyhow::Result<View> {
        Admin::of(&self.cluster)?.view().await.context("no node says how things are")
    }
}

/// Every link as far as its regions are apart, and otherwise as `usual` says.
pub fn straighten(cluster: &Cluster, usual: Change) -> anyhow::Result<()> {
    let regions = 0..cluster.regions();
    let ways = regions.clone().flat_map(|from| regions.clone().map(move |to| (from, to)));
    ways.filter(|(from, to)| from != to).try_for_each(|(from, to)| straighten_one(cluster, from, to, usual))
}

/// The same of the link from one region to another.
pub fn straighten_one(cluster: &Cluster, from: usize, to: usize, usual: Change) -> anyhow::Result<()> {
    let plain = Change {
        delay: Some(Span(cluster.round_trips.between(from, to) / 2)),
        jitter: Some(Span::default()),
        reorder: Some(Toggle::default()),
        loss: Some(Share::default()),
        duplicate: Some(Share::default()),
        rate: Some(Rate::default()),
        queue: Some(Size::default()),
    };
    cluster.change(&Ways::OneWay(from, to), plain)?;
    cluster.change(&Ways::OneWay(from, to), usual)
}
