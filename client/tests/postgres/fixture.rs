//! Servers for one test: on free ports, in one directory, all gone when the test ends however it ends.

use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use regent_client::postgres::*;

/// What no condition here should need.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One directory, with the servers made in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rg").tempdir().unwrap();
        // Postgres runs as another user when the test runs as root.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Bench { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn settings(&self, name: &str) -> Settings {
        let mut settings = Settings::new(name, self.path(name));
        settings.bin_dir = std::env::var_os("REGENT_PG_BIN").map(PathBuf::from);
        settings.port = free_port();
        settings.replication_password = Some(Secret("it's \\ secret".into()));
        settings.networks = vec!["127.0.0.0/8".into()];
        settings.run_as = ordinary_user();
        // Deadlines here are for a machine that runs many tests at once.
        settings.sql_timeout = Duration::from_secs(10);
        settings.parameters.insert("shared_buffers".into(), "16MB".into());
        settings.parameters.insert("max_connections".into(), "20".into());
        settings
    }

    pub fn server(&self, name: &str) -> Server {
        Server::new(self.settings(name)).unwrap()
    }

    /// A running primary with one table.
    pub async fn primary(&self, name: &str) -> Server {
        let server = self.server(name);
        server.initialise().await.unwrap();
        server.start(&Role::Primary).await.unwrap();
        until("it accepts", || async { server.observe().await.accepting }).await;
        sql(&server, "create table t (x int)").await;
        server
    }

    /// A running standby that streams.
    pub async fn standby(&self, name: &str, upstream: &Server) -> Server {
        let server = self.server(name);
        server.clone_from(&at(upstream), &mut |_| ()).await.unwrap();
        server.start(&Role::Standby { upstream: Some(at(upstream)) }).await.unwrap();
        streams_from(&server, upstream).await;
        server
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Each data directory is below this one, and each process works in its data directory.
        for pid in processes_below(self.dir.path()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !processes_below(self.dir.path()).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

pub fn processes_below(dir: &Path) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let cwd = std::fs::read_link(entry.path().join("cwd")).ok()?;
            cwd.starts_with(dir).then_some(pid)
        })
        .collect()
}

pub fn ordinary_user() -> Option<RunAs> {
    let user = User::from_name(ordinary_user_name()?).unwrap().unwrap();
    Some(RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

pub fn ordinary_user_name() -> Option<&'static str> {
    if !Uid::effective().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"].into_iter().find(|name| User::from_name(name).unwrap().is_some());
    Some(user.expect("as root, these tests need a user postgres or nobody to run servers as"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn at(server: &Server) -> Upstream {
    Upstream { host: "127.0.0.1".into(), port: server.settings().port }
}

/// Polls for a condition; there is no sleep to be too short.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub async fn streams_from(server: &Server, upstream: &Server) {
    until("it streams", || async {
        let from = server.observe().await.streaming_from;
        from.is_some_and(|from| from.status == "streaming" && from.port == upstream.settings().port)
    })
    .await;
}

/// A connection of the test's own, as the superuser over the socket.
pub async fn connect(server: &Server) -> tokio_postgres::Client {
    let settings = server.settings();
    let mut config = tokio_postgres::Config::new();
    config.host_path(&settings.socket_dir).port(settings.port).user(&settings.superuser).dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub async fn sql(server: &Server, statement: &str) {
    connect(server).await.batch_execute(statement).await.unwrap();
}

pub async fn count(server: &Server) -> i64 {
    connect(server).await.query_one("select count(*) from t", &[]).await.unwrap().get(0)
}

/// Waits until the standby shows as many rows.
pub async fn shows_rows(server: &Server, rows: i64) {
    until("the rows are there", || async { count(server).await == rows }).await;
}

pub async fn cluster(server: &Server) -> Cluster {
    match server.directory().await.unwrap() {
        Directory::Cluster(cluster) => cluster,
        other => panic!("expected a cluster, got {other:?}"),
    }
}

pub fn kill_now(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// An executable that prints one line.
pub fn fake_program(path: &Path, prints: &str) {
    std::fs::write(path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
