//! One fault of one contestant, from calm to calm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::contestant::{Contestant, Look};
use super::fault::{Fault, HOME};
use super::figures::{Seen, Trial, judge};
use super::site::NUMBER;
use super::wait;
use crate::clock::{ms_between, now_ns};
use crate::cluster::land::Land;
use crate::cluster::topology::REGIONS;
use crate::history::History;
use crate::terminal::Stage;
use crate::workload::stubborn::{Known, Stubborn};
use crate::workload::{Account, Clients, Table, Workload};

/// From nothing, or from the last fault, to all being well.
const CALM: Duration = Duration::from_secs(240);
/// Rows that must be acknowledged before the fault: a trial of idle clients says nothing.
const WARM: usize = 150;
const WARMING: Duration = Duration::from_secs(60);
/// How long a region stands still.
const FROZEN: Duration = Duration::from_secs(60);
/// Written on after the first row of a new primary, so that an old one that writes on is seen; and after a resumption.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Where writes go on as if nothing had happened: whoever has not noticed by then does not.
const UNNOTICED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A contestant since its start: its rows, and what was found out about them.
pub struct Life {
    contestant: Box<dyn Contestant>,
    land: Arc<Land>,
    account: Account,
    history: History,
    /// Rows that earlier faults of this life lost.
    lost: BTreeSet<u64>,
    /// Rows that earlier ones let two primaries acknowledge.
    twice: BTreeSet<u64>,
}

impl Life {
    /// Waits until all is well, and makes the writers' table.
    pub async fn begin(
        contestant: Box<dyn Contestant>,
        land: &Arc<Land>,
        fault: Fault,
    ) -> anyhow::Result<Life> {
        let account = Account { user: "demo".into(), password: "demo".into(), database: "postgres".into() };
        let file = tempfile::NamedTempFile::new()?;
        let (history, land) = (History::create(file.path())?, land.clone());
        let (lost, twice) = (BTreeSet::new(), BTreeSet::new());
        let mut life = Life { contestant, land, account, history, lost, twice };
        life.calm(fault).await?;
        life.contestant.as_superuser(HOME, &Table::let_in(&life.account))?;
        Ok(life)
    }

    /// Whether it stands as this fault needs it.
    pub fn fits(&self, fault: Fault) -> bool {
        self.contestant.fits(fault)
    }

    /// Says where its files are left.
    pub fn keep_files(&mut self) -> String {
        self.contestant.keep_files().display().to_string()
    }

    /// Makes one fault, and waits until all is well again, if that comes by itself.
    pub async fn run(&mut self, fault: Fault, limit: Duration) -> anyhow::Result<Trial> {
        self.calm(fault).await?;
        let writers = self.start_writers().await?;
        let old = self.history.newest_timeline();
        self.land.wan().forget_lateness();
        let struck_ns = now_ns();
        let stage = Stage::begin(fault.words());
        self.contestant.strike(fault)?;
        let resumed = self.watch(fault, old, limit).await;
        let lateness = self.land.wan().lateness();
        let end_ns = now_ns();
        stage.done(format!("{:.1} s watched", ms_between(struck_ns, end_ns) / 1e3));
        if !resumed {
            self.contestant.undo(fault)?;
        }
        let back = self.back().await;
        writers.stop().await;
        let rows = self.rows().await?;
        let seen = Seen { struck_ns, end_ns, old_timeline: old, back_s: back, lateness };
        let (trial, verdict) = judge(&seen, &self.history.writes(), &rows, &self.lost, &self.twice);
        self.lost.extend(verdict.lost);
        self.twice.extend(verdict.twice);
        Ok(trial)
    }

    /// Everybody streams, and is where the fault needs him.
    async fn calm(&mut self, fault: Fault) -> anyhow::Result<()> {
        let mut stage = Stage::begin("all well, and at home");
        let (start, mut last) = (Instant::now(), String::new());
        let leader_moves = self.contestant.leader_moves();
        while start.elapsed() < CALM {
            last = match self.contestant.look() {
                Ok(look) if look.is_ready(fault, leader_moves) => {
                    stage.done("");
                    return Ok(());
                }
                Ok(look) => match self.arrange(fault, &look) {
                    Ok(how) => how,
                    Err(error) => format!("{error:#}"),
                },
                Err(error) => format!("{error:#}"),
            };
            stage.tell(&last);
            tokio::time::sleep(POLL).await;
        }
        bail!("not well within {CALM:?}: {last}")
    }

