//! Write probes: what they notice, and what they do not mind.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_client::postgres::*;

use super::fixture::*;

/// Long against a commit. What hangs is not shown to hang for ever.
const A_WHILE: Duration = Duration::from_millis(300);

/// Some of them may be gone: a session ends.
fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        match kill(Pid::from_raw(*pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{signal} to {pid}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_hangs_with_a_stopped_postmaster_and_with_stopped_backends() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let mut line = None;
    assert_eq!(server.probe(&mut line).await.unwrap(), Probed::Committed);
    let flushed = server.observe().await.flushed;
    assert_eq!(server.probe(&mut line).await.unwrap(), Probed::Committed);
    assert!(server.observe().await.flushed > flushed, "nothing was flushed");

    let postmaster = server.observe().await.pid.unwrap();
    let all = || processes_below(&server.settings().data_dir).into_iter();
    for of_postmaster in [true, false] {
        let stopped: Vec<i32> = all().filter(|pid| (*pid == postmaster) == of_postmaster).collect();
        signal(&stopped, Signal::SIGSTOP);
        let mut probe = std::pin::pin!(server.probe(&mut line));
        let early = tokio::time::timeout(A_WHILE, &mut probe).await;
        signal(&stopped, Signal::SIGCONT);
        assert!(early.is_err(), "{stopped:?} were stopped, and it said {early:?}");
        assert_eq!(probe.await.unwrap(), Probed::Committed);
    }
    server.stop(Mode::Immediate, PATIENCE).await.unwrap();
    assert!(server.probe(&mut line).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_does_not_mind_clients_that_took_every_place_nor_one_who_ended_its_session() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    sql(&server, "alter system set default_transaction_read_only = on").await;
    sql(&server, "select pg_reload_conf()").await;
    let mut line = None;
    server.hold_line(&mut line).await;

    let mut guests = Vec::new();
    let settings = server.settings();
    let mut config = tokio_postgres::Config::new();
    config.host_path(&settings.socket_dir).port(settings.port).user(&settings.superuser).dbname("postgres");
    while let Ok((guest, connection)) = config.connect(tokio_postgres::NoTls).await {
        guests.push((guest, tokio::spawn(connection)));
    }
    assert_eq!(server.probe(&mut line).await.unwrap(), Probed::Committed);

    let end_all = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()";
    guests[0].0.batch_execute(end_all).await.unwrap();
    let line = tokio::sync::Mutex::new(line);
    let commits = || async { matches!(server.probe(&mut *line.lock().await).await, Ok(Probed::Committed)) };
    until("it commits again", commits).await;
}
