//! A region that does not die, but stands still and goes on as if nothing had been.

use std::time::Duration;

use anyhow::ensure;
use regent_chaos::cluster::Victim;

use super::stage::{HOME, play};

const FROZEN: Duration = Duration::from_secs(3);

#[test]
fn a_frozen_primary_never_acknowledges_again() {
    play(async |stage| {
        let writing = stage.start_writing().await?;
        let timeline = stage.history.newest_timeline();
        stage.cluster.freeze(HOME, Victim::Region)?;
        let thaw = tokio::time::Instant::now() + FROZEN;
        stage.successor(timeline).await?;
        let log = stage.keep_log(HOME)?;
        stage.account_for(timeline, &log)?;
        tokio::time::sleep_until(thaw).await;
        // From here on its client, whose statements wait in its sockets, hears from it again: S1 says what it may hear.
        stage.cluster.thaw(HOME)?;
        let after = stage.judge(writing).await?;
        ensure!(after.primary != Some(HOME), "{after:?}");
        Ok(())
    });
}
