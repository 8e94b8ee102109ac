//! What only an old primary had of the log is kept, and a person can read it.

use regent_client::postgres::*;

use super::fixture::*;
use super::rejoin::diverged;

/// Lines of commits that the command of the note prints.
fn commits_listed(kept: &KeptTail) -> usize {
    let note = std::fs::read_to_string(kept.path.join("README")).unwrap();
    let command = note.lines().find(|line| line.contains("--start")).unwrap().trim();
    let output = std::process::Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains("desc: COMMIT")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_old_primary_had_is_kept_and_can_be_read() {
    let bench = Bench::new();
    let (a, b) = diverged(&bench).await;
    let lost = bench.path("lost");
    make_ready(&a);
    let kept = a.keep_tail(&at(&b), &lost, 2).await.unwrap().expect("a row that b never got");
    assert_eq!((kept.timeline, kept.commits), (1, 1));
    assert!(kept.from < kept.to && kept.path.starts_with(&lost), "{kept:?}");
    assert_eq!(a.keep_tail(&at(&b), &lost, 2).await.unwrap().as_ref(), Some(&kept));

    b.checkpoint().await.unwrap();
    match a.rewind_from(&at(&b)).await.unwrap() {
        Rewind::Rewound { diverged_at, .. } => assert_eq!(diverged_at, kept.from),
        other => panic!("expected to be rewound, got {other:?}"),
    }
    a.start(&Role::Standby { upstream: Some(at(&b)) }).await.unwrap();
    streams_from(&a, &b).await;
    assert_eq!(commits_listed(&kept), 1);
    // Now it has nothing of its own.
    a.stop(Mode::Fast, PATIENCE).await.unwrap();
    assert_eq!(a.keep_tail(&at(&b), &lost, 3).await.unwrap(), None);
}

/// As Postgres does ahead of its log: segments of zeros.
fn make_ready(server: &Server) {
    for number in 0xE0..0xF0 {
        let segment = server.settings().data_dir.join(format!("pg_wal/0000000100000000000000{number:02X}"));
        let file = std::fs::File::create(&segment).unwrap();
        file.set_len(16 << 20).unwrap();
        if let Some(owner) = ordinary_user() {
            std::os::unix::fs::chown(&segment, Some(owner.uid), Some(owner.gid)).unwrap();
        }
    }
}

/// Both were promoted from the same place, neither knowing of the other: both call it timeline 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_of_the_upstreams_timeline_is_kept_whole() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let b = bench.standby("b", &a).await;
    let c = bench.standby("c", &a).await;
    kill_now(a.observe().await.pid.unwrap());
    a.wait_exit().await;
    for twin in [&b, &c] {
        twin.promote().await.unwrap();
        until("it is primary", || async { matches!(twin.in_recovery().await, Ok(false)) }).await;
    }
    sql(&b, "insert into t values (1)").await;
    sql(&b, "insert into t values (2)").await;
    b.stop(Mode::Immediate, PATIENCE).await.unwrap();
    let kept = b.keep_tail(&at(&c), &bench.path("lost"), 3).await.unwrap().expect("two rows");
    assert_eq!((kept.timeline, kept.commits), (2, 2));
    assert_eq!(commits_listed(&kept), 2);
}
