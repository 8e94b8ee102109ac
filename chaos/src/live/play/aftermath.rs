//! When every fault is over: waiting until all is as it was, and what is there then.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use regent_core::state::Change;
use regent_core::vote::Reason;

use super::{Act, POLL};
use crate::askers::Askers;
use crate::clock::now_ns;
use crate::cluster::admin::{Admin, View, wait_for};
use crate::cluster::evidence;
use crate::history::Write;
use crate::live::stage::{Electorate, LONG};
use crate::record::{End, Ids};
use crate::terminal::Stage as Progress;
use crate::timeline;
use crate::workload::Table;

/// Written on when all is whole, so that what happens beside is seen too.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Rows and answers for the clients of each region that show that they are served.
const SERVED: usize = 10;

impl Act<'_> {
    /// Waits until all is whole and everybody is served again.
    pub(super) async fn heal(&mut self, askers: &Askers, off_ns: u64, progress: &mut Progress) -> End {
        let mut end = End::default();
        let limit = self.run.scenario.heals_within + LONG / 2;
        progress.tell("waiting until all is whole");
        let asked = self.stage.electorate.as_ref().map(|asked| asked.regions.clone());
        let governed = |view: &View| asked.as_ref().is_none_or(|asked| view.electorate == *asked);
        let whole = |view: &View| view.is_whole() && governed(view);
        match wait_for(&mut self.stage.cluster, "whole", limit, whole, |_| ()).await {
            Ok(_) => end.whole_ns = Some(now_ns()),
            Err(error) => {
                let refused = self.stage.electorate.as_ref().map(Electorate::refused).unwrap_or_default();
                end.trouble = Some(format!("{error:#} {refused}"));
                return end;
            }
        }
        match self.serve(askers, off_ns).await {
            Ok(()) => end.served_ns = Some(now_ns()),
            Err(error) => end.trouble = Some(format!("{error:#}")),
        }
        tokio::time::sleep(AFTERWARDS).await;
        end
    }

    async fn serve(&self, askers: &Askers, off_ns: u64) -> anyhow::Result<()> {
        for region in self.stage.cluster.names() {
            let of = |write: &Write| write.client == *region && write.invoked_ns > off_ns;
            self.written(&format!("writers of {region} are served again"), SERVED, LONG, of).await?;
        }
        let (start, before) = (Instant::now(), askers.answered());
        let wanted = before + SERVED * self.stage.cluster.regions();
        while askers.answered() < wanted {
            if start.elapsed() > LONG {
                bail!("askers: {} answers within {LONG:?}, expected {wanted}", askers.answered() - before);
            }
            tokio::time::sleep(POLL).await;
        }
        let changes = Admin::of(&self.stage.cluster)?.changes().await?;
        let of_terms = |change: &Change| change.epoch.0 > self.start && change.reason == Reason::Terms;
        if self.stage.electorate.is_some() && !changes.iter().any(of_terms) {
            bail!("who governs was to change, and never did");
        }
        let last = changes.last().context("a whole group has an epoch")?.epoch;
        while askers.watched_up_to() < last {
            if start.elapsed() > LONG {
                bail!("a watcher was not told of epoch {last} within {LONG:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What is there in the end, as far as anybody can be asked.
    pub(super) async fn finish(&self, end: &mut End) {
        if let Err(error) = self.look(end).await {
            let error = format!("what is there in the end could not be seen: {error:#}");
            end.trouble.get_or_insert(error);
        }
    }

    async fn look(&self, end: &mut End) -> anyhow::Result<()> {
        end.log = Admin::of(&self.stage.cluster)?.changes().await?;
        for event in timeline::read(&self.stage.cluster.audit_files(), self.begun_ns, u64::MAX) {
            let Some(kept) = event.kept.filter(|_| event.event == "tail_kept") else { continue };
            end.tails.extend(evidence::kept_tails(self.stage.cluster.postgres_bin(), Path::new(&kept))?);
        }
        let view = self.stage.view().await?;
        let primary = view.primary.context("nobody is primary")?;
        end.rows = Some(Ids(Table::rows(self.stage.cluster.postgres(primary), &self.stage.account).await?));
        Ok(())
    }
}
