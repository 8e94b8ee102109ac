//! A running group changes its mode, and each mode keeps what it promises.

use anyhow::ensure;
use regent_chaos::cluster::topology::GROUP;
use regent_chaos::cluster::ways::Ways;
use regent_chaos::history::Outcome;
use regent_chaos::invariants::lost_within;
use regent_chaos::workload::Workload;
use std::time::Duration;

use super::stage::{HOME, Stage, play};

#[test]
fn a_running_group_changes_its_mode_and_in_sync_loses_nothing_with_its_region() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let (before, postmaster) = (stage.whole().await?, stage.cluster.postmaster(HOME)?);
        let failed = stage.failed();
        stage.regent_ends(2, &["group", "set", GROUP, "--mode", "sync", "--sync-count", "3"])?;
        for mode in ["sync", "async", "sync"] {
            stage.regent_ends(0, &["group", "set", GROUP, "--mode", mode])?;
            stage.is_well(mode).await?;
            for region in stage.cluster.names() {
                stage.written("writes go on", 20, |write| write.client == *region).await?;
            }
        }
        let after = stage.whole().await?;
        ensure!(after.epoch == before.epoch, "a change cost a promotion: {before:?}, then {after:?}");
        ensure!(stage.cluster.postmaster(HOME)? == postmaster, "a change restarted Postgres");
        ensure!(stage.failed() == failed, "a change cost a client an error: {:?}", stage.last_failure());

        stage.loses_nothing_with_its_region(writing).await?;

        stage.is_well("sync is in force again").await?;
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "async"])?;
        stage.is_well("async again").await
    });
}

/// The heir asks the other standby where it is, and only then is promoted.
#[test]
fn in_quorum_nothing_is_lost_with_a_region() {
    play(async |stage| {
        let refused =
            stage.regent_ends(2, &["group", "set", GROUP, "--mode", "quorum", "--quorum-count", "3"])?;
        ensure!(refused.contains("has 2 standbys"), "{refused}");
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "quorum"])?;
        stage.is_well("quorum").await?;
        let writing = stage.start_writing().await?;
        for region in stage.cluster.names() {
            stage.written("writes go on", 20, |write| write.client == *region).await?;
        }
        stage.loses_nothing_with_its_region(writing).await?;
        stage.is_well("quorum is in force again").await?;
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "async"])?;
        stage.is_well("async again").await
    });
}

/// The primary is cut off with a client that goes on writing to it: without the bound it would acknowledge until its lease
/// is over.
#[test]
fn in_bounded_what_is_lost_with_a_region_is_younger_than_the_bound() {
    play(async |stage| {
        let refused = stage.regent_ends(2, &["group", "set", GROUP, "--mode", "bounded", "--rpo", "9ms"])?;
        ensure!(refused.contains("between 10ms and 60s"), "{refused}");
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "bounded", "--rpo", "100ms"])?;
        stage.is_well("bounded").await?;
        let said = stage.regent_ends(0, &["status", GROUP])?;
        ensure!(said.contains("bounded 100ms or block"), "{said}");

        let writing = stage.start_writing().await?;
        let (timeline, before) = (stage.history.newest_timeline(), stage.lost_rows());
        stage.cluster.cut(&Ways::Around(HOME))?;
        stage.successor(timeline).await?;
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        stage.cluster.heal(&Ways::Around(HOME))?;
        stage.judge(writing).await?;

        let lost = stage.lost_rows().difference(&before).copied().collect();
        let (travels, bound) = (|_: &str| Duration::ZERO, Duration::from_millis(100));
        let found = lost_within::check(&stage.history.writes(), &lost, timeline, travels, Some(bound));
        ensure!(found.lost > 0, "the client beside it was to lose something: {found:?}");
        ensure!(found.holds(), "S5 is broken: {found:?}");
        stage.regent_ends(0, &["group", "set", GROUP, "--mode", "async"])?;
        stage.is_well("async again").await
    });
}

impl Stage {
    /// The primary's region is killed under writers and comes back, and every acknowledged row is there.
    async fn loses_nothing_with_its_region(&mut self, writing: Workload) -> anyhow::Result<()> {
        let (lost, timeline) = (self.lost(), self.history.newest_timeline());
        self.cluster.kill_region(HOME)?;
        self.successor(timeline).await?;
        let log = self.keep_log(HOME)?;
        self.account_for(timeline, &log)?;
        self.cluster.restore_region(HOME)?;
        self.judge(writing).await?;
        ensure!(self.lost() == lost, "{} acknowledged rows were lost", self.lost() - lost);
        Ok(())
    }

    /// Waits until the command finds nothing wrong with the group.
    async fn is_well(&self, what: &str) -> anyhow::Result<()> {
        let well = || self.regent(&["status", GROUP]).is_ok_and(|status| status.status.success());
        self.seen(what, || well().then_some(())).await
    }

    /// How many writes were answered with anything but an acknowledgement.
    fn failed(&self) -> usize {
        self.history.writes().iter().filter(|write| is_failure(&write.outcome)).count()
    }

    fn last_failure(&self) -> Option<Outcome> {
        self.history.writes().into_iter().map(|write| write.outcome).rfind(is_failure)
    }
}

fn is_failure(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_) | Outcome::Unknown(_))
}