    fn arrange(&mut self, fault: Fault, look: &Look) -> anyhow::Result<String> {
        if let Some(missing) = &look.missing {
            return Ok(missing.clone());
        }
        self.contestant.arrange(fault, look)?;
        Ok(format!("{look:?}"))
    }

    /// In the regions that no fault touches writers that follow the primary, at home sessions that know the server there.
    async fn start_writers(&self) -> anyhow::Result<Writers> {
        let instances = self.contestant.postgres();
        let at_home = Known {
            region: REGIONS[HOME],
            instance: HOME,
            address: instances[HOME],
            runtime: self.land.clients(HOME).clone(),
        };
        let there = |region: usize| Clients {
            region: REGIONS[region],
            instances: instances.clone(),
            runtime: self.land.clients(region).clone(),
        };
        let clients = (0..NUMBER).filter(|region| *region != HOME).map(there).collect();
        let before = self.history.acknowledged();
        let writers = Writers {
            following: Workload::start(clients, &self.account, &self.history),
            stubborn: Stubborn::start(at_home, &self.account, &self.history),
        };
        let start = Instant::now();
        while self.history.acknowledged() < before + WARM {
            if start.elapsed() > WARMING {
                let last = self.history.writes().pop().map(|write| write.outcome);
                bail!("clients wrote too little in {WARMING:?}; the last: {last:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(writers)
    }

    /// Until a new primary has written for a while, or nobody will, or nobody has to. Says whether the fault is undone already, as
    /// being frozen is after its time.
    async fn watch(&mut self, fault: Fault, old: u32, limit: Duration) -> bool {
        let start = Instant::now();
        let mut resumed = None;
        loop {
            tokio::time::sleep(POLL).await;
            if fault == Fault::Frozen && resumed.is_none() && start.elapsed() >= FROZEN {
                resumed = self.contestant.undo(fault).ok().map(|()| Instant::now());
            }
            let moved = self.history.first_after(old).and_then(|write| Some(write.receipt()?.at_ns));
            let since = moved.map(|at_ns| Duration::from_nanos(now_ns().saturating_sub(at_ns)));
            let written_on = since.is_some_and(|since| since > AFTERWARDS);
            let over = match (fault, resumed) {
                (Fault::Frozen, None) => false,
                (Fault::Frozen, Some(resumed)) => resumed.elapsed() > AFTERWARDS,
                _ => {
                    written_on
                        || (fault.may_change_nothing() && since.is_none() && start.elapsed() > UNNOTICED)
                }
            };
            if over || start.elapsed() > limit {
                return resumed.is_some();
            }
        }
    }

    /// Seconds until all is well again; none if that did not come.
    async fn back(&mut self) -> Option<f64> {
        let mut stage = Stage::begin("all well again");
        let start = Instant::now();
        let contestant = &mut self.contestant;
        let well = wait::until("all well", || {
            let look = contestant.look()?;
            stage.tell(look.missing.as_deref().unwrap_or_default());
            Ok(look.missing.is_none())
        });
        match well.await {
            Ok(()) => {
                stage.done("");
                Some(start.elapsed().as_secs_f64())
            }
            Err(error) => {
                println!("  not well again: {error:#}");
                None
            }
        }
    }

    /// What the primary has in the end.
    async fn rows(&mut self) -> anyhow::Result<BTreeSet<u64>> {
        let look = self.contestant.look()?;
        let primary = look.primary.with_context(|| format!("nobody has the rows in the end: {look:?}"))?;
        Table::rows(self.contestant.postgres()[primary], &self.account).await
    }
}

struct Writers {
    following: Workload,
    stubborn: Stubborn,
}

impl Writers {
    async fn stop(self) {
        self.following.stop().await;
        self.stubborn.stop().await;
    }
}
