//! How long a promotion takes. Run by hand: `cargo test -p regent-client --test postgres -- --ignored --nocapture measure`.

use std::time::{Duration, Instant};

use regent_client::postgres::*;

use super::fixture::*;

const TRIALS: usize = 7;

#[derive(Debug, Clone, Copy)]
enum How {
    File,
    Function,
}

/// Kills the primary, promotes its standby after `wait`, and returns how long until it is writable and has committed.
async fn trial(how: How, retry: &str, wait: Duration) -> [Duration; 2] {
    let bench = Bench::new();
    let with = |name: &str| {
        let mut settings = bench.settings(name);
        settings.parameters.insert("wal_retrieve_retry_interval".into(), retry.into());
        Server::new(settings).unwrap()
    };
    let (a, b) = (with("a"), with("b"));
    a.initialise().await.unwrap();
    a.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { a.observe().await.accepting }).await;
    sql(&a, "create table t (x int)").await;
    b.clone_from(&at(&a), &mut |_| ()).await.unwrap();
    b.start(&Role::Standby { upstream: Some(at(&a)) }).await.unwrap();
    streams_from(&b, &a).await;
    sql(&a, "insert into t select generate_series(1, 10000)").await;
    shows_rows(&b, 10000).await;

    let client = connect(&b).await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;
    tokio::time::sleep(wait).await;
    let asked = Instant::now();
    match how {
        How::File => b.promote().await.unwrap(),
        How::Function => client.batch_execute("select pg_promote(false)").await.unwrap(),
    }
    while b.in_recovery().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let writable = asked.elapsed();
    client.batch_execute("insert into t values (2)").await.unwrap();
    [writable, asked.elapsed()]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn measure_promotions() {
    let waits = [Duration::ZERO, Duration::from_millis(400)];
    let ways = [(How::File, "50ms"), (How::Function, "50ms"), (How::File, "10ms"), (How::File, "5s")];
    let all: Vec<_> = ways.into_iter().flat_map(|way| waits.map(|wait| (way, wait))).collect();
    let mut took = vec![Vec::new(); all.len()];
    // In turns, so that whatever else the machine does meets all of them alike.
    for _ in 0..TRIALS {
        for (times, ((how, retry), wait)) in took.iter_mut().zip(&all) {
            times.push(trial(*how, retry, *wait).await);
        }
    }
    for (times, ((how, retry), wait)) in took.iter_mut().zip(&all) {
        times.sort_by_key(|[_, committed]| *committed);
        let ([writable, committed], [_, worst]) = (times[TRIALS / 2], times[TRIALS - 1]);
        println!(
            "{how:?}, retry {retry}, {wait:?} after the death: writable {writable:?}, committed {committed:?}, worst {worst:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn measure_observations() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    for server in [&a, &b] {
        let began = Instant::now();
        for _ in 0..1000 {
            assert!(server.observe().await.accepting);
        }
        let observing = began.elapsed() / 1000;
        let began = Instant::now();
        for _ in 0..1000 {
            server.in_recovery().await.unwrap();
        }
        println!("observe {observing:?}, in_recovery {:?}", began.elapsed() / 1000);
    }
}
