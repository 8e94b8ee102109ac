//! A server alone: made, started, killed, adopted, stopped.

use std::time::{Duration, Instant};

use regent_client::postgres::*;

use super::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_starts_as_a_primary_and_says_what_it_is() {
    let bench = Bench::new();
    let server = bench.server("a");
    assert_eq!(server.directory().await.unwrap(), Directory::Missing);
    assert_eq!(server.observe().await, Observation::default());

    server.initialise().await.unwrap();
    let found = cluster(&server).await;
    assert!(found.checksums && found.rewindable && !found.standby_signal && found.is_clean());
    assert_eq!((found.timeline, found.version), (1, server.version()));

    let pid = server.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { server.observe().await.accepting }).await;
    let seen = server.observe().await;
    assert_eq!(seen.trouble, None);
    assert_eq!((seen.pid, seen.in_recovery, seen.timeline), (Some(pid), Some(false), Some(1)));
    assert_eq!(seen.system_id, Some(found.system_id));
    assert_eq!((seen.streaming_from, seen.standbys, seen.gate_armed), (None, vec![], false));
    assert!(seen.flushed > Some(Lsn(0)) && seen.pending_restart.is_empty());

    assert_eq!(server.stop(Mode::Fast, PATIENCE).await.unwrap(), Stopped::By(Mode::Fast));
    assert_eq!(server.stop(Mode::Fast, PATIENCE).await.unwrap(), Stopped::WasNotRunning);
    assert_eq!(cluster(&server).await.state, ControlState::ShutDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postmaster_is_noticed_at_once_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let busy = connect(&server).await;
    // A backend that would not look up from its work for a long time.
    let work =
        tokio::spawn(async move { busy.batch_execute("select count(*) from generate_series(1, 1e9)").await });
    until("it works", || async {
        let active = "select 1 from pg_stat_activity where query like '%1e9)' and state = 'active'";
        !connect(&server).await.query(active, &[]).await.unwrap().is_empty()
    })
    .await;
    let pid = server.observe().await.pid.unwrap();

    let killed = Instant::now();
    kill_now(pid);
    let exit = server.wait_exit().await;
    let noticed = killed.elapsed();
    assert!(!exit.asked);
    eprintln!("death noticed after {noticed:?}");
    assert_eq!(exit.pid, pid);
    assert!(exit.status.is_some_and(|status| !status.success()));
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    assert_eq!(server.observe().await, Observation::default());

    // Starting over what was left behind works at once.
    server.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { server.observe().await.accepting }).await;
    assert!(work.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_backend_ends_the_server_instead_of_restarting_it_silently() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let victim = connect(&server).await;
    let pid: i32 = victim.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    kill_now(pid);
    let exit = tokio::time::timeout(PATIENCE, server.wait_exit()).await.unwrap();
    assert!(!exit.status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_adopts_without_touching() {
    let bench = Bench::new();
    let settings = bench.settings("a");
    let before = Server::new(settings.clone()).unwrap();
    before.initialise().await.unwrap();
    let pid = before.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { before.observe().await.accepting }).await;
    let started = started_at(&before).await;
    drop(before);

    let after = Server::new(settings).unwrap();
    assert_eq!(after.observe().await.pid, None);
    assert_eq!(after.adopt().await.unwrap(), Adopted::Running { pid });
    assert_eq!(after.observe().await.pid, Some(pid));
    assert_eq!(started_at(&after).await, started);
    assert!(
        matches!(after.start(&Role::Primary).await, Err(PostgresError::Running { pid: p, .. }) if p == pid)
    );

    kill_now(pid);
    assert_eq!(tokio::time::timeout(PATIENCE, after.wait_exit()).await.unwrap().pid, pid);
    assert!(matches!(after.adopt().await.unwrap(), Adopted::NotRunning { .. }));
}

async fn started_at(server: &Server) -> String {
    let row = connect(server).await.query_one("select pg_postmaster_start_time()::text", &[]).await.unwrap();
    row.get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_pid_file_whose_number_was_reused_is_not_mistaken_for_a_server() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let pid = server.observe().await.pid.unwrap();
    let lock_file = server.settings().data_dir.join("postmaster.pid");
    kill_now(pid);
    server.wait_exit().await;

    // Another process of the same user now has the number: Postgres by itself would refuse to start.
    let mut command = std::process::Command::new("sleep");
    command.arg("600");
    if let Some(RunAs { uid, gid }) = ordinary_user() {
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, gid);
    }
    let mut other = command.spawn().unwrap();
    let text = std::fs::read_to_string(&lock_file).unwrap();
    std::fs::write(&lock_file, text.replacen(&pid.to_string(), &other.id().to_string(), 1)).unwrap();

    assert!(matches!(server.adopt().await.unwrap(), Adopted::NotRunning { .. }));
    let started = server.start(&Role::Primary).await;
    let spared = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    started.unwrap();
    assert!(spared, "the process that only has the number was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_gets_harder_until_it_helps() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let pid = server.observe().await.pid.unwrap();
    // A stopped process takes no signal but SIGKILL.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let stopped = server.stop(Mode::Fast, Duration::from_millis(100)).await.unwrap();
    assert_eq!(stopped, Stopped::By(Mode::Killed));
    // A process that is ending has no program any more, which is what counts, but its directory for a moment longer.
    until("none is left", || async { processes_below(&server.settings().data_dir).is_empty() }).await;

    server.start(&Role::Primary).await.unwrap();
    let asked = Instant::now();
    assert_eq!(server.stop(Mode::Immediate, PATIENCE).await.unwrap(), Stopped::By(Mode::Immediate));
    eprintln!("immediate stop took {:?}", asked.elapsed());
    let exit = server.wait_exit().await;
    assert!(exit.asked && exit.status.is_some(), "{exit:?}");
    let again = tokio::time::timeout(Duration::from_millis(50), server.wait_exit()).await;
    assert!(again.is_err(), "one end was reported twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn synchronous_names_are_soon_in_force_and_what_beats_them_is_said() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    let names = Synchronous::First { count: 1, names: vec!["b".into(), "c".into()] };
    server.set_synchronous_names(&names).await.unwrap();
    // A commit learns from the checkpointer that it has to wait, which reads the file when it gets to it.
    let rows = std::cell::Cell::new(0);
    until("a commit waits for a standby that is not there", || async {
        rows.set(rows.get() + 1);
        let client = connect(&server).await;
        let commit = client.batch_execute("insert into t values (1)");
        tokio::time::timeout(Duration::from_millis(200), commit).await.is_err()
    })
    .await;
    server.set_synchronous_names(&Synchronous::Off).await.unwrap();
    shows_rows(&server, rows.get()).await;

    // What beats the file is said, with its place.
    sql(&server, "alter system set synchronous_standby_names = 'z'").await;
    let error = server.set_synchronous_names(&names).await.unwrap_err().to_string();
    assert!(error.contains("postgresql.auto.conf") && error.contains("\"z\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_is_armed_whatever_alter_system_says() {
    let bench = Bench::new();
    let mut settings = bench.settings("a");
    // Any library that can be preloaded shows what is tested here: that it is, and with which lease file. This one every server has.
    settings.gate = Some(Gate { library: "plpgsql".into(), lease_file: bench.path("lease") });
    let server = Server::new(settings).unwrap();
    server.initialise().await.unwrap();
    server.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { server.observe().await.accepting }).await;
    assert!(server.observe().await.gate_armed);

    sql(&server, "alter system set shared_preload_libraries = ''").await;
    sql(&server, "alter system set regent.lease_file = '/elsewhere'").await;
    sql(&server, "alter system set max_wal_senders = 3").await;
    sql(&server, "select pg_reload_conf()").await;
    until("the change waits", || async { server.observe().await.pending_restart == ["max_wal_senders"] })
        .await;
    server.stop(Mode::Fast, PATIENCE).await.unwrap();
    server.start(&Role::Primary).await.unwrap();
    until("it accepts", || async { server.observe().await.accepting }).await;
    let seen = server.observe().await;
    assert!(seen.gate_armed && seen.pending_restart.is_empty(), "{seen:?}");
}
