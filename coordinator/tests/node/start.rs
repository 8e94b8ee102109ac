//! Starting, and being refused: one line, exit code 2.

use super::support::{Cluster, config_text, eventually, free_address};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn regentd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regentd"));
    command.args(args).env_remove("RUST_LOG").output().unwrap()
}

/// Starts it, and expects one line that has all of `parts`, with exit code 2.
fn refused(config: &Path, more: &[&str], parts: &[&str]) {
    let mut args = vec!["--config", config.to_str().unwrap()];
    args.extend(more);
    let output = regentd(&args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{said}: expected {parts:?}");
}

struct File(tempfile::TempDir, String);

impl File {
    fn new() -> File {
        let dir = tempfile::tempdir().unwrap();
        let addresses: Vec<String> = (0..3).map(|_| free_address()).collect();
        let text = config_text(1, dir.path(), &addresses, 50);
        File(dir, text)
    }

    fn with(&self, from: &str, to: &str) -> std::path::PathBuf {
        assert!(self.1.contains(from), "{from:?} is not in {}", self.1);
        let path = self.0.path().join("node.toml");
        std::fs::write(&path, self.1.replacen(from, to, 1)).unwrap();
        path
    }
}

#[test]
fn a_wrong_configuration_is_refused_in_one_line() {
    let file = File::new();
    let cases: &[(&str, &str, &[&str])] = &[
        ("node = 1\n", "node = 9\n", &["node 9 is not in the list [1, 2, 3]"]),
        ("id = 2", "id = 1", &["two nodes with id 1"]),
        ("cluster = \"test\"", "cluster = \"Te st\"", &["cluster", "\"Te st\""]),
        ("region = \"r1\"", "region = \"R 1\"", &["node.toml:3", "region", "\"R 1\""]),
        ("node = 1\n", "node = 1\ncolour = 2\n", &["node.toml:3", "colour"]),
        ("node = 1\n", "node = = 1\n", &["node.toml:2"]),
        ("node = 1\n", "", &["missing field `node`"]),
        ("max_round_trip_ms = 50", "max_round_trip_ms = 0", &["max_round_trip_ms"]),
        ("id = 2", "id = 0", &["peers.id"]),
    ];
    for (from, to, parts) in cases {
        let path = file.with(from, to);
        refused(&path, &[], parts);
        refused(&path, &["--check"], parts);
    }
    refused(Path::new("/nonexistent.toml"), &[], &["/nonexistent.toml", "--config FILE"]);
}

#[test]
fn a_right_configuration_passes_the_check_and_nothing_is_started() {
    let file = File::new();
    let path = file.with("node = 1", "node = 1");
    let output = regentd(&["--config", path.to_str().unwrap(), "--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("valid: node 1 of cluster test in r1"));
    assert!(!file.0.path().join("data1").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let file = File::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let path = file.with("node = 1", "node = 1");
    refused(&path, &["--listen", &address], &[&address, "in use"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_is_refused_and_a_stop_is_graceful() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    assert_eq!(cluster.node(leader).terminate().code(), Some(0));
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let config = |id: u64| cluster.dir.path().join(format!("node{id}.toml"));
    let used = cluster.dir.path().join(format!("data{leader}"));
    let free = free_address();
    let elsewhere = ["--data-dir", used.to_str().unwrap(), "--listen", &free];
    refused(&config(next), &elsewhere, &[&format!("node {leader} of cluster")]);
    refused(&config(leader), &["--cluster", "other"], &["other", "test"]);
    let running = cluster.dir.path().join(format!("data{next}"));
    let locked = ["--data-dir", running.to_str().unwrap(), "--listen", &free];
    refused(&config(next), &locked, &["another process is using"]);
    // And the one that was stopped comes back.
    cluster.node(leader).start();
    cluster.leader().await;
    let back = &cluster.nodes[leader as usize - 1];
    eventually("the node that was stopped", || async { back.status().await.ok()?.leader }).await;
}
