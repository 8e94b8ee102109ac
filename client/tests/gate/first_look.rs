//! The first look, before the commit record: what passes, waits, is refused, and what can interrupt the wait.

use super::*;

#[tokio::test]
async fn a_commit_within_a_lease_passes() {
    let server = Server::start().await;
    let client = server.connect().await;
    server.lease().open_until(3, until(LONG));
    sql(&client, INSERT).await.unwrap();
    client.execute("INSERT INTO t VALUES ($1)", &[&2]).await.unwrap();
    assert_eq!(rows(&client).await, 2);
    let row = client.query_one("SELECT epoch, open, remaining_ms FROM regent_gate()", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (3, true));
    assert!((500_000..=600_000).contains(&row.get::<_, i64>(2)));
    assert_eq!(counters(&client).await, counted(0, 0, 0));
}

#[tokio::test]
async fn a_commit_past_the_deadline_waits_and_is_refused() {
    let server = Server::start().await;
    let client = server.connect().await;
    // Passed, not closed: nobody does anything for the gate to close.
    server.lease().open_until(3, boottime_ns());
    let began = Instant::now();
    assert_refused(sql(&client, INSERT).await, "simple protocol");
    assert!(began.elapsed() >= COMMIT_WAIT);
    assert_refused(client.execute(INSERT, &[]).await, "extended protocol");
    assert_eq!(rows(&client).await, 0);
    assert_eq!(counters(&client).await, counted(2, 2, 0));
    assert!(server.log().contains("The lease of epoch 3 ended"));
    // The session is as good as before.
    server.lease().open_until(4, until(LONG));
    sql(&client, INSERT).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_comes_back_in_time_lets_the_commit_through() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 600s").await;
    let (client, watcher) = (server.connect().await, server.connect().await);
    let commit = spawn(client, INSERT);
    until_waits(&watcher, 1).await;
    assert_eq!(rows(&watcher).await, 0);
    server.lease().open_until(9, until(LONG));
    commit.await.unwrap().unwrap();
    assert_eq!(rows(&watcher).await, 1);
    assert_eq!(counters(&watcher).await, counted(1, 0, 0));
}

#[tokio::test]
async fn every_kind_of_write_is_gated() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let client = server.connect().await;
    let lease = server.lease();
    lease.open_until(1, until(LONG));
    sql(
        &client,
        "INSERT INTO t VALUES (0); CREATE SEQUENCE s; CREATE TEMP TABLE tmp (v int);
         CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (5); COMMIT; END $$;",
    )
    .await
    .unwrap();
    lease.close();

    for write in [
        INSERT,
        "BEGIN; INSERT INTO t VALUES (1); COMMIT",
        "BEGIN; INSERT INTO t VALUES (1); COMMIT AND CHAIN",
        "INSERT INTO t VALUES (1); SELECT 1; INSERT INTO t VALUES (2)",
        "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (1); RELEASE a; COMMIT",
        "SET synchronous_commit = off; INSERT INTO t VALUES (1)",
        "UPDATE t SET v = 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "CREATE TABLE created (v int)",
        "DROP TABLE t",
        "CREATE TABLE copied AS SELECT * FROM t",
        "ALTER TABLE t ADD COLUMN w int",
        "CREATE INDEX CONCURRENTLY i ON t (v)",
        "GRANT SELECT ON t TO public",
        "CREATE ROLE somebody",
        "CREATE DATABASE another",
        "CALL p()",
        "DO $$ BEGIN INSERT INTO t VALUES (1); END $$",
        "WITH w AS (INSERT INTO t VALUES (1) RETURNING v) SELECT * FROM w",
        "SELECT nextval('s')",
        "SELECT setval('s', 100)",
        "SELECT * FROM t FOR UPDATE",
        "SELECT lo_create(0)",
        "SELECT txid_current()",
        "INSERT INTO tmp VALUES (1)",
        "ANALYZE t",
    ] {
        assert_refused(sql(&client, write).await, write);
        sql(&client, "ROLLBACK").await.unwrap();
    }
    // In a block of its own: the extended protocol says CommandComplete before it commits, and this driver's COPY takes
    // that for an answer (it misses a deferred constraint's error, too).
    sql(&client, "BEGIN").await.unwrap();
    let mut copy = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
    copy.send(Cursor::new(b"1\n2\n".as_slice())).await.unwrap();
    copy.as_mut().finish().await.unwrap();
    assert_refused(sql(&client, "COMMIT").await, "COPY FROM");

    lease.open_until(1, until(LONG));
    assert_eq!((rows(&client).await, number(&client, "SELECT sum(v) FROM t").await), (1, 0));
    assert_eq!(number(&client, "SELECT count(*) FROM pg_class WHERE relname = 'i'").await, 0);
}

