//! Tasks that do not end by themselves, with real programs.

use super::*;
use crate::agent::eyes;
use crate::postgres::{RunAs, Secret, Settings};
use figment::Figment;
use figment::providers::{Format, Toml};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use regent_core::agent::Observation;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Postgres's programs, one of them replaced by a line of sh.
fn programs(dir: &Path, replaced: &str, line: &str) -> PathBuf {
    let all = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|entry| entry.path().join("bin"));
    let real = all.filter(|dir| dir.join("pg_basebackup").exists()).max().unwrap();
    let stubs = dir.join("bin");
    fs::create_dir(&stubs).unwrap();
    for program in fs::read_dir(real).unwrap().flatten().filter(|entry| entry.file_name() != replaced) {
        symlink(program.path(), stubs.join(program.file_name())).unwrap();
    }
    let path = stubs.join(replaced);
    fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    stubs
}

fn ordinary_user() -> Option<RunAs> {
    let user = Uid::effective().is_root().then(|| {
        let found = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).unwrap());
        found.expect("as root, these tests need a user postgres or nobody to run servers as")
    });
    user.map(|user| RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

fn config(dir: &Path) -> Config {
    let text = format!(
        "cluster = \"demo\"\ngroup = \"orders\"\ninstance = \"a\"\nregion = \"east\"\nstate_dir = \"{0}\"\n\
         nodes = []\n[postgres]\ndata_dir = \"{0}/a\"\nlisten_address = \"127.0.0.1\"\nport = 5432\n",
        dir.display()
    );
    Figment::new().merge(Toml::string(&text)).extract().unwrap()
}

/// Of a server with Postgres's own programs.
fn settings(dir: &Path, name: &str) -> Settings {
    let mut settings = Settings::new(name, dir.join(name));
    settings.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.replication_password = Some(Secret("secret".into()));
    settings.networks = vec!["127.0.0.0/8".into()];
    settings.run_as = ordinary_user();
    settings.sql_timeout = Duration::from_secs(10);
    settings
}

/// A server, gone when the test ends, however it ends.
struct Gone<'a>(&'a Server);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.0.settings().data_dir.join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next().and_then(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    hands: Hands,
    events: mpsc::Receiver<Event>,
    /// What was seen of Postgres last.
    seen: Option<Observation>,
}

impl Bench {
    fn new(replaced: &str, line: &str) -> Bench {
        let dir = tempfile::Builder::new().prefix("rg").tempdir().unwrap();
        // Postgres runs as another user when the test runs as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let bin_dir = Some(programs(dir.path(), replaced, line));
        let server = Arc::new(Server::new(Settings { bin_dir, ..settings(dir.path(), "a") }).unwrap());
        let (events, inbox) = mpsc::channel(1_024);
        let look = eyes::open(server.clone(), events.clone());
        let config = config(dir.path());
        let mut hands = Hands::new(server, &config, Hooks::new(&config), events, look);
        Arc::get_mut(&mut hands.kit).unwrap().patience = |task| match task {
            Task::Clone(_) | Task::Rewind(_) => Duration::from_secs(3),
            _ => patience(task),
        };
        Bench { dir, hands, events: inbox, seen: None }
    }

    async fn done(&mut self, task: Task) -> Result<(), String> {
        self.hands.begin(task.clone(), Epoch(1), None);
        self.end_of(task).await
    }

