//! Whose confirmation the second look asks for: standbys, by their names and how many.

use super::second_look::{BETWEEN, durable_but_not_acknowledged};
use super::*;

/// Postgres takes a wait for its standbys that is cancelled for an acknowledgement, with a warning. The gate does not.
#[tokio::test]
async fn a_cancelled_wait_for_standbys_is_not_acknowledged() {
    let server = Server::start().await;
    let watcher = server.connect().await;
    let cancelled = async |places: u64, statements: &str| {
        server.lease().set_confirm(Words([places, 0]));
        let (backend, commit) = durable_but_not_acknowledged(&server, &watcher, statements).await;
        number(&watcher, &format!("SELECT pg_cancel_backend({backend})::int::bigint")).await;
        tokio::time::timeout(PATIENCE, commit)
            .await
            .expect("the session ends, or it is acknowledged")
            .unwrap()
    };
    for (what, statements) in BETWEEN {
        assert_silent(cancelled(1, statements).await, what);
    }
    assert_eq!(rows(&watcher).await, 3);
    // Where the agent names nobody, Postgres's own answer stands.
    assert!(cancelled(0, INSERT).await.is_ok());
    // A session that asks for less than a flush at its standbys has waived it.
    server.lease().set_confirm(Words([1, 0]));
    let client = server.connect_with("-c synchronous_commit=local").await;
    sql(&client, INSERT).await.unwrap();
    assert!(server.log().contains("Not every standby has confirmed it that has to"), "{}", server.log());
}

/// A standby that only keeps the log: it flushes what it receives, and says so. Gone when dropped.
struct Receiver {
    child: Child,
    _dir: TempDir,
}

impl Receiver {
    fn start(server: &Server, name: &str) -> Receiver {
        let dir = server_dir(&std::env::temp_dir());
        let from = format!("host={} user=postgres application_name={name}", server.dir.path().display());
        let mut receiver = as_server_user(pg_bin("pg_receivewal"));
        receiver.arg("-D").arg(dir.path()).args(["--synchronous", "-d", &from]).stdin(Stdio::null());
        ends_with_its_test(&mut receiver, Signal::SIGQUIT);
        Receiver { child: receiver.spawn().unwrap(), _dir: dir }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whatever Postgres's own list says, and whoever stands where in it: here it says nothing.
#[tokio::test]
async fn the_gate_knows_standbys_by_name_and_counts_them() {
    let server = Server::start().await;
    let watcher = server.connect().await;
    let lease = server.lease();
    let places = ["b", "c", "d"].map(|name| InstanceName::new(name).unwrap());
    lease.name_places(&places);
    lease.open_until(2, until(LONG));
    let any = |count: u64, places: u64| count << 56 | places;
    let mut receivers = Vec::new();
    // Who streams, what is asked, and whether that is enough.
    for (name, cases) in [
        (None, &[([0, 0], true), ([any(1, 0b111), 0], false), ([NOBODY, 0], false)][..]),
        (Some("x"), &[([0b001, 0], false), ([any(1, 0b111), 0], false)][..]),
        (
            Some("c"),
            &[
                ([any(1, 0b111), 0], true),
                ([any(2, 0b111), 0], false),
                ([any(1, 0b101), 0], false),
                ([0b010, 0], true),
                ([0b011, 0], false),
                ([any(1, 0b111), any(1, 0b101)], false),
                ([any(1, 0b101), any(1, 0b111)], false),
                ([0, any(1, 0b101)], false),
                ([any(1, 0b010), any(1, 0b110)], true),
            ][..],
        ),
        (
            Some("d"),
            &[
                ([any(2, 0b111), 0], true),
                ([any(3, 0b111), 0], false),
                ([0b110, any(1, 0b101)], true),
                ([0b110 | NOBODY, 0], false),
            ][..],
        ),
    ] {
        receivers.extend(name.map(|name| Receiver::start(&server, name)));
        let there = receivers.len() as i64;
        eventually("they stream", async || {
            let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            number(&watcher, streams).await == there
        })
        .await;
        for (words, enough) in cases {
            lease.set_confirm(Words(*words));
            assert_eq!(lease.read().confirm, Words(*words));
            let result = sql(&server.connect().await, INSERT).await;
            assert_eq!(result.is_ok(), *enough, "{name:?}, asked {words:x?}: {result:?}");
        }
    }
}
