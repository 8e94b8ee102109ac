//! A Postgres that Regent has not made comes under it and goes back, with a real node, real agents and real servers: a primary
//! whose configuration is outside of its data directory, as Debian's is, and a standby of it made by `pg_basebackup -R`.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "adopted/bench.rs"]
mod bench;

use bench::{Bench, EAST, WEST};

#[test]
fn a_primary_and_its_standby_are_adopted_switched_and_released() {
    let mut bench = Bench::new();
    bench.make_primary();
    bench.make_standby();
    let conf_east = bench.conf(EAST);
    let conf_west = bench.conf(WEST);

    // What cannot be fenced, or has no place in a group, is refused with the reason, and nothing is changed.
    refused(&bench, EAST, "regent group create orders --first INSTANCE");
    bench.regent(0, &["group", "create", "orders", "--first", "orders-us-east"]);
    refused(&bench, WEST, "adopt its primary first");
    bench.sql(EAST, "alter system set shared_preload_libraries = 'auto_explain'");
    refused(&bench, EAST, "ALTER SYSTEM RESET shared_preload_libraries");
    bench.sql(EAST, "alter system reset shared_preload_libraries");
    bench.write_agent(EAST, |config| config.replace("regent_gate.so", "no_gate.so"));
    refused(&bench, EAST, "no_gate.so");
    bench.write_agent(EAST, |config| config.replace("port = ", "port = 1 # "));
    refused(&bench, EAST, "postgres.port of the agent is 1");
    bench.write_agent(EAST, |config| config);
    let pid = bench.postmaster(EAST);
    let plan = bench.agent(0, EAST, &["adopt", "--dry-run"]);
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "orders-us-east",
        "standbys west from",
        "auto_explain -> auto_explain,",
        "restart_after_crash on -> off",
        "wal_log_hints off -> on",
        "from its command line into regent.conf: max_connections",
        "role regent_replication is made",
        "slots west stay",
        "nothing was changed",
    ] {
        assert!(plan.contains(words), "{words:?} is not in the plan:\n{plan}");
    }
    assert!(bench.postmaster(EAST) == pid && bench.conf(EAST) == conf_east, "a dry run changed something");

    // The primary: one restart, and it is what it was, with the gate.
    bench.agent(0, EAST, &["adopt"]);
    assert!(
        bench.conf(EAST).starts_with(&conf_east)
            && bench.conf(EAST).lines().count() == conf_east.lines().count() + 1
    );
    let pid = bench.postmaster(EAST);
    assert_eq!(bench.sql(EAST, "select pg_is_in_recovery()"), "t", "nobody has made it primary yet");
    bench.start_agent(EAST);
    bench.until("it can be written to", || bench.try_sql(EAST, "insert into t values (2)").is_ok());
    assert_eq!(bench.postmaster(EAST), pid, "it was restarted a second time");
    let libraries = bench.sql(EAST, "show shared_preload_libraries");
    assert!(libraries.starts_with("auto_explain,") && libraries.ends_with("regent_gate.so"), "{libraries}");
    assert_eq!(bench.sql(EAST, "show max_connections"), "60");

    // The standby: not cloned.
    let made = bench.identity_of_data(WEST);
    bench.agent(0, WEST, &["adopt"]);
    bench.start_agent(WEST);
    bench.until("the standby is the heir", || bench.heir().as_deref() == Some("orders-us-west"));
    assert_eq!(bench.identity_of_data(WEST), made, "it was cloned");
    assert!(!bench.auto(WEST).contains("primary_conninfo"), "{}", bench.auto(WEST));

    // They are a group like any other.
    bench.regent(0, &["switchover", "orders", "--to", "orders-us-west", "--yes"]);
    bench.until("the new primary writes", || bench.try_sql(WEST, "insert into t values (3)").is_ok());
    bench.until("the old one follows", || bench.heir().as_deref() == Some("orders-us-east"));
    bench.until("the row is there", || bench.sql(EAST, "select count(*) from t") == "3");

    // And back. A standby goes on following; a primary that another could replace stays.
    bench.stop_agent(EAST);
    bench.agent(0, EAST, &["release"]);
    assert_eq!(bench.conf(EAST), conf_east);
    bench.until("it follows as its own", || {
        bench.sql(WEST, "select count(*) from pg_stat_replication") == "1"
    });
    bench.until("it serves reads", || bench.try_sql(EAST, "select 1").is_ok());
    assert_eq!(bench.sql(EAST, "show shared_preload_libraries"), "auto_explain");
    assert_eq!(bench.sql(EAST, "show max_connections"), "60");
    bench.stop_agent(WEST);
    let why = bench.agent(6, WEST, &["release"]);
    assert!(why.contains("orders-us-east"), "{why}");
    bench
        .until("the other is known to be gone", || bench.run_agent(WEST, &["release", "--yes"]).0 == Some(0));
    assert_eq!(bench.conf(WEST), conf_west);
    bench.until("it is a primary of its own", || bench.try_sql(WEST, "insert into t values (4)").is_ok());
    bench.until("the row is there", || bench.sql(EAST, "select count(*) from t") == "4");
}

#[test]
fn a_stopped_primary_is_adopted_without_a_start_and_what_does_not_start_is_undone() {
    let mut bench = Bench::new();
    bench.make_primary();
    bench.regent(0, &["group", "create", "orders"]);
    let conf = bench.conf(EAST);

    // What Postgres does not start with is found out by the start, and undone.
    bench.write_agent(EAST, |config| config + "\n[postgres.parameters]\nno_such_parameter = \"1\"\n");
    let why = bench.agent(1, EAST, &["adopt"]);
    assert!(why.contains("no_such_parameter") && why.contains("given back as it was"), "{why}");
    assert_eq!(bench.conf(EAST), conf);
    bench.until("it is as it was", || bench.try_sql(EAST, "insert into t values (2)").is_ok());

    bench.write_agent(EAST, |config| config);
    bench.stop_postgres(EAST);
    let said = bench.agent(0, EAST, &["adopt"]);
    assert!(said.contains("no restart: the agent starts it"), "{said}");
    // Before its agent ever ran, it is given back as the primary that it was.
    bench.agent(0, EAST, &["release"]);
    assert_eq!(bench.conf(EAST), conf);
    bench.agent(0, EAST, &["adopt"]);
    bench.start_agent(EAST);
    bench.until("it can be written to", || bench.try_sql(EAST, "insert into t values (3)").is_ok());
    assert_eq!(bench.sql(EAST, "select count(*) from t"), "3");
    assert_eq!(bench.sql(EAST, "show shared_preload_libraries").split(',').count(), 2);
}

fn refused(bench: &Bench, region: usize, why: &str) {
    let said = bench.agent(6, region, &["adopt"]);
    assert!(said.contains(why), "{why:?} is not in:\n{said}");
}
