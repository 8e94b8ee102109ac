//! The gate, with a real Postgres: what passes, what waits, what is refused, and what is never acknowledged.
//!
//! Here is the world of a test; the tests are in the rooms beside it.
//!
//! Every test has a server of its own (Unix socket only, in a temporary directory) and its own lease file on tmpfs.
//! Needs Postgres and its server headers; as root, the servers run as `postgres`. Which Postgres is chosen as in
//! `deploy/build-gate`: by `PG_CONFIG`, by `REGENT_PG_BIN`, or by the `PATH`.

#![allow(clippy::unwrap_used)] // clippy.toml's leave for tests does not reach their helpers

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::{SinkExt, TryStreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use regent_client::gate::{GateError, LeaseFile, NO_RPO, boottime_ns};
use regent_core::agent::{NOBODY, Words};
use regent_core::ids::InstanceName;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

#[path = "gate/bound.rs"]
mod bound;
#[path = "gate/first_look.rs"]
mod first_look;
#[path = "gate/lease_file.rs"]
mod lease_file;
#[path = "gate/reads.rs"]
mod reads;
#[path = "gate/second_look.rs"]
mod second_look;
#[path = "gate/standbys.rs"]
mod standbys;

/// Long enough that a loaded machine does not make a test fail; nothing waits for it in the good case.
const PATIENCE: Duration = Duration::from_secs(30);
/// A lease that does not end during a test.
const LONG: Duration = Duration::from_secs(600);
const COMMIT_WAIT: Duration = Duration::from_millis(400);

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn pg_bin(name: &str) -> PathBuf {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    let bin = BIN.get_or_init(|| {
        let pg_config = std::env::var_os("PG_CONFIG").map(PathBuf::from).unwrap_or_else(|| {
            let bin = std::env::var_os("REGENT_PG_BIN").map(PathBuf::from).unwrap_or_default();
            bin.join("pg_config")
        });
        PathBuf::from(run(Command::new(pg_config).arg("--bindir")).trim())
    });
    bin.join(name)
}

/// Postgres refuses to run as root.
fn server_user() -> Option<User> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    Some(User::from_name("postgres").unwrap().expect("as root, these tests need the user postgres"))
}

fn as_server_user(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/").env_remove("PGDATA");
    command
}

/// A test that is killed cannot drop anything: the kernel then ends what it started.
fn ends_with_its_test(command: &mut Command, signal: Signal) {
    // SAFETY: prctl() is a plain system call, allowed between fork and exec.
    unsafe { command.pre_exec(move || Ok(nix::sys::prctl::set_pdeathsig(signal)?)) };
}

/// A directory that the server's user owns.
fn server_dir(parent: &Path) -> TempDir {
    let dir = tempfile::Builder::new().prefix("regent-gate-").tempdir_in(parent).unwrap();
    if let Some(user) = server_user() {
        chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    dir
}

#[derive(Clone, Copy)]
enum Build {
    Real,
    /// Looks only before the commit record is written: what the second look is for must fail with it.
    OneCheck,
}

fn library(build: Build) -> PathBuf {
    static REAL: OnceLock<PathBuf> = OnceLock::new();
    static ONE_CHECK: OnceLock<PathBuf> = OnceLock::new();
    let (cell, name, flags) = match build {
        Build::Real => (&REAL, "gate", "-Werror"),
        Build::OneCheck => (&ONE_CHECK, "gate-one-check", "-DREGENT_GATE_MUTANT_ONE_CHECK"),
    };
    cell.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/build-gate");
        run(Command::new(script).arg(&dir).env("GATE_CFLAGS", flags));
        dir.join("regent_gate.so")
    })
    .clone()
}

/// A data directory to copy: `initdb` takes longer than most of the tests.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = server_dir(&std::env::temp_dir()).keep();
        // Statics are not dropped: a shell removes the directory when the pipe to this process breaks.
        let reaper = Command::new("sh")
            .args(["-c", "read _; rm -rf \"$1\"", "sh"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        std::mem::forget(reaper);
        let data = dir.join("data");
        run(as_server_user(pg_bin("initdb")).arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]));
        data
    })
}

/// A Postgres with the gate, stopped when dropped.
struct Server {
    dir: TempDir,
    shm: TempDir,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::SIGQUIT);
            // The postmaster itself kills what does not follow within five seconds.
            let give_up = Instant::now() + Duration::from_secs(10);
            while self.child.try_wait().unwrap().is_none() && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

impl Server {
    /// A server with a table `t (v int)` and a closed gate.
    async fn start() -> Server {
        Server::start_with(Build::Real, "").await
    }

