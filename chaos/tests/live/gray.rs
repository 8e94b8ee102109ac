//! Half dead: a Postgres that runs and commits nothing is replaced, by its own agent's doing, and comes back as a standby
//! when it is well. One that is merely slow is not.

use anyhow::ensure;
use regent_chaos::cluster::disk::Disk;
use regent_chaos::cluster::topology::GROUP;
use regent_chaos::demo::fault::bring_home;
use regent_chaos::gray::disk;
use regent_chaos::gray::{self, Kind, load};

use super::stage::{HOME, LONG, Stage, play};

/// Where a disk of its own is put under a standby.
const OTHER: usize = 1;

#[test]
fn what_is_stopped_or_crashes_again_and_again_ends_in_a_promotion() {
    play(async |stage| {
        for kind in [Kind::Postmaster, Kind::Backends, Kind::Mute, Kind::CrashLoop] {
            is_replaced(stage, kind, HOME, None).await?;
        }
        Ok(())
    });
}

#[test]
fn a_frozen_disk_and_a_full_one_end_in_a_promotion() {
    if let Some(why) = Disk::unavailable() {
        return eprintln!("skipped: {why}");
    }
    play(async |stage| {
        let mut disk = Some(disk::under(&mut stage.cluster, OTHER, false)?);
        for kind in [Kind::DiskFrozen, Kind::DiskFull] {
            disk = is_replaced(stage, kind, OTHER, disk).await?;
        }
        give_back(stage, disk).await
    });
}

#[test]
fn a_frozen_disk_that_silences_the_agent_as_well_ends_in_a_promotion() {
    if let Some(why) = Disk::unavailable() {
        return eprintln!("skipped: {why}");
    }
    play(async |stage| {
        let disk = disk::under(&mut stage.cluster, OTHER, true)?;
        let disk = is_replaced(stage, Kind::AllFrozen, OTHER, Some(disk)).await?;
        give_back(stage, disk).await
    });
}

async fn give_back(stage: &mut Stage, disk: Option<Disk>) -> anyhow::Result<()> {
    bring_home(&mut stage.cluster, HOME, LONG).await?;
    stage.whole().await?;
    disk.map_or(Ok(()), |disk| disk::back(disk, &mut stage.cluster, OTHER))?;
    stage.whole().await.map(drop)
}

/// Strikes the primary in `region`. Another takes over while the fault lasts; when it is over, all is whole again.
async fn is_replaced(
    stage: &mut Stage,
    kind: Kind,
    region: usize,
    disk: Option<Disk>,
) -> anyhow::Result<Option<Disk>> {
    stage.whole().await?;
    bring_home(&mut stage.cluster, region, LONG).await?;
    let before = stage.until("calm", |view| view.is_whole() && view.primary == Some(region)).await?;
    let struck = gray::strike(kind, &stage.cluster, region, disk)?;
    stage
        .until(kind.words(), |view| view.leased && view.primary.is_some_and(|primary| primary != region))
        .await?;
    let writing = stage.start_following().await?;
    let after = stage.until("the change is in the history", |view| view.epoch > before.epoch).await?;
    let disk = struck.end()?;
    let end = stage.judge(writing).await?;
    ensure!(end.primary == after.primary, "{}: {after:?}, then {end:?}", kind.words());

    let history = stage.regent_ends(0, &["history", GROUP, "-o", "json"])?;
    let changes: Vec<serde_json::Value> = serde_json::from_str(&history)?;
    let change = changes.iter().find(|change| change["epoch"].as_u64() == Some(before.epoch + 1));
    let said = change.and_then(|change| change["reason"].as_str()).unwrap_or_default();
    ensure!(said == reason(kind), "{}: expected {:?} in {history}", kind.words(), reason(kind));
    Ok(disk)
}

/// What the history says of it.
fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::CrashLoop => "Postgres died",
        // It cannot make its release durable, and so says nothing at all.
        Kind::AllFrozen => "primary silent",
        _ => "Postgres hung",
    }
}

#[test]
fn load_alone_moves_nothing() {
    play(async |stage| {
        let before = stage.whole().await?;
        load::prepare(&stage.cluster, HOME)?;
        let tps = load::saturate(&stage.cluster, HOME, 10)?;
        load::clear(&stage.cluster, HOME)?;
        let after = stage.whole().await?;
        ensure!((after.epoch, after.primary) == (before.epoch, before.primary), "{before:?}, then {after:?}");
        ensure!(tps > 0.0, "nothing was written");
        Ok(())
    });
}
