//! One run of a scenario: from calm through its faults to calm, with everything that was seen on the way in a directory.

mod aftermath;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::choice::Run;
use super::clients::Clients;
use super::stage::{HOME, LONG, Stage, straighten};
use super::strike::{Ongoing, begin};
use super::{files, report};
use crate::askers::Askers;
use crate::clock::now_ns;
use crate::cluster::admin::{View, group};
use crate::cluster::faults::NothingThere;
use crate::cluster::topology::REGIONS;
use crate::flushes::Flushes;
use crate::history::{History, Outcome, Write};
use crate::invariants::worked::WARM;
use crate::record::{self, Ids, Start, Strike};
use crate::scenario::fault::Fault;
use crate::scenario::place::Roles;
use crate::scenario::random::Shift;
use crate::scenario::{Begins, Ends, Planned};
use crate::terminal::Stage as Progress;
use crate::timeline;
use crate::wan::terms::Change;
use crate::workload::Table;

const POLL: Duration = Duration::from_millis(5);
/// A primary that is not there by then will not be.
const NEVER: Duration = Duration::from_secs(40);

/// Plays it and records it in `dir`.
pub async fn play(stage: &mut Stage, run: &Run, dir: &Path) -> anyhow::Result<()> {
    let scenario = &run.scenario;
    let calm = stage.calm(&scenario.setting).await?;
    stage.cluster.forget_lateness();
    let flushes = Flushes::start(dir).with_context(|| format!("cannot write in {}", dir.display()))?;
    let before = Table::rows(stage.cluster.postgres(HOME), &stage.account).await?;
    let last_id = before.last().copied().unwrap_or(0).max(stage.last_id);
    let unanswered = stage.unanswered.clone();
    let history = History::after(last_id, &dir.join("history.jsonl"))?;
    let start = Start { primary: HOME, leader: calm.leader, epoch: calm.epoch, last_id };
    let begun_ns = now_ns();
    let (going, strikes) = (Vec::new(), Vec::new());
    let mut act = Act { run, stage, history, view: calm, start: start.epoch, begun_ns, going, strikes };
    let askers = Askers::start(&act.stage.cluster, &group()?)?;
    let clients = act.start_clients().await?;

    let mut progress = Progress::begin(scenario.name.clone());
    let schedule_ns = now_ns();
    act.schedule(&mut progress).await?;
    let off_ns = now_ns();
    let mut end = act.heal(&askers, off_ns, &mut progress).await;
    clients.stop().await;
    act.finish(&mut end).await;
    (end.before, end.unanswered) = (Ids(before), Ids(unanswered));
    end.lateness = Some(act.stage.cluster.lateness());
    end.longest_flush_ms = flushes.worst_ms();
    end.ended_ns = now_ns();
    progress.done(act.tally(schedule_ns));

    act.history.flush()?;
    record::write_told(dir, &askers.reads(), &askers.watched())?;
    record::write_end(dir, &end)?;
    let (strikes, history) = (act.strikes, act.history);
    let unknown =
        |write: &Write| matches!(write.outcome, Outcome::Unknown(_) | Outcome::Pending).then_some(write.id);
    stage.unanswered.extend(history.writes().iter().filter_map(unknown));
    stage.last_id = history.last_id();
    let facts = record::Run {
        scenario: scenario.name.clone(),
        class: scenario.class.to_string(),
        what: scenario.what.clone(),
        seed: run.seed,
        revision: env!("REGENT_REVISION").to_owned(),
        again: run.again.clone(),
        mode: scenario.setting.mode,
        regions: stage.cluster.names().iter().map(|name| (*name).to_owned()).collect(),
        round_trips_ms: stage.cluster.round_trips.ms(),
        start,
        begun_ns,
        schedule_ns,
        off_ns,
        strikes,
        promotions: [scenario.promotions.least, scenario.promotions.most],
        heals_within_ms: u64::try_from(scenario.heals_within.as_millis())?,
        gap_within_ms: scenario.gap_within.map(|bound| u64::try_from(bound.as_millis())).transpose()?,
    };
    record::write_run(dir, &facts)?;
    collect(stage, begun_ns, dir)
}