#[tokio::test]
async fn a_procedure_is_stopped_at_the_commit_that_comes_too_late() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let (client, watcher) = (server.connect().await, server.connect().await);
    let lease = server.lease();
    lease.open_until(1, until(LONG));
    sql(
        &client,
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO t VALUES (1); COMMIT; PERFORM pg_advisory_lock(1); INSERT INTO t VALUES (2); COMMIT; END $$",
    )
    .await
    .unwrap();
    sql(&watcher, "SELECT pg_advisory_lock(1)").await.unwrap();
    let call = spawn(client, "CALL p()");
    eventually("the first commit", async || rows(&watcher).await == 1).await;
    lease.close();
    sql(&watcher, "SELECT pg_advisory_unlock(1)").await.unwrap();
    assert_refused(call.await.unwrap(), "the second commit");
    assert_eq!(rows(&watcher).await, 1);
}

#[tokio::test]
async fn two_phase_commit_is_gated_at_both_phases_and_rollback_is_free() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let client = server.connect().await;
    let lease = server.lease();
    let prepared = "SELECT count(*) FROM pg_prepared_xacts";

    assert_refused(sql(&client, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'a'").await, "PREPARE");
    assert_eq!(number(&client, prepared).await, 0);

    lease.open_until(1, until(LONG));
    for id in ["a", "b"] {
        sql(&client, &format!("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{id}'")).await.unwrap();
    }
    lease.close();
    assert_refused(sql(&client, "COMMIT PREPARED 'a'").await, "COMMIT PREPARED");
    assert_eq!(number(&client, prepared).await, 2);
    sql(&client, "ROLLBACK PREPARED 'b'").await.unwrap();
    assert_eq!((number(&client, prepared).await, rows(&client).await), (1, 0));

    lease.open_until(2, until(LONG));
    sql(&client, "COMMIT PREPARED 'a'").await.unwrap();
    assert_eq!((number(&client, prepared).await, rows(&client).await), (0, 1));
}

#[tokio::test]
async fn what_writes_nothing_passes_a_closed_gate() {
    let server = Server::start().await;
    let client = server.connect().await;
    let parallel = format!("{}; SELECT count(*) FROM t", force_parallel(&client).await);
    for free in [
        "SELECT count(*) FROM t",
        "BEGIN; SELECT 1; COMMIT",
        "BEGIN; INSERT INTO t VALUES (1); ROLLBACK",
        "SET work_mem = '8MB'; SHOW work_mem",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; DECLARE c CURSOR FOR SELECT * FROM t; FETCH c; COMMIT",
        "LISTEN something",
        "COPY t TO '/dev/null'",
        "CHECKPOINT",
        &parallel,
    ] {
        sql(&client, free).await.unwrap_or_else(|e| panic!("{free}: {e:?}"));
    }
    assert_eq!(counters(&client).await, counted(0, 0, 0));
}

/// The statement that makes the planner use a parallel worker for everything it can.
pub(super) async fn force_parallel(client: &Client) -> &'static str {
    let version = number(client, "SELECT current_setting('server_version_num')::bigint").await;
    if version >= 160_000 { "SET debug_parallel_query = on" } else { "SET force_parallel_mode = on" }
}

// ---------- being interrupted ----------

#[tokio::test]
async fn a_waiting_commit_can_be_cancelled_and_terminated() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 600s").await;
    let watcher = server.connect().await;
    let ways =
        [("pg_cancel_backend", SqlState::QUERY_CANCELED), ("pg_terminate_backend", SqlState::ADMIN_SHUTDOWN)];
    for (n, (how, code)) in (1..).zip(ways) {
        let client = server.connect().await;
        let backend = pid(&client).await;
        let commit = spawn(client, INSERT);
        until_waits(&watcher, n).await;
        number(&watcher, &format!("SELECT {how}({backend})::int::bigint")).await;
        let error = tokio::time::timeout(PATIENCE, commit).await.expect(how).unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&code), "{error:?}");
    }
    assert_eq!(rows(&watcher).await, 0);
}

#[tokio::test]
async fn a_fast_shutdown_does_not_wait_for_a_lease() {
    let mut server = Server::start_with(Build::Real, "regent.commit_wait = 600s").await;
    let (client, watcher) = (server.connect().await, server.connect().await);
    let commit = spawn(client, INSERT);
    until_waits(&watcher, 1).await;
    server.signal(Signal::SIGINT);
    assert!(commit.await.unwrap().is_err());
    eventually("the server stops", async || server.child.try_wait().unwrap().is_some()).await;
    assert!(server.log().contains("database system is shut down"));
}
