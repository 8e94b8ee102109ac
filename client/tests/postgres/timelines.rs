//! Promotions onto a timeline of a wanted number, and what others make of the numbers that are passed over.

use regent_client::postgres::*;

use super::fixture::*;

async fn promote(server: &Server, timeline: u32) {
    server.promote_onto(timeline).await.unwrap();
    until("it is primary", || async { matches!(server.in_recovery().await, Ok(false)) }).await;
    assert_eq!(server.observe().await.timeline, Some(timeline));
    server.checkpoint().await.unwrap();
}

async fn kill_server(server: &Server) {
    kill_now(server.observe().await.pid.unwrap());
    server.wait_exit().await;
}

async fn is_on(server: &Server, upstream: &Server, timeline: u32) {
    until("it has turned to the timeline", || async {
        let seen = server.observe().await;
        let from = seen.streaming_from.filter(|from| from.port == upstream.settings().port);
        from.is_some_and(|from| from.status == "streaming") && seen.timeline == Some(timeline)
    })
    .await;
}

fn history(server: &Server, timeline: u32) -> std::path::PathBuf {
    server.settings().data_dir.join(format!("pg_wal/{timeline:08X}.history"))
}

/// What a standby has of a new primary's numbers before it has the history of its timeline.
fn place(server: &Server, timelines: std::ops::RangeInclusive<u32>) {
    for timeline in timelines {
        let text = "# Placeholder of regent-agent: as the new primary sends it\n";
        // It may look for them meanwhile, and ends when it may not read one.
        let unfinished = server.settings().data_dir.join("unfinished");
        std::fs::write(&unfinished, text).unwrap();
        if let Some(RunAs { uid, gid }) = server.settings().run_as {
            std::os::unix::fs::chown(&unfinished, Some(uid), Some(gid)).unwrap();
        }
        std::fs::rename(unfinished, history(server, timeline)).unwrap();
    }
}

/// Everybody comes along over two leaps: who streams, who was away meanwhile, the old primary, and a copy that is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn all_follow_over_leaps() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let (b, c, d) =
        (bench.standby("b", &a).await, bench.standby("c", &a).await, bench.standby("d", &a).await);
    d.stop(Mode::Fast, PATIENCE).await.unwrap();
    kill_server(&a).await;
    promote(&b, 5).await;
    sql(&b, "insert into t values (1)").await;
    c.follow(&at(&b)).await.unwrap();
    is_on(&c, &b, 5).await;
    a.rewind_from(&at(&b)).await.unwrap();
    a.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    is_on(&a, &b, 5).await;

    let e = bench.standby("e", &b).await;
    assert!(history(&e, 2).exists(), "what a copy is not given is filled in");
    shows_rows(&c, 1).await;
    shows_rows(&e, 1).await;
    kill_server(&b).await;
    promote(&c, 9).await;
    sql(&c, "insert into t values (2)").await;
    for server in [&a, &e] {
        server.follow(&at(&c)).await.unwrap();
        is_on(server, &c, 9).await;
    }
    d.start(&Role::Standby { upstream: Some(at(&c)) }).await.unwrap();
    is_on(&d, &c, 9).await;
    b.rewind_from(&at(&c)).await.unwrap();
    b.start(&Role::Standby { upstream: Some(at(&c)) }).await.unwrap();
    is_on(&b, &c, 9).await;

    // The copy in its turn, and a standby of a standby.
    kill_server(&c).await;
    promote(&e, 10).await;
    sql(&e, "insert into t values (3)").await;
    a.follow(&at(&e)).await.unwrap();
    is_on(&a, &e, 10).await;
    d.follow(&at(&a)).await.unwrap();
    is_on(&d, &a, 10).await;
    shows_rows(&d, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_starts_though_it_has_placeholders_above_its_own_timeline() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let c = bench.standby("c", &a).await;
    kill_server(&c).await;
    place(&c, 2..=4);
    c.start(&Role::Standby { upstream: Some(at(&a)) }).await.unwrap();
    is_on(&c, &a, 1).await;
    assert!(!history(&c, 2).exists() && !history(&c, 4).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_runs_is_not_led_astray_by_placeholders() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let (b, c) = (bench.standby("b", &a).await, bench.standby("c", &a).await);
    place(&c, 2..=4);
    a.stop(Mode::Fast, PATIENCE).await.unwrap();
    a.start(&Role::Primary).await.unwrap();
    until("it streams on", || async { a.observe().await.standbys.len() == 2 }).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&c, 1).await;
    shows_rows(&b, 1).await;
    kill_server(&a).await;
    promote(&b, 7).await;
    c.follow(&at(&b)).await.unwrap();
    is_on(&c, &b, 7).await;
    sql(&b, "insert into t values (2)").await;
    shows_rows(&c, 2).await;
}

/// What was begun and not asked for leaves nothing; what is stopped cannot be promoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_is_not_asked_for_leaves_no_placeholders() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    // Where the request would be written there is a directory.
    std::fs::create_dir(b.settings().data_dir.join("promote")).unwrap();
    b.promote_onto(4).await.unwrap_err();
    assert!(!history(&b, 2).exists() && !history(&b, 3).exists());
    b.stop(Mode::Fast, PATIENCE).await.unwrap();
    assert!(matches!(b.promote_onto(4).await, Err(PostgresError::NotRunning(_))));
}