    async fn start_with(build: Build, settings: &str) -> Server {
        let server = Server::launch(build, settings);
        let client = server.connect().await;
        let lease = server.lease();
        lease.open_until(1, until(LONG));
        // CREATE EXTENSION would need the files in Postgres' own directories; this is what it runs.
        let script =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gate/regent--1.0.sql")).unwrap();
        let library = server.dir.path().join("regent_gate");
        let script = script.replace("\\echo", "--").replace("MODULE_PATHNAME", library.to_str().unwrap());
        client.batch_execute(&script).await.unwrap();
        client.batch_execute("CREATE TABLE t (v int)").await.unwrap();
        lease.close();
        server
    }

    fn launch(build: Build, settings: &str) -> Server {
        let dir = server_dir(&std::env::temp_dir());
        let shm = server_dir(Path::new("/dev/shm"));
        let data = dir.path().join("data");
        run(Command::new("cp").arg("-a").arg(template()).arg(&data));
        // The server's user may not be able to read the build directory.
        let library = dir.path().join("regent_gate.so");
        fs::copy(self::library(build), &library).unwrap();
        fs::set_permissions(&library, PermissionsExt::from_mode(0o755)).unwrap();

        let mut conf = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        writeln!(
            conf,
            "shared_preload_libraries = '{dir}/regent_gate'\n\
             regent.lease_file = '{shm}/lease'\n\
             regent.commit_wait = {wait}\n\
             listen_addresses = ''\nunix_socket_directories = '{dir}'\n\
             max_prepared_transactions = 5\nfsync = off\nshared_buffers = 16MB\nmax_connections = 30\n{settings}",
            dir = dir.path().display(),
            shm = shm.path().display(),
            wait = COMMIT_WAIT.as_millis(),
        )
        .unwrap();
        Server::run(dir, shm)
    }

    /// Starts what is in `dir`.
    fn run(dir: TempDir, shm: TempDir) -> Server {
        let data = dir.path().join("data");
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut postmaster = as_server_user(pg_bin("postgres"));
        postmaster.arg("-D").arg(&data).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        ends_with_its_test(&mut postmaster, Signal::SIGQUIT);
        let child = postmaster.spawn().unwrap();
        Server { dir, shm, child }
    }

    fn lease_path(&self) -> PathBuf {
        self.shm.path().join("lease")
    }

    fn lease(&self) -> LeaseFile {
        LeaseFile::open(&self.lease_path(), 7).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Changes a setting without SQL.
    fn set(&self, line: &str) {
        let path = self.dir.path().join("data/postgresql.conf");
        writeln!(fs::OpenOptions::new().append(true).open(path).unwrap(), "{line}").unwrap();
        self.signal(Signal::SIGHUP);
    }

    async fn connect(&self) -> Client {
        self.connect_with("").await
    }

    async fn connect_with(&self, options: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.dir.path()).user("postgres").dbname("postgres").options(options);
        let give_up = Instant::now() + PATIENCE;
        loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(e) => assert!(Instant::now() < give_up, "no connection: {e:?}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn until(ahead: Duration) -> u64 {
    boottime_ns() + ahead.as_nanos() as u64
}

/// Asks `question` until the answer is yes.
async fn eventually(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !question().await {
        assert!(Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn sql(client: &Client, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await
}

/// Runs statements beside the test.
fn spawn(client: Client, statements: &str) -> JoinHandle<Result<(), Error>> {
    let statements = statements.to_owned();
    tokio::spawn(async move { client.batch_execute(&statements).await })
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn rows(client: &Client) -> i64 {
    number(client, "SELECT count(*) FROM t").await
}

async fn pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[derive(Debug, PartialEq)]
struct Counters {
    waits: i64,
    refused: i64,
    severed: i64,
}

fn counted(waits: i64, refused: i64, severed: i64) -> Counters {
    Counters { waits, refused, severed }
}

async fn counters(client: &Client) -> Counters {
    let row = client.query_one("SELECT waits, refused, severed FROM regent_gate()", &[]).await.unwrap();
    counted(row.get(0), row.get(1), row.get(2))
}

async fn until_waits(watcher: &Client, waits: i64) {
    eventually("a backend waits at the gate", async || counters(watcher).await.waits >= waits).await;
}

async fn waits_for_a_standby(watcher: &Client, backend: i32) -> bool {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = {backend}");
    number(watcher, &sql).await == 1
}

#[track_caller]
fn assert_refused<T>(result: Result<T, Error>, what: &str) {
    let Err(error) = result else { panic!("passed a closed gate: {what}") };
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{what}: {error:?}");
    let hint = error.as_db_error().unwrap().hint().unwrap();
    assert!(hint.contains("Connect to the current primary"), "{hint}");
}

/// The session ended without any answer: whether the commit took effect is for the client to find out.
#[track_caller]
fn assert_silent(result: Result<(), Error>, what: &str) {
    let Err(error) = result else { panic!("acknowledged: {what}") };
    assert!(error.as_db_error().is_none(), "{what} was answered: {error:?}");
}

const INSERT: &str = "INSERT INTO t VALUES (1)";