/// A run that is under way.
struct Act<'a> {
    run: &'a Run,
    stage: &'a mut Stage,
    history: History,
    /// What was known last of who is where.
    view: View,
    /// The epoch that held when it began.
    start: u64,
    begun_ns: u64,
    going: Vec<Going>,
    strikes: Vec<Strike>,
}

/// A fault that has begun.
struct Going {
    fault: Ongoing,
    /// Its place in the list of what was done.
    strike: usize,
    /// When it is to end; none while it waits for a promotion.
    until: Option<Instant>,
    /// What it waits for: an acknowledgement on a later timeline than this, then so long.
    waits: Option<(u32, Duration, Instant)>,
}

impl Act<'_> {
    async fn start_clients(&self) -> anyhow::Result<Clients> {
        let Stage { cluster, account, .. } = &self.stage;
        let beside = &self.run.scenario.clients;
        let clients = Clients::start(cluster, account, &self.history, HOME, beside).await?;
        for region in self.stage.cluster.names() {
            let of = |write: &Write| write.client == *region;
            self.written("clients write", WARM, LONG, of).await?;
        }
        Ok(clients)
    }

    /// Waits for that many more acknowledged rows of a kind.
    async fn written(
        &self,
        what: &str,
        count: usize,
        limit: Duration,
        of: impl Fn(&Write) -> bool,
    ) -> anyhow::Result<()> {
        let rows =
            || self.history.writes().iter().filter(|write| write.receipt().is_some() && of(write)).count();
        let (start, before) = (Instant::now(), rows());
        while rows() < before + count {
            if start.elapsed() > limit {
                bail!("{what}: {} rows within {limit:?}, expected {count}", rows() - before);
            }
            tokio::time::sleep(10 * POLL).await;
        }
        Ok(())
    }

    /// Makes the faults, each in its time, until the last is over.
    async fn schedule(&mut self, progress: &mut Progress) -> anyhow::Result<()> {
        let scenario = &self.run.scenario;
        let mut ahead = planned(self.run);
        let (before, mut promoted) = (self.history.newest_timeline(), None);
        let (start, lasts) = (Instant::now(), scenario.planned_for());
        let mut looked = Instant::now();
        while !ahead.is_empty() || !self.going.is_empty() || start.elapsed() < lasts {
            // Who is where has to be known before it happens; nobody may be there to ask afterwards.
            if looked.elapsed() > Duration::from_millis(200) {
                looked = Instant::now();
                if let Ok(Ok(view)) = tokio::time::timeout(10 * POLL, self.stage.view()).await {
                    self.view = view;
                }
            }
            let elapsed = start.elapsed();
            if promoted.is_none() && (self.history.first_after(before).is_some() || elapsed > NEVER) {
                promoted = Some(elapsed);
            }
            let due: Vec<_> = ahead.extract_if(.., |(begins, _)| begins.is_due(elapsed, promoted)).collect();
            for (_, planned) in due {
                progress.tell(planned.fault.words());
                self.strike(planned).await?;
            }
            self.going.iter_mut().try_for_each(|going| going.fault.tick(self.stage))?;
            self.end_what_is_over()?;
            tokio::time::sleep(POLL).await;
        }
        // What a fault left of links is not left to the next.
        straighten(&self.stage.cluster, Change::default())
    }

    fn roles(&self) -> Roles {
        let View { primary, heir, leader, .. } = self.view;
        let regions = self.stage.cluster.regions();
        let home = primary.unwrap_or(HOME);
        let other = (0..regions).find(|region| *region != home).unwrap_or(home);
        Roles { regions, home, heir: heir.unwrap_or(other), leader: leader.unwrap_or(home) }
    }

    async fn strike(&mut self, planned: &Planned) -> anyhow::Result<()> {
        let (roles, place) = (self.roles(), &planned.place);
        let fault = Fault { count: files::fit(planned.fault.count), ..planned.fault };
        if fault.count < planned.fault.count {
            report::fewer(planned.fault.count, fault.count);
        }
        let words = format!("{} ({place})", fault.words());
        let (from_ns, timeline) = (now_ns(), self.history.newest_timeline());
        let begun = begin(self.stage, &fault, place, &roles, self.view.epoch).await;
        let (name, regions) = (fault.row().name.to_owned(), roles.regions(place));
        let ongoing = match begun {
            Ok(ongoing) => ongoing,
            // Part of it may have happened all the same.
            Err(why) if self.run.scenario.by_chance && is_missed(&why) => {
                let words = format!("{words}: {why:#}");
                report::missed(&words);
                self.strikes.push(Strike { name, words, regions, from_ns, to_ns: now_ns() });
                return Ok(());
            }
            Err(why) => return Err(why.context(words)),
        };
        self.strikes.push(Strike { name, words, regions, from_ns, to_ns: from_ns });
        let strike = self.strikes.len() - 1;
        let now = Instant::now();
        let (until, waits) = match planned.ends {
            Ends::AtOnce => return Ok(()),
            Ends::After(time) => (Some(now + time), None),
            Ends::AfterPromotion(time) => (None, Some((timeline, time, now))),
        };
        self.going.push(Going { fault: ongoing, strike, until, waits });
        Ok(())
    }

    fn end_what_is_over(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for going in &mut self.going {
            if let Some((timeline, time, since)) = going.waits
                && (self.history.first_after(timeline).is_some() || since.elapsed() > NEVER)
            {
                (going.until, going.waits) = (Some(now + time), None);
            }
        }
        let is_over = |going: &Going| going.until.is_some_and(|until| until <= now);
        let (over, going) = std::mem::take(&mut self.going).into_iter().partition(is_over);
        self.going = going;
        for Going { fault, strike, .. } in over {
            fault.end(self.stage).with_context(|| format!("ending: {}", self.strikes[strike].words))?;
            self.strikes[strike].to_ns = now_ns();
        }
        Ok(())
    }

    fn tally(&self, schedule_ns: u64) -> String {
        let seconds = (now_ns() - schedule_ns) as f64 / 1e9;
        let rows = self.history.acknowledged() as f64;
        let faults = match self.strikes.len() {
            1 => "1 fault".to_owned(),
            many => format!("{many} faults"),
        };
        format!("{faults}, {:.0} rows/s", rows / seconds)
    }
}

