//! A primary and its standbys: streaming, promotion, following.

use std::time::{Duration, Instant};

use regent_client::postgres::*;

use super::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_streams_and_both_sides_show_it() {
    let bench = Bench::new();
    let primary = bench.primary("a").await;
    let lines = std::sync::Mutex::new(Vec::new());
    let standby = bench.server("b");
    let cloned = standby
        .clone_from(&at(&primary), &mut |line| lines.lock().unwrap().push(line.to_owned()))
        .await
        .unwrap();
    assert_eq!(cloned.replaced, None);
    assert!(lines.lock().unwrap().iter().any(|line| line.contains('%')), "{lines:?}");
    let found = cluster(&standby).await;
    assert!(found.standby_signal && found.was_standby());
    assert!(matches!(standby.start(&Role::Primary).await, Err(PostgresError::WasStandby { .. })));

    standby.start(&Role::Standby { upstream: Some(at(&primary)) }).await.unwrap();
    streams_from(&standby, &primary).await;
    sql(&primary, "insert into t values (1)").await;
    shows_rows(&standby, 1).await;
    let written = primary.observe().await.flushed;
    until("it has flushed that", || async { standby.observe().await.flushed >= written }).await;
    let seen = standby.observe().await;
    assert_eq!((seen.in_recovery, seen.timeline), (Some(true), Some(1)));
    assert_eq!(seen.system_id, primary.observe().await.system_id);

    until("the primary shows it", || async {
        let standbys = primary.observe().await.standbys;
        standbys.iter().any(|s| s.application_name == "b" && s.state == "streaming" && s.flushed >= written)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heir_is_promoted_and_the_others_follow_it() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let c = bench.standby("c", &a).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&b, 1).await;
    shows_rows(&c, 1).await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;

    let took = promote_and_insert(&b).await;
    eprintln!("promotion to first commit took {took:?}");
    c.follow(&at(&b)).await.unwrap();
    streams_from(&c, &b).await;
    shows_rows(&c, 2).await;
    until("both are on timeline 2", || async {
        c.observe().await.timeline == Some(2) && b.observe().await.timeline == Some(2)
    })
    .await;
}

async fn promote_and_insert(server: &Server) -> Duration {
    let client = connect(server).await;
    let asked = Instant::now();
    server.promote().await.unwrap();
    // A busy machine may not answer in time: that is not yet, and no failure.
    until("it is primary", || async { matches!(server.in_recovery().await, Ok(false)) }).await;
    client.batch_execute("insert into t values (2)").await.unwrap();
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_standby_acknowledges_nothing_more() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    b.detach().await.unwrap();
    until("it streams no more", || async { b.observe().await.streaming_from.is_none() }).await;
    let seen = b.observe().await;
    assert_eq!((seen.in_recovery, seen.timeline), (Some(true), Some(1)));
    until("the primary has lost it", || async { a.observe().await.standbys.is_empty() }).await;
    sql(&a, "insert into t values (1)").await;
    assert_eq!(count(&b).await, 0);
    b.follow(&at(&a)).await.unwrap();
    shows_rows(&b, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_does_not_change_whom_its_standby_follows() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let again = Server::new(b.settings().clone()).unwrap();
    drop(b);
    assert!(matches!(again.adopt().await.unwrap(), Adopted::Running { .. }));
    again.set_synchronous_names(&Synchronous::Any { count: 1, names: vec!["c".into()] }).await.unwrap();
    streams_from(&again, &a).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&again, 1).await;
}

/// Copied near, followed far: the data need not cross the ocean twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_standby_follows_the_primary() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&b, 1).await;
    let c = bench.server("c");
    let mut said = Vec::new();
    c.clone_from(&at(&b), &mut |line| said.push(line.to_owned())).await.unwrap();
    assert!(said.iter().any(|line| line.contains(" kB (100%)")), "{said:?}");
    c.start(&Role::Standby { upstream: Some(at(&a)) }).await.unwrap();
    streams_from(&c, &a).await;
    sql(&a, "insert into t values (2)").await;
    shows_rows(&c, 2).await;
}
