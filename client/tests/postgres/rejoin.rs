//! An old primary, or a stranger, that becomes a standby.

use regent_client::postgres::*;

use super::fixture::*;

/// Two instances; `a` was killed with a row that `b`, promoted since, never got.
pub async fn diverged(bench: &Bench) -> (Server, Server) {
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    b.detach().await.unwrap();
    until("it is alone", || async { a.observe().await.standbys.is_empty() }).await;
    sql(&a, "insert into t values (1)").await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;
    b.promote().await.unwrap();
    until("it is primary", || async { matches!(b.in_recovery().await, Ok(false)) }).await;
    sql(&b, "insert into t values (2), (3)").await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_with_more_log_is_rewound() {
    let bench = Bench::new();
    let (a, b) = diverged(&bench).await;
    // Not awaited first: a rewind has to wait for the new primary's checkpoint by itself.
    let new = at(&b);
    let (rewound, checkpointed) = tokio::join!(a.rewind_from(&new), b.checkpoint());
    checkpointed.unwrap();
    match rewound.unwrap() {
        Rewind::Rewound { diverged_at, timeline: 1 } => assert!(diverged_at > Lsn(0)),
        other => panic!("expected to be rewound on timeline 1, got {other:?}"),
    }
    a.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&a, &b).await;
    shows_rows(&a, 2).await;
    assert_eq!(a.observe().await.timeline, Some(2));
    assert!(matches!(a.rewind_from(&at(&b)).await, Err(PostgresError::Running { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_standby_that_went_too_far_is_rewound() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let c = bench.standby("c", &a).await;
    b.detach().await.unwrap();
    until("only c streams", || async { a.observe().await.standbys.len() == 1 }).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&c, 1).await;
    for server in [&a, &c] {
        kill_now(server.observe().await.pid.unwrap());
        server.wait_exit().await;
    }
    b.promote().await.unwrap();
    until("it is primary", || async { matches!(b.in_recovery().await, Ok(false)) }).await;
    b.checkpoint().await.unwrap();

    assert!(matches!(c.rewind_from(&at(&b)).await.unwrap(), Rewind::Rewound { timeline: 1, .. }));
    c.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&c, &b).await;
    assert_eq!(count(&c).await, 0);
}

/// Both were promoted from the same place, neither knowing of the other: both call it timeline 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_of_the_upstreams_timeline_is_not_taken_for_it() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let c = bench.standby("c", &a).await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;
    for twin in [&b, &c] {
        twin.promote().await.unwrap();
        until("it is primary", || async { matches!(twin.in_recovery().await, Ok(false)) }).await;
        sql(twin, "insert into t values (1)").await;
        twin.checkpoint().await.unwrap();
    }
    b.stop(Mode::Fast, PATIENCE).await.unwrap();
    match b.rewind_from(&at(&c)).await.unwrap() {
        Rewind::Failed { reason } => assert!(reason.contains("timeline 2"), "{reason}"),
        other => panic!("expected to be told apart, got {other:?}"),
    }
    // One that really shares the timeline is not.
    let d = bench.standby("d", &c).await;
    d.stop(Mode::Fast, PATIENCE).await.unwrap();
    assert_eq!(d.rewind_from(&at(&c)).await.unwrap(), Rewind::NotNeeded);
}

/// Its receiver works all the time, on what the new primary has of the old timeline.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_went_too_far_never_counts_as_on_the_new_timeline() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let c = bench.standby("c", &a).await;
    b.detach().await.unwrap();
    until("only c streams", || async { a.observe().await.standbys.len() == 1 }).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&c, 1).await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;
    b.promote().await.unwrap();
    until("it is primary", || async { matches!(b.in_recovery().await, Ok(false)) }).await;
    c.follow(&at(&b)).await.unwrap();
    let turning = std::cell::Cell::new(0);
    until("it has tried to turn many times", || async {
        let seen = c.observe().await;
        let status = seen.streaming_from.map(|from| from.status);
        // Connected, it counts as streaming until it has learnt of the new timeline; it is never on that one.
        assert!(status.as_deref() != Some("streaming") || seen.timeline == Some(1), "{:?}", seen.timeline);
        turning.set(turning.get() + usize::from(status.as_deref() == Some("turning")));
        turning.get() >= 10
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_old_primary_needs_no_rewind() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    a.stop(Mode::Fast, PATIENCE).await.unwrap();
    b.promote().await.unwrap();
    until("it is primary", || async { matches!(b.in_recovery().await, Ok(false)) }).await;
    sql(&b, "insert into t values (2)").await;
    assert_eq!(a.rewind_from(&at(&b)).await.unwrap(), Rewind::NotNeeded);
    a.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rewound_is_cloned_and_the_old_directory_kept() {
    let bench = Bench::new();
    let b = bench.primary("b").await;
    let stranger = bench.primary("a").await;
    let old = stranger.observe().await.system_id.unwrap();
    assert_eq!(b.ask(&at(&stranger)).await.unwrap().system_id, old);
    assert!(matches!(stranger.clone_from(&at(&b), &mut |_| ()).await, Err(PostgresError::Running { .. })));
    stranger.stop(Mode::Fast, PATIENCE).await.unwrap();
    match stranger.rewind_from(&at(&b)).await.unwrap() {
        Rewind::Failed { reason } => assert!(reason.contains("system identifier"), "{reason}"),
        other => panic!("expected a failure, got {other:?}"),
    }
    assert_eq!(cluster(&stranger).await.system_id, old);

    let kept = stranger.clone_from(&at(&b), &mut |_| ()).await.unwrap().replaced.unwrap();
    assert_ne!(cluster(&stranger).await.system_id, old);
    assert_eq!(stranger.replaced().unwrap(), std::slice::from_ref(&kept));
    let mut there = stranger.settings().clone();
    there.data_dir = kept;
    assert_eq!(cluster(&Server::new(there).unwrap()).await.system_id, old);
    stranger.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&stranger, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_fails_midway_leaves_the_old_directory_untouched() {
    let bench = Bench::new();
    let b = bench.primary("b").await;
    sql(&b, "insert into t select generate_series(1, 2000000)").await;
    let a = bench.server("a");
    a.initialise().await.unwrap();
    let before = cluster(&a).await;
    let pid = b.observe().await.pid.unwrap();
    let killed = async {
        until("files come", || async { bench.path("a.unfinished/base").exists() }).await;
        kill_now(pid);
        // The sender outlives its postmaster for as long as it does not look: end it too.
        processes_below(&b.settings().data_dir).into_iter().for_each(kill_now_if_there);
    };
    let (upstream, mut unheard) = (at(&b), |_: &str| ());
    let (failed, ()) = tokio::join!(a.clone_from(&upstream, &mut unheard), killed);
    assert!(matches!(failed, Err(PostgresError::Tool { .. })), "{failed:?}");
    assert_eq!(cluster(&a).await, before);
    assert_eq!(a.replaced().unwrap(), Vec::<std::path::PathBuf>::new());
    assert!(!bench.path("a.unfinished").exists());
    a.start(&Role::Primary).await.unwrap();
}

fn kill_now_if_there(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_fails_leaves_a_directory_that_nothing_starts() {
    let bench = Bench::new();
    let (a, b) = diverged(&bench).await;
    b.checkpoint().await.unwrap();
    // What the rewind has to read is gone: the log since the last checkpoint that both have.
    let pg_wal = a.settings().data_dir.join("pg_wal");
    for segment in std::fs::read_dir(&pg_wal).unwrap().flatten() {
        if segment.file_type().unwrap().is_file() {
            std::fs::remove_file(segment.path()).unwrap();
        }
    }
    assert!(matches!(a.rewind_from(&at(&b)).await.unwrap(), Rewind::Failed { .. }));
    assert!(matches!(a.directory().await.unwrap(), Directory::Foreign { .. }));
    let error = a.start(&Role::Primary).await.unwrap_err().to_string();
    assert!(error.contains("has to be cloned"), "{error}");
    a.clone_from(&at(&b), &mut |_| ()).await.unwrap();
    a.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&a, &b).await;
}
