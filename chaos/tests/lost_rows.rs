//! The harness itself, against plain Postgres without Regent: a primary that acknowledges rows which its standby
//! never gets. Clients over emulated links must find the promoted standby by themselves, and each lost row must be
//! found in the dead primary's log.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use regent_chaos::cluster::{ending, evidence, processes, run_dir};
use regent_chaos::history::{History, Write};
use regent_chaos::invariants::{accounted_rows, one_writable_primary};
use regent_chaos::wan::relays::{LinkSpec, Relays};
use regent_chaos::workload::{Account, Clients, Table, Workload};
use tokio::runtime::Handle;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_secs(60);

/// A Postgres that is killed when the test is over, however it ends.
struct Server {
    dir: PathBuf,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        ending::end_all(self.dir.parent().unwrap()).unwrap();
    }
}

impl Server {
    fn address(&self) -> SocketAddr {
        (LOCAL, self.port).into()
    }

    fn start(&self, home: &Path) {
        let log = self.dir.with_extension("log").display().to_string();
        let options =
            format!("-p {} -h 127.0.0.1 -k {} -c dynamic_shared_memory_type=mmap", self.port, home.display());
        run(home, "pg_ctl", &["-w", "-D", self.dir.to_str().unwrap(), "-l", &log, "-o", &options, "start"]);
    }
}

fn run(home: &Path, program: &str, args: &[&str]) {
    let mut command = Command::new(run_dir::postgres_bin().unwrap().join(program));
    command.args(args).current_dir(home);
    if let Some(user) = run_dir::user().unwrap() {
        command.uid(user.uid).gid(user.gid);
    }
    // Into a file: a daemon that inherited a pipe would keep it open.
    let log = std::fs::File::create(home.join("tools.log")).unwrap();
    let status = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
    let said = std::fs::read_to_string(home.join("tools.log")).unwrap();
    assert!(status.success(), "{program}: {said}");
}

fn free_port() -> u16 {
    TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port()
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = run_dir::user().unwrap() {
        chown(home.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    home
}

/// The standby streams over a link from a region of its own.
fn primary_and_standby(home: &Path, wan: &Relays) -> [Server; 2] {
    let [a, b] = ["a", "b"].map(|name| Server { dir: home.join(name), port: free_port() });
    run(home, "initdb", &["-D", a.dir.to_str().unwrap(), "-U", "demo", "-A", "trust", "--no-sync"]);
    a.start(home);
    let upstream = format!("host=127.0.0.1 port={} user=demo", link(wan, "standby", "us-east", &a).port());
    run(
        home,
        "pg_basebackup",
        &["-D", b.dir.to_str().unwrap(), "-R", "-c", "fast", "-d", &upstream, "--no-sync"],
    );
    b.start(home);
    [a, b]
}

fn link(wan: &Relays, from: &str, to: &str, server: &Server) -> SocketAddr {
    let round_trip = Duration::from_millis(20);
    let (from, to) = (from.to_string(), to.to_string());
    wan.link(LinkSpec { from, to, listen: LOCAL, target: server.address(), round_trip }).unwrap()
}

async fn written(history: &History, enough: impl Fn(&[Write]) -> bool) {
    let start = Instant::now();
    while !enough(&history.writes()) {
        assert!(start.elapsed() < LONG, "{:?}", history.writes().iter().rev().take(3).collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn acknowledged(writes: &[Write], instance: usize) -> usize {
    writes.iter().filter(|write| write.instance == instance && write.receipt().is_some()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_rows_are_counted_and_found_in_the_old_log() {
    let home = home();
    let path = home.path().canonicalize().unwrap();
    let wan = Relays::start().unwrap();
    let [primary, standby] = primary_and_standby(&path, &wan);
    let account = Account { user: "demo".into(), password: String::new(), database: "postgres".into() };
    run(
        &path,
        "psql",
        &[
            "-h",
            "127.0.0.1",
            "-p",
            &primary.port.to_string(),
            "-U",
            "demo",
            "-d",
            "postgres",
            "-c",
            Table::CREATE,
        ],
    );

    let instances = vec![link(&wan, "us-west", "us-east", &primary), standby.address()];
    let history = History::create(&path.join("history.jsonl")).unwrap();
    let workload = Workload::start(vec![Clients { region: "us-west", instances, runtime: Handle::current() }], &account, &history);
    written(&history, |writes| acknowledged(writes, 0) >= 50).await;

    wan.cut("standby");
    let safe = acknowledged(&history.writes(), 0);
    written(&history, |writes| acknowledged(writes, 0) >= safe + 50).await;
    wan.cut("us-east");
    processes::kill_all_under(&primary.dir).unwrap();
    wan.restore("standby");
    run(&path, "pg_ctl", &["-w", "-D", standby.dir.to_str().unwrap(), "promote"]);
    written(&history, |writes| acknowledged(writes, 1) >= 50).await;
    workload.stop().await;

    let writes = history.writes();
    let fork = evidence::fork(&standby.dir, 2, 1).unwrap();
    let tail = evidence::tail(&run_dir::postgres_bin().unwrap(), &primary.dir, 1, fork).unwrap();
    let rows = Table::rows(standby.address(), &account).await.unwrap();
    let report = accounted_rows::check(&writes, &rows, &[tail], &[].into());
    assert!(report.holds(), "{report:?}");
    assert!(report.lost.len() >= 20, "most of what was written while the standby was cut off: {report:?}");
    assert_eq!(report.present + report.lost.len(), report.acknowledged);
    let unseen = accounted_rows::check(&writes, &rows, &[], &[].into());
    assert_eq!(unseen.unaccounted, report.lost, "without the old log the same rows are missed");
    assert!(one_writable_primary::check(&writes).holds());
}
