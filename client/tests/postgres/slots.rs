//! What slots keep, and what they do not: a standby that was away comes back, also to a new primary; one that is away for too
//! long fills no disk.

use regent_client::postgres::*;

use super::fixture::*;

/// What is heard of each: on that timeline, flushed so far, as it says itself when it runs.
async fn owner(of: &Server) -> Owner {
    let seen = of.observe().await;
    let flushed = seen.timeline.zip(seen.flushed);
    Owner { instance: of.settings().instance.clone(), flushed, heard: seen.accepting }
}

async fn slot(on: &Server, of: &str) -> Option<Slot> {
    let name = slot_name(of);
    let kept = connect(on).await;
    let row = kept
        .query_opt(
            "select active, wal_status = 'lost', (restart_lsn - '0/0')::int8 from pg_replication_slots \
             where slot_name = $1::text::name",
            &[&name],
        )
        .await
        .unwrap()?;
    let from = row.get::<_, Option<i64>>(2).map(|at| Lsn(at as u64));
    Some(Slot { name, active: row.get(0), lost: row.get::<_, Option<bool>>(1).unwrap_or(false), from })
}

/// Writes that many segments of WAL, and lets the server remove what it may.
async fn fill(server: &Server, segments: u32) {
    for _ in 0..segments {
        sql(server, "insert into t values (0); select pg_switch_wal()").await;
    }
    sql(server, "checkpoint").await;
}

/// Nothing is kept but what slots keep.
fn bench_server(bench: &Bench, name: &str, limit: &str) -> Server {
    let mut settings = bench.settings(name);
    for (parameter, value) in [
        ("wal_keep_size", "0"),
        ("max_wal_size", "32MB"),
        ("min_wal_size", "32MB"),
        ("max_slot_wal_keep_size", limit),
    ] {
        settings.parameters.insert(parameter.into(), value.into());
    }
    Server::new(settings).unwrap()
}

async fn primary(server: &Server) {
    server.initialise().await.unwrap();
    server.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { server.observe().await.accepting }).await;
    sql(server, "create table t (x int)").await;
}

async fn standby(server: &Server, upstream: &Server) {
    server.clone_from(&at(upstream), &mut |_| ()).await.unwrap();
    server.start(&Role::Standby { upstream: Some(at(upstream)) }).await.unwrap();
    streams_from(server, upstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_away_comes_back_to_the_primary_and_to_a_new_one() {
    let bench = Bench::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| bench_server(&bench, name, "4GB"));
    primary(&a).await;
    standby(&b, &a).await;
    standby(&c, &a).await;
    sql(&a, "select pg_create_physical_replication_slot('mine')").await;
    for (on, others) in [(&a, [&b, &c]), (&b, [&a, &c])] {
        let owners = [owner(others[0]).await, owner(others[1]).await];
        let kept = on.keep_slots(&owners).await.unwrap();
        assert_eq!((kept.slots.len(), kept.troubles), (2, Vec::new()));
        assert_eq!(on.keep_slots(&owners).await.unwrap().slots.len(), 2, "each once");
    }
    // What c has, it needs no more, on the primary and on the standby.
    fill(&a, 4).await;
    let everything = a.observe().await.flushed;
    until("both have everything", || async {
        b.observe().await.replayed >= everything && c.observe().await.replayed >= everything
    })
    .await;
    let said = owner(&c).await;
    for on in [&a, &b] {
        let before = slot(on, "c").await.unwrap().from;
        let kept = on.keep_slots(std::slice::from_ref(&said)).await.unwrap();
        let after = slot(on, "c").await.unwrap().from;
        assert!(after > before && after <= said.flushed.map(|(_, lsn)| lsn), "{before:?} to {after:?}");
        assert_eq!(kept.slots.len(), 1, "those of nobody are dropped");
    }

    // Away for twelve segments, where two are kept without a slot.
    c.stop(Mode::Fast, PATIENCE).await.unwrap();
    fill(&a, 12).await;
    c.start(&Role::Standby { upstream: Some(at(&a)) }).await.unwrap();
    streams_from(&c, &a).await;

    // The same, and then its primary is gone: the one that was a standby has kept it as well.
    c.stop(Mode::Fast, PATIENCE).await.unwrap();
    fill(&a, 12).await;
    let everything = a.observe().await.flushed;
    until("b has everything", || async { b.observe().await.replayed >= everything }).await;
    sql(&b, "checkpoint").await;
    a.stop(Mode::Immediate, PATIENCE).await.unwrap();
    b.promote().await.unwrap();
    until("it is primary", || async { matches!(b.in_recovery().await, Ok(false)) }).await;
    fill(&b, 12).await;
    c.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&c, &b).await;
    shows_rows(&c, count(&b).await).await;
    assert_eq!(b.drop_slots().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_stays_away_fills_no_disk_and_is_said() {
    let bench = Bench::new();
    let [a, b] = ["a", "b"].map(|name| bench_server(&bench, name, "64MB"));
    primary(&a).await;
    standby(&b, &a).await;
    sql(&a, "select pg_create_physical_replication_slot('mine')").await;
    let there = owner(&b).await;
    a.keep_slots(std::slice::from_ref(&there)).await.unwrap();
    b.stop(Mode::Fast, PATIENCE).await.unwrap();
    let away = [Owner { heard: false, ..there }];
    fill(&a, 3).await;
    let kept = a.keep_slots(&away).await.unwrap();
    assert!(kept.warning(&away).contains("MiB of WAL are kept for b, of at most 64"), "{kept:?}");
    fill(&a, 12).await;
    let kept = a.keep_slots(&away).await.unwrap();
    assert!(kept.slots[0].lost && kept.warning(&away).contains("no longer kept"), "{kept:?}");
    let held = connect(&a).await.query_one("select sum(size)::int8 from pg_ls_waldir()", &[]).await.unwrap();
    assert!(held.get::<_, i64>(0) < 160 << 20, "of {} MiB written", 15 * 16);
    // It is heard again: WAL is kept for it from now on, and a user's own slot is as it was.
    let back = [Owner { heard: true, ..away[0].clone() }];
    let kept = a.keep_slots(&back).await.unwrap();
    assert!(!kept.slots[0].lost && kept.warning(&back).is_empty(), "{kept:?}");
    let mine = "select count(*) from pg_replication_slots where slot_name = 'mine'";
    assert_eq!(connect(&a).await.query_one(mine, &[]).await.unwrap().get::<_, i64>(0), 1);
}
