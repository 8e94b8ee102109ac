//! Copies that are made by a program of the operator's.

use regent_client::postgres::*;
use std::time::Duration;

use super::fixture::*;

/// A line of sh, as the program.
fn by(line: &str) -> CloneCommand {
    let command = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    let environment = vec![("REGENT_GROUP", "orders".to_owned()), ("REGENT_INSTANCE", "b".to_owned())];
    CloneCommand { command, timeout: PATIENCE, environment }
}

/// The same copy that the agent would make, with what such a program leaves behind in the file of `ALTER SYSTEM`.
fn restores() -> String {
    let chosen = std::env::var("REGENT_PG_BIN");
    let bin = chosen.as_deref().unwrap_or("$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)");
    format!(
        "test $REGENT_GROUP.$REGENT_INSTANCE = orders.b || exit 9; echo '10% done'; \
         PGPASSWORD=\"it's \\\\ secret\" {bin}/pg_basebackup -D \"$REGENT_DATA_DIR\" -h $REGENT_UPSTREAM_HOST \
         -p $REGENT_UPSTREAM_PORT -U regent_replication --write-recovery-conf --checkpoint=fast && echo '100% done' && \
         echo \"recovery_target = 'immediate'\" >> \"$REGENT_DATA_DIR/postgresql.auto.conf\""
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_restores_becomes_a_standby_that_can_be_told_whom_to_follow() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let id = cluster(&a).await.system_id;
    let b = bench.server("b");
    b.initialise().await.unwrap();
    let mut said = Vec::new();
    let cloned =
        b.clone_by(&by(&restores()), &at(&a), id, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert!(said.contains(&"10% done".to_owned()) && said.contains(&"100% done".to_owned()), "{said:?}");
    assert_eq!(b.replaced().unwrap(), vec![cloned.replaced.unwrap()]);
    b.start(&Role::Standby { upstream: Some(at(&a)) }).await.unwrap();
    streams_from(&b, &a).await;
    // What the program wrote of an upstream and of an end of recovery does not beat the agent.
    b.detach().await.unwrap();
    b.follow(&at(&a)).await.unwrap();
    streams_from(&b, &a).await;
    sql(&a, "insert into t values (1)").await;
    shows_rows(&b, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_copy_of_the_group_replaces_nothing() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    let id = cluster(&a).await.system_id;
    let b = bench.server("b");
    b.initialise().await.unwrap();
    let before = cluster(&b).await;
    let other = format!("expected system identifier {}, got {id}", id + 1);
    let dir = "\"$REGENT_DATA_DIR\"";
    for (line, wanted, expected) in [
        (
            "echo 1 of 2; echo no such stanza >&2; exit 3".to_owned(),
            id,
            "sh failed (exit status: 3): no such stanza",
        ),
        ("printf 'no newline'; exit 4".to_owned(), id, "sh failed (exit status: 4): no newline"),
        (restores(), id + 1, other.as_str()),
        (
            format!("{}; chmod 755 {dir}", restores()),
            id,
            "expected mode 0700 or 0750 of its directory, got 0755",
        ),
        ("true".to_owned(), id, "expected a cluster in REGENT_DATA_DIR, got nothing"),
        (format!("echo > {dir}/file"), id, "no PG_VERSION among them"),
    ] {
        let error = b.clone_by(&by(&line), &at(&a), wanted, &mut |_| ()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        assert_eq!(cluster(&b).await, before);
        assert_eq!(b.replaced().unwrap(), Vec::<std::path::PathBuf>::new());
        assert!(!bench.path("b.unfinished").exists());
    }
    b.start(&Role::Primary).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
    let bench = Bench::new();
    let b = bench.server("b");
    let line = "sleep 1000 & echo $! > \"$REGENT_DATA_DIR/../pid\"; wait";
    std::fs::set_permissions(bench.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let slow = CloneCommand { timeout: Duration::from_secs(2), ..by(line) };
    let nobody = Upstream { host: "127.0.0.1".into(), port: 1 };
    let error = b.clone_by(&slow, &nobody, 1, &mut |_| ()).await.unwrap_err().to_string();
    assert_eq!(error, "sh did not end within 2 s and was killed");
    let pid = std::fs::read_to_string(bench.path("pid")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    assert!(!bench.path("b.unfinished").exists());
}