/// Whether a fault found nothing that it could befall, or was a wish that was not heard or had no sense just then.
fn is_missed(why: &anyhow::Error) -> bool {
    why.downcast_ref::<NothingThere>().is_some() || why.downcast_ref::<regent_client::Error>().is_some()
}

/// What is to be done, in the order of time; a little later than it says, by chance, where that does not matter.
fn planned(run: &Run) -> Vec<(Begins, &Planned)> {
    let mut shift = Shift::new(run.seed);
    let mut begins = |planned: &Planned| match planned.begins {
        Begins::At(time) if !run.scenario.exact => Begins::At(time + shift.draw()),
        exactly => exactly,
    };
    let mut ahead: Vec<_> = run.scenario.schedule.iter().map(|planned| (begins(planned), planned)).collect();
    ahead.sort_by_key(|(begins, _)| *begins);
    ahead
}

/// Copies what nodes and agents wrote down since, and every log.
fn collect(stage: &Stage, since_ns: u64, dir: &Path) -> anyhow::Result<()> {
    for (region, name) in REGIONS.iter().enumerate().take(stage.cluster.regions()) {
        let (from, to) = (stage.cluster.run_dir().region(region), dir.join(name));
        fs::create_dir_all(&to)?;
        for file in ["node.audit", "agent.audit"] {
            let text = fs::read_to_string(from.join(file)).unwrap_or_default();
            let recent = text.lines().filter(|line| timeline::is_since(line, since_ns));
            let lines: String = recent.flat_map(|line| [line, "\n"]).collect();
            fs::write(to.join(file), lines)?;
        }
        for file in ["node.log", "agent.log", "postgres.log"] {
            // One that was never begun is not there.
            let _ = fs::copy(from.join(file), to.join(file));
        }
    }
    Ok(())
}
