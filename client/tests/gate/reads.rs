//! Reads, where they are gated as well.

use super::first_look::force_parallel;
use super::*;

#[tokio::test]
async fn gated_reads_are_answered_only_under_a_lease() {
    let server = Server::launch(Build::Real, "regent.commit_wait = 20ms\nregent.gate_reads = on");
    let lease = server.lease();
    lease.open_until(1, until(LONG));
    // A superuser's session may be let out: an agent has to ask its Postgres questions without a lease, too.
    let agent = server.connect_with("-c regent.gate_reads=off").await;
    let client = server.connect().await;
    let procedure = "CREATE PROCEDURE out_only(OUT v int) LANGUAGE plpgsql AS $$ BEGIN v := 1; END $$";
    sql(&agent, &format!("CREATE TABLE t (v int); {procedure}")).await.unwrap();
    let parallel = format!("{}; SELECT count(*) FROM t", force_parallel(&agent).await);
    let reads = [
        "SELECT count(*) FROM t",
        "BEGIN; SELECT count(*) FROM t",
        "BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c",
        "PREPARE q AS SELECT 1; EXECUTE q",
        "EXPLAIN ANALYZE SELECT 1",
        "COPY t TO '/dev/null'",
        "COPY (SELECT 1) TO '/dev/null'",
        "CALL out_only(NULL)",
        &parallel,
    ];
    for read in reads {
        sql(&client, read).await.unwrap_or_else(|e| panic!("{read}: {e:?}"));
        sql(&client, "ROLLBACK; DEALLOCATE ALL").await.unwrap();
    }
    lease.close();
    for read in reads {
        assert_refused(sql(&client, read).await, read);
        sql(&client, "ROLLBACK; DEALLOCATE ALL").await.unwrap();
    }
    let rows_only = client.copy_out("COPY (SELECT generate_series(1, 3)) TO STDOUT").await.unwrap();
    assert_refused(rows_only.try_collect::<Vec<_>>().await, "rows may come, CommandComplete does not");
    assert_eq!(rows(&agent).await, 0);
    sql(&client, "SET work_mem = '8MB'; BEGIN; COMMIT").await.unwrap();
}