    async fn end_of(&mut self, task: Task) -> Result<(), String> {
        let end = async {
            loop {
                match self.events.recv().await.unwrap() {
                    Event::Done(done, result) => {
                        assert_eq!(done, task);
                        return result;
                    }
                    Event::Observed(seen) => self.seen = Some(seen),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), end).await.unwrap()
    }
}

fn upstream() -> Upstream {
    Upstream { instance: InstanceName::new("b").unwrap(), address: "127.0.0.1:1".to_owned() }
}

#[test]
fn a_percentage_is_found_wherever_it_stands() {
    for (line, expected) in [
        ("23456/45678 kB (51%), 0/1 tablespace", Some(51)),
        ("INFO: restore file /a/base/1 (12MB, 51.20%) checksum 1f", Some(51)),
        ("100 % done", Some(100)),
        ("cpu 180%", None),
        ("100 files", None),
        ("%", None),
    ] {
        assert_eq!(percent(line), expected, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_is_ended_with_its_children_and_the_next_task_begins() {
    let line = "sleep 1000 & echo $! > \"$(dirname \"$0\")/../pid\"; wait";
    let mut bench = Bench::new("pg_basebackup", line);
    let why = bench.done(Task::Clone(upstream())).await.unwrap_err();
    assert_eq!(why, "given up and ended: it showed no sign of going on for 3s");

    // What was given up is gone before anything else is done in its place.
    assert_eq!(bench.done(Task::Initialise).await, Ok(()));
    let child = fs::read_to_string(bench.dir.path().join("pid")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    assert!(bench.dir.path().join("a/PG_VERSION").exists());
}

/// What a rewind has begun to change is started by nobody, and copied instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_hangs_is_ended_and_what_it_leaves_is_replaced_by_a_copy() {
    let mut bench = Bench::new("pg_rewind", "exec sleep 1000");
    let a = bench.hands.kit.server.clone();
    let b = Server::new(settings(bench.dir.path(), "b")).unwrap();
    let _gone = (Gone(&a), Gone(&b));
    let at = |server: &Server| postgres::Upstream { host: "127.0.0.1".into(), port: server.settings().port };
    let of_b = Upstream { address: format!("127.0.0.1:{}", b.settings().port), ..upstream() };
    assert_eq!(bench.done(Task::Initialise).await, Ok(()));
    assert_eq!(bench.done(Task::StartPrimary).await, Ok(()));
    b.clone_from(&at(&a), &mut |_| ()).await.unwrap();
    b.start(&Role::Standby { upstream: None }).await.unwrap();
    // A primary that was killed, with a checkpoint that its successor never got.
    a.checkpoint().await.unwrap();
    assert_eq!(bench.done(Task::StopImmediately).await, Ok(()));
    until(async || b.in_recovery().await.is_ok()).await;
    b.promote().await.unwrap();
    until(async || b.in_recovery().await.is_ok_and(|recovers| !recovers)).await;
    b.checkpoint().await.unwrap();

    let why = bench.done(Task::Rewind(of_b.clone())).await.unwrap_err();
    assert_eq!(why, "given up and ended: it showed no sign of going on for 3s");
    let seen = bench.seen.take().unwrap();
    assert!(seen.broken && seen.role == regent_core::message::Role::Stopped, "{seen:?}");
    assert!(bench.done(Task::StartStandby(Some(of_b.clone()))).await.is_err());
    assert_eq!(bench.done(Task::Clone(of_b.clone())).await, Ok(()));
    assert_eq!(bench.done(Task::StartStandby(Some(of_b))).await, Ok(()));
    until(async || a.observe().await.timeline == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_before_it_answers_is_not_waited_for() {
    let mut bench = Bench::new("pg_basebackup", "exit 1");
    let server = bench.hands.kit.server.clone();
    let _gone = Gone(&server);
    assert_eq!(bench.done(Task::Initialise).await, Ok(()));
    assert_eq!(bench.done(Task::StartPrimary).await, Ok(()));
    let kit = bench.hands.kit.clone();
    let waits = tokio::spawn(async move { kit.until(|answer| matches!(answer, Ok(true))).await });
    let pid = fs::read_to_string(bench.dir.path().join("a/postmaster.pid")).unwrap();
    kill(Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
    let ended = tokio::time::timeout(PATIENCE / 2, waits).await.expect("waited for the dead").unwrap();
    assert!(matches!(ended, Err(PostgresError::NotRunning(_))), "{ended:?}");
}

async fn until(holds: impl AsyncFn() -> bool) {
    let waits = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("waited in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_works_is_left_alone_for_as_long_as_it_takes() {
    let mut bench = Bench::new(
        "pg_basebackup",
        "timeout --foreground 8 sh -c 'while :; do :; done'; echo enough >&2; exit 1",
    );
    let why = bench.done(Task::Clone(upstream())).await.unwrap_err();
    assert!(why.ends_with("enough"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_has_failed_and_the_next_begins() {
    let mut bench = Bench::new("pg_basebackup", "exit 1");
    let kit = bench.hands.kit.clone();
    kit.see_through(Task::Clone(upstream()), async { panic!("on purpose") }).await;
    let why = bench.end_of(Task::Clone(upstream())).await.unwrap_err();
    assert!(why.starts_with("ended by a defect of regent-agent"), "{why}");
    assert_eq!(bench.done(Task::Initialise).await, Ok(()));
}
