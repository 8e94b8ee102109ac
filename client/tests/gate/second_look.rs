//! The second look, after the commit record: nothing that came too late is acknowledged.

use super::*;

/// From here on commits wait for a standby that does not exist, between their record and their acknowledgement.
async fn require_a_standby(server: &Server, watcher: &Client) {
    server.set("synchronous_standby_names = 'nobody'");
    // It is in force when the checkpointer has seen it, which only a commit that waits can tell.
    eventually("a commit waits for a standby", async || {
        let probe = server.connect().await;
        let backend = pid(&probe).await;
        let commit = spawn(probe, "SELECT pg_logical_emit_message(true, 'probe', '')");
        eventually("the probe has ended or waits", async || {
            commit.is_finished() || waits_for_a_standby(watcher, backend).await
        })
        .await;
        let waits = !commit.is_finished();
        number(watcher, &format!("SELECT pg_cancel_backend({backend})::int::bigint")).await;
        let _ = commit.await;
        waits
    })
    .await;
}

/// Brings `statements` to where their record is flushed, under a lease, and the client has not heard.
pub(super) async fn durable_but_not_acknowledged(
    server: &Server,
    watcher: &Client,
    statements: &str,
) -> (i32, JoinHandle<Result<(), Error>>) {
    server.lease().open_until(2, until(LONG));
    require_a_standby(server, watcher).await;
    let client = server.connect().await;
    let backend = pid(&client).await;
    let commit = spawn(client, statements);
    eventually("the record is flushed", async || waits_for_a_standby(watcher, backend).await).await;
    (backend, commit)
}

/// Stops a backend between its two looks, lets the lease end by itself, and wakes the backend up again.
async fn stopped_between_the_looks(server: &Server, statements: &str) -> Result<(), Error> {
    let watcher = server.connect().await;
    let (backend, commit) = durable_but_not_acknowledged(server, &watcher, statements).await;
    let backend = Pid::from_raw(backend);
    kill(backend, Signal::SIGSTOP).unwrap();
    let end = until(Duration::from_millis(20));
    server.lease().open_until(2, end);
    server.set("synchronous_standby_names = ''");
    eventually("the lease is over", async || boottime_ns() > end).await;
    kill(backend, Signal::SIGCONT).unwrap();
    tokio::time::timeout(PATIENCE, commit).await.expect("the session ends, or it is acknowledged").unwrap()
}

pub(super) const BETWEEN: [(&str, &str); 4] = [
    ("an autocommit", INSERT),
    (
        "a block, and more after it",
        "BEGIN; INSERT INTO t VALUES (1); COMMIT; SELECT generate_series(1, 10000)",
    ),
    ("a prepare", "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'x'"),
    ("a commit prepared", "COMMIT PREPARED 'x'"),
];

#[tokio::test]
async fn a_backend_stopped_between_the_looks_never_acknowledges_late() {
    let server = Server::start().await;
    let bystander = server.connect().await;
    for (n, (what, statements)) in (1..).zip(BETWEEN) {
        assert_silent(stopped_between_the_looks(&server, statements).await, what);
        assert_eq!(counters(&bystander).await, counted(n, 0, n), "{what}");
    }
    // All of it is durable and visible, its locks are free, and nobody else was disturbed.
    assert_eq!(rows(&bystander).await, 3);
    assert_eq!(number(&bystander, "SELECT count(*) FROM pg_prepared_xacts").await, 0);
    server.lease().open_until(3, until(LONG));
    sql(&bystander, "TRUNCATE t").await.unwrap();
    assert_eq!(counters(&bystander).await, counted(4, 0, 4));
    let log = server.log();
    assert!(!log.contains("PANIC") && !log.contains("terminating any other"), "{log}");
    assert_eq!(log.matches("came without a lease to acknowledge it").count(), 4);
}

#[tokio::test]
async fn a_gate_that_looks_once_is_caught_by_the_test_above() {
    let server = Server::start_with(Build::OneCheck, "").await;
    for (what, statements) in BETWEEN {
        let result = stopped_between_the_looks(&server, statements).await;
        assert!(result.is_ok(), "{what}: the mutant should have acknowledged late: {result:?}");
    }
}

#[tokio::test]
async fn a_severed_session_sends_nothing_that_was_buffered() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let (client, watcher) = (server.connect().await, server.connect().await);
    server.lease().open_until(2, until(LONG));
    let statement = client.prepare("INSERT INTO t VALUES (1) RETURNING v").await.unwrap();
    require_a_standby(&server, &watcher).await;
    let backend = pid(&client).await;
    // In the extended protocol the row and CommandComplete are in the buffer before the commit begins.
    let query = tokio::spawn(async move { client.query(&statement, &[]).await.map(|rows| rows.len()) });
    eventually("the record is flushed", async || waits_for_a_standby(&watcher, backend).await).await;
    server.lease().close();
    server.set("synchronous_standby_names = ''");
    assert_silent(query.await.unwrap().map(drop), "an extended query");
    assert_eq!(rows(&watcher).await, 1);
}

#[tokio::test]
async fn a_procedure_is_severed_at_its_commit_and_goes_no_further() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let watcher = server.connect().await;
    server.lease().open_until(2, until(LONG));
    let body = "BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); COMMIT; END";
    sql(&watcher, &format!("CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ {body} $$")).await.unwrap();
    let (_, commit) = durable_but_not_acknowledged(&server, &watcher, "CALL p()").await;
    server.lease().close();
    server.set("synchronous_standby_names = ''");
    assert_silent(commit.await.unwrap(), "a procedure");
    assert_eq!(rows(&watcher).await, 1);
    assert_eq!(counters(&watcher).await, counted(1, 0, 1));
}

/// As above, and the gate is closed: the backend waits in the second look.
async fn waiting_in_the_second_look(
    server: &Server,
    watcher: &Client,
) -> (i32, JoinHandle<Result<(), Error>>) {
    let (backend, commit) = durable_but_not_acknowledged(server, watcher, INSERT).await;
    server.lease().close();
    server.set("synchronous_standby_names = ''");
    until_waits(watcher, 1).await;
    (backend, commit)
}

#[tokio::test]
async fn a_lease_that_comes_back_acknowledges_what_is_durable() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 600s").await;
    let watcher = server.connect().await;
    let (backend, commit) = waiting_in_the_second_look(&server, &watcher).await;
    // A cancel cannot undo it, and must not look as if it had.
    number(&watcher, &format!("SELECT pg_cancel_backend({backend})::int::bigint")).await;
    server.lease().open_until(3, until(LONG));
    commit.await.unwrap().unwrap();
    assert_eq!(counters(&watcher).await, counted(1, 0, 0));
}

#[tokio::test]
async fn a_termination_in_the_second_look_is_silent_and_prompt() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 600s").await;
    let watcher = server.connect().await;
    let (backend, commit) = waiting_in_the_second_look(&server, &watcher).await;
    number(&watcher, &format!("SELECT pg_terminate_backend({backend})::int::bigint")).await;
    let result = tokio::time::timeout(PATIENCE, commit).await.expect("prompt").unwrap();
    assert_silent(result, "a terminated session");
    assert_eq!(rows(&watcher).await, 1);
    assert_eq!(counters(&watcher).await, counted(1, 0, 1));
    assert!(!server.log().contains("PANIC"));
}

#[tokio::test]
async fn a_notify_gets_its_xid_late_and_is_caught_by_the_second_look() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let (client, watcher) = (server.connect().await, server.connect().await);
    assert_silent(sql(&client, "NOTIFY something").await, "a notify");
    assert_eq!(counters(&watcher).await, counted(1, 0, 1));
}
