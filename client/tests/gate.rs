//! The gate, with a real Postgres: what passes, what waits, what is refused, and what is never acknowledged.
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

/// Long enough that a loaded machine does not make a test fail; nothing waits for it in the good case.
const PATIENCE: Duration = Duration::from_secs(30);
/// A lease that does not end during a test.
const LONG: Duration = Duration::from_secs(600);
const COMMIT_WAIT: Duration = Duration::from_millis(400);

// ---------- the world of a test ----------

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

// ---------- the first look ----------

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
async fn force_parallel(client: &Client) -> &'static str {
    let version = number(client, "SELECT current_setting('server_version_num')::bigint").await;
    if version >= 160_000 { "SET debug_parallel_query = on" } else { "SET force_parallel_mode = on" }
}

// ---------- no lease file, and files that are none ----------

#[tokio::test]
async fn without_a_configured_lease_file_every_write_is_refused_loudly() {
    let server = Server::launch(Build::Real, "regent.lease_file = ''");
    let client = server.connect().await;
    assert_refused(sql(&client, "CREATE TABLE t (v int)").await, "no lease file");
    assert!(server.log().contains("WARNING:  regent gate: regent.lease_file is empty"));
    assert!(server.log().contains("DETAIL:  The setting regent.lease_file is empty"));
}

#[tokio::test]
async fn a_lease_file_may_come_late_or_be_replaced() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 20ms").await;
    let path = server.lease_path();
    // Made now, this backend has no file mapped but the one it finds.
    fs::remove_file(&path).unwrap();
    let client = server.connect().await;
    assert_refused(sql(&client, INSERT).await, "no file");

    for (what, bytes) in [("a short file", &[0xff; 100][..]), ("a wrong magic", &[0xff; 4096][..])] {
        fs::write(&path, bytes).unwrap();
        assert_refused(sql(&client, INSERT).await, what);
        assert!(matches!(LeaseFile::open(&path, 1), Err(GateError::NotALeaseFile { .. })));
    }
    fs::remove_file(&path).unwrap();

    // A right file in a wrong place: it would survive a boot, and its deadline with it.
    let on_disk =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lease-on-disk-{}", std::process::id()));
    let lease = LeaseFile::open(&on_disk, 1).unwrap();
    if !lease.is_tmpfs() {
        lease.open_until(1, until(LONG));
        let seen = tempfile::NamedTempFile::new_in(server.dir.path()).unwrap();
        fs::copy(&on_disk, seen.path()).unwrap();
        fs::set_permissions(seen.path(), PermissionsExt::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(seen.path(), &path).unwrap();
        assert_refused(sql(&client, INSERT).await, "not on tmpfs");
        fs::remove_file(&path).unwrap();
        // The same bytes in the right place are a lease.
        fs::copy(&on_disk, &path).unwrap();
        sql(&client, INSERT).await.unwrap();
        fs::remove_file(&path).unwrap();
    }
    fs::remove_file(&on_disk).unwrap();

    let lease = server.lease();
    assert!(lease.was_created() && lease.is_tmpfs());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    let client = server.connect().await;
    assert_refused(sql(&client, INSERT).await, "a new file is closed");
    lease.open_until(1, until(LONG));
    sql(&client, INSERT).await.unwrap();
    // Another file in its place is found when the mapped one has no lease any more.
    lease.close();
    fs::rename(&path, path.with_extension("old")).unwrap();
    server.lease().open_until(1, until(LONG));
    sql(&client, INSERT).await.unwrap();
}

#[tokio::test]
async fn single_user_mode_needs_no_lease() {
    let mut server = Server::start().await;
    server.signal(Signal::SIGINT);
    server.child.wait().unwrap();
    let mut child = as_server_user(pg_bin("postgres"))
        .args(["--single", "-D"])
        .arg(server.dir.path().join("data"))
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = b"INSERT INTO t VALUES (1)\nSELECT 'rows=' || count(*) FROM t\n";
    child.stdin.take().unwrap().write_all(script).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("rows=1"), "{output:?}");
}

// ---------- the agent's end ----------

#[test]
fn a_lease_file_has_one_writer_and_keeps_what_it_says() {
    let dir = server_dir(Path::new("/dev/shm"));
    let path = dir.path().join("lease");
    let first = LeaseFile::open(&path, 1).unwrap();
    assert!(!first.read().is_open_at(0));
    assert!(matches!(LeaseFile::open(&path, 2), Err(GateError::Held { .. })));
    first.open_until(5, 1000);
    assert_eq!(first.read().rpo_ns, NO_RPO);
    first.set_rpo(Some(Duration::from_nanos(900)));
    let inode = fs::metadata(&path).unwrap().ino();
    drop(first);

    let second = LeaseFile::open(&path, 2).unwrap();
    let lease = second.read();
    assert!(!second.was_created());
    assert_eq!((lease.epoch, lease.deadline_ns, lease.rpo_ns, lease.opened_by), (5, 1000, 900, 1));
    assert!(lease.is_open_at(999) && !lease.is_open_at(1000));
    second.open_until(6, 2000);
    assert_eq!(second.read().opened_by, 2);
    second.close();
    assert!(!second.read().is_open_at(0));
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

const HOLDER_LEASE: &str = "REGENT_TEST_HOLDER_LEASE";

/// Not a test: the process that the next test kills. It renews a short lease for as long as it lives.
#[test]
#[ignore = "the child process of a_killed_agent_leaves_a_gate_that_closes_on_time"]
fn holder_of_a_lease() {
    let Some(path) = std::env::var_os(HOLDER_LEASE) else { return };
    let lease = LeaseFile::open(Path::new(&path), 8).unwrap();
    loop {
        lease.open_until(2, until(Duration::from_millis(250)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_killed_agent_leaves_a_gate_that_closes_on_time() {
    let server = Server::start_with(Build::Real, "regent.commit_wait = 0").await;
    let client = server.connect().await;
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "holder_of_a_lease", "--ignored"]).env(HOLDER_LEASE, server.lease_path());
    ends_with_its_test(&mut holder, Signal::SIGKILL);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the holder opens the gate", async || sql(&client, INSERT).await.is_ok()).await;
    holder.kill().unwrap();
    holder.wait().unwrap();

    // The kernel has released the dead holder's lock: the deadline can be read, and nobody moves it any more.
    let deadline = server.lease().read().deadline_ns;
    let mut refused = 0;
    while refused < 20 {
        let invoked = boottime_ns();
        let result = sql(&client, INSERT).await;
        if invoked >= deadline {
            assert_refused(result, "after the dead agent's deadline");
            refused += 1;
        }
    }
}

// ---------- the second look ----------

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
async fn durable_but_not_acknowledged(
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

const BETWEEN: [(&str, &str); 4] = [
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

// ---------- being interrupted in the first look ----------

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

// ---------- reads ----------

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
