//! `regent-chaos live`: scenarios with real processes on a network of their own, each judged by what is recorded of it.
//!
//! [`choice`] says what is to be run, [`stage`] is the cluster from calm to calm, [`play`] runs one scenario and records it,
//! [`strike`] makes its faults, [`report`] says how it went, [`tally`] how all went.
//! What must hold is not here: [`crate::check`] judges the record.

pub mod choice;
mod clients;
mod files;
mod lacks;
pub mod list;
mod play;
mod report;
mod results;
mod stage;
mod strike;
mod tally;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::check::{self, Outcome, Verdict};
use crate::cluster::land::Land;
use crate::record;
pub use choice::Args;
use choice::Run;
use lacks::Lacks;
use results::Results;
use stage::Stage;
pub use tally::Tally;

/// Runs what was asked for. 0: all of it holds. 1: something is broken, or could not be run. 3: nothing is broken, but some of
/// it counts for less than it should or could not be run here.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let tally = tally_of(args)?;
    Ok(ExitCode::from(tally.code()))
}

/// Plays all of it, and says what came of it.
pub fn tally_of(args: &Args) -> anyhow::Result<Tally> {
    let chosen = choice::choose(args)?;
    report::title(&chosen, args.minutes);
    files::allow_many();
    let mut all = Session { results: Results::create(args.keep)?, tally: Tally::default() };
    let begun = Instant::now();
    let lacks = Lacks::of(&chosen);
    let mut possible = Vec::new();
    for run in chosen {
        match lacks.why_not(&run.scenario) {
            Some(why) => all.skip(&[run], why),
            None => possible.push(run),
        }
    }
    for group in choice::by_ground(possible) {
        let trips = group[0].scenario.setting.round_trips()?;
        let land = match Land::start(trips, group[0].seed) {
            Ok(land) => land,
            Err(no) if no.is_not_allowed() => {
                all.skip(&group, &no.to_string());
                continue;
            }
            Err(no) => return Err(no).context("no network of regions"),
        };
        // Those that chance draws share one ground, and go on until the time is over.
        let time = Duration::from_secs(60 * args.minutes.unwrap_or(0));
        let more = (args.seed + 1..).take_while(|_| begun.elapsed() < time);
        let more = more.map(|seed| choice::drawn(args, seed));
        let runs = group.into_iter().map(Ok).chain(more);
        let stopped = land.run(async || all.until_stopped(&land, runs).await)??;
        if stopped {
            println!("\nstopping");
            break;
        }
    }
    all.tally.print(all.results.path());
    Ok(all.tally)
}

/// What came of everything so far.
struct Session {
    results: Results,
    tally: Tally,
}

impl Session {
    fn skip(&mut self, group: &[Run], why: &str) {
        for run in group {
            report::skipped(run, why);
            self.tally.skip(run, why);
        }
    }

    /// Says whether somebody stopped it.
    async fn until_stopped(
        &mut self,
        land: &Arc<Land>,
        runs: impl Iterator<Item = anyhow::Result<Run>>,
    ) -> anyhow::Result<bool> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            played = self.play_all(land, runs) => played.map(|()| false),
            _ = tokio::signal::ctrl_c() => Ok(true),
            _ = terminate.recv() => Ok(true),
        }
    }

    /// One after the other on one stage; a run that did not go well takes the stage down.
    async fn play_all(
        &mut self,
        land: &Arc<Land>,
        runs: impl Iterator<Item = anyhow::Result<Run>>,
    ) -> anyhow::Result<()> {
        let mut stage: Option<Stage> = None;
        for run in runs {
            let run = run?;
            let built = match stage.take() {
                Some(stage) => Ok(stage),
                None => Stage::build(land, &run.scenario.setting, run.blunt).await,
            };
            match built {
                Ok(on) => stage = self.play_one(on, &run).await?,
                Err(error) => {
                    report::failed(&run, &error, None);
                    self.tally.fail(&run, &format!("{error:#}"));
                }
            }
        }
        Ok(())
    }

    /// Gives the stage back if it can be played on.
    async fn play_one(&mut self, mut stage: Stage, run: &Run) -> anyhow::Result<Option<Stage>> {
        let dir = self.results.begin(run)?;
        let played = play::play(&mut stage, run, &dir).await;
        match played.and_then(|()| judge(&dir)) {
            Ok(verdict) => {
                let whole = verdict.findings.iter().all(check::Finding::holds);
                let well = whole && matches!(verdict.outcome, Outcome::Holds | Outcome::Safe);
                self.results.end(&dir, well)?;
                report::verdict(&verdict, self.results.kept(&dir));
                self.tally.count(run, &verdict);
                if !whole {
                    stage.keep_files();
                    stage.mend_links()?;
                }
                Ok(whole.then_some(stage))
            }
            Err(error) => {
                stage.keep_files();
                self.results.end(&dir, false)?;
                report::failed(run, &error, Some(&dir));
                self.tally.fail(run, &format!("{error:#}"));
                // The network is there for the next as well.
                stage.mend_links()?;
                Ok(None)
            }
        }
    }
}

/// Judges what was recorded, and writes down what came of it.
fn judge(dir: &Path) -> anyhow::Result<Verdict> {
    let record = record::read(dir)?;
    let verdict = check::judge(&record);
    check::write(&record, &verdict)?;
    Ok(verdict)
}
