//! The gate under a bound, with a real standby: what passes while something is missing there, and what waits.

use super::second_look::BETWEEN;
use super::*;

/// Long against what a loaded machine takes for an insert, short enough to wait for.
const SHORT: Duration = Duration::from_secs(3);
/// Not over during a test.
const WIDE: Duration = Duration::from_secs(60);

/// A standby that streams from `primary` under the name `b`.
fn standby_of(primary: &Server) -> Server {
    let dir = server_dir(&std::env::temp_dir());
    let shm = server_dir(Path::new("/dev/shm"));
    let data = dir.path().join("data");
    let mut copy = as_server_user(pg_bin("pg_basebackup"));
    copy.arg("-h").arg(primary.dir.path()).arg("-D").arg(&data);
    run(copy.args(["-U", "postgres", "-c", "fast", "--no-sync"]));
    let conf = format!(
        "unix_socket_directories = '{dir}'\nregent.lease_file = '{shm}/lease'\nhot_standby = on\n\
         wal_receiver_status_interval = 1s\nwal_receiver_timeout = 0\n\
         primary_conninfo = 'host={upstream} user=postgres application_name=b'\n",
        dir = dir.path().display(),
        shm = shm.path().display(),
        upstream = primary.dir.path().display(),
    );
    let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
    file.write_all(conf.as_bytes()).unwrap();
    fs::write(data.join("standby.signal"), "").unwrap();
    Server::run(dir, shm)
}

/// A primary under a bound, its standby, and a session beside.
struct Pair {
    primary: Server,
    standby: Server,
    lease: LeaseFile,
    watcher: Client,
}

impl Pair {
    async fn start(rpo: Duration) -> Pair {
        let primary = Server::start_with(Build::Real, "wal_sender_timeout = 0").await;
        let standby = standby_of(&primary);
        primary.set("synchronous_standby_names = 'FIRST 1 (\"b\")'");
        let (lease, watcher) = (primary.lease(), primary.connect().await);
        lease.set_rpo(Some(rpo));
        lease.name_places(&[InstanceName::new("b").unwrap()]);
        lease.set_confirm(Words([1, 0]));
        lease.open_until(2, until(LONG));
        let pair = Pair { primary, standby, lease, watcher };
        eventually("the standby has its place", async || {
            number(&pair.watcher, "SELECT count(*) FROM pg_stat_replication WHERE sync_priority = 1").await
                == 1
        })
        .await;
        pair.insert("synchronous_commit=on").await;
        pair
    }

    async fn insert(&self, setting: &str) {
        sql(&self.primary.connect_with(&format!("-c {setting}")).await, INSERT).await.unwrap();
    }

    /// Begins an insert; returns its backend as well.
    async fn spawn(&self, setting: &str) -> (i32, JoinHandle<Result<(), Error>>) {
        let client = self.primary.connect_with(&format!("-c {setting}")).await;
        (pid(&client).await, spawn(client, INSERT))
    }

    /// Everything is at the standby; from now on nothing gets there. Returns who was stopped.
    async fn freeze(&self) -> Pid {
        eventually("the standby has all", async || {
            let sql =
                "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_insert_lsn()";
            number(&self.watcher, sql).await == 1
        })
        .await;
        let reader = self.standby.connect().await;
        let receiver = number(&reader, "SELECT pid::bigint FROM pg_stat_wal_receiver").await;
        let receiver = Pid::from_raw(receiver as i32);
        kill(receiver, Signal::SIGSTOP).unwrap();
        receiver
    }

    async fn waits_at_the_gate(&self, backend: i32) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND pid = {backend}"
        );
        eventually("it waits at the gate", async || number(&self.watcher, &sql).await == 1).await;
    }
}

async fn passes(commit: JoinHandle<Result<(), Error>>) {
    tokio::time::timeout(PATIENCE, commit).await.expect("it goes on").unwrap().unwrap();
}

#[tokio::test]
async fn under_a_bound_a_commit_waits_for_what_was_acknowledged_before_it() {
    let pair = Pair::start(SHORT).await;
    let receiver = pair.freeze().await;
    // Inside the bound nothing waits, and Postgres does not either.
    pair.insert("synchronous_commit=on").await;
    let over = until(SHORT);
    pair.insert("synchronous_commit=on").await;
    let before = counters(&pair.watcher).await.waits;
    eventually("the bound is over", async || boottime_ns() > over).await;
    // Whatever a session says of its own commits, it may not be acknowledged beyond others'.
    let mut waiting = Vec::new();
    for setting in ["on", "remote_write", "local", "off"] {
        let (backend, commit) = pair.spawn(&format!("synchronous_commit={setting}")).await;
        pair.waits_at_the_gate(backend).await;
        waiting.push(commit);
    }
    // For longer than for a lease: it is not the lease that is missing.
    eventually("it is said", async || pair.primary.log().contains("commit waits for standbys")).await;
    assert!(pair.primary.log().contains("acknowledged more than 3000 ms ago are not confirmed"));
    assert!(waiting.iter().all(|commit| !commit.is_finished()));
    kill(receiver, Signal::SIGCONT).unwrap();
    for commit in waiting {
        passes(commit).await;
    }
    let after = counters(&pair.watcher).await;
    assert_eq!((after.waits - before, after.severed), (4, 0));
    assert_eq!(rows(&pair.watcher).await, 7);
}

#[tokio::test]
async fn what_was_acknowledged_in_an_earlier_epoch_or_under_another_bound_is_old() {
    let pair = Pair::start(WIDE).await;
    for (epoch, rpo) in [(3, WIDE), (3, WIDE / 2)] {
        let receiver = pair.freeze().await;
        pair.insert("synchronous_commit=on").await;
        pair.lease.set_rpo(Some(rpo));
        pair.lease.open_until(epoch, until(LONG));
        let (backend, commit) = pair.spawn("synchronous_commit=on").await;
        pair.waits_at_the_gate(backend).await;
        kill(receiver, Signal::SIGCONT).unwrap();
        passes(commit).await;
    }
}

#[tokio::test]
async fn a_cancelled_wait_for_the_bound_is_not_acknowledged() {
    let pair = Pair::start(WIDE).await;
    pair.lease.set_confirm(Words([NOBODY, 0]));
    for (what, statements) in BETWEEN {
        let client = pair.primary.connect().await;
        let backend = pid(&client).await;
        let commit = spawn(client, statements);
        pair.waits_at_the_gate(backend).await;
        number(&pair.watcher, &format!("SELECT pg_cancel_backend({backend})::int::bigint")).await;
        let result = tokio::time::timeout(PATIENCE, commit).await.expect("the session ends").unwrap();
        assert_silent(result, what);
    }
    assert_eq!(counters(&pair.watcher).await.severed, 4);
    // With nobody to wait for, as where the policy is to degrade, it is acknowledged.
    pair.lease.set_confirm(Words::default());
    pair.insert("synchronous_commit=on").await;
    assert!(!pair.primary.log().contains("PANIC"));
}

#[tokio::test]
async fn a_bound_is_taken_away_and_given_without_a_restart() {
    let pair = Pair::start(WIDE).await;
    let receiver = pair.freeze().await;
    pair.insert("synchronous_commit=on").await;
    // Who asks for more than a flush is made to wait by Postgres itself.
    let (applied, first) = pair.spawn("synchronous_commit=remote_apply").await;
    eventually("Postgres waits", async || waits_for_a_standby(&pair.watcher, applied).await).await;
    // Without the bound each commit is confirmed itself, by sessions that were there before, too.
    let client = pair.primary.connect().await;
    sql(&client, INSERT).await.unwrap();
    pair.lease.set_rpo(None);
    let backend = pid(&client).await;
    let second = spawn(client, INSERT);
    eventually("Postgres waits", async || waits_for_a_standby(&pair.watcher, backend).await).await;
    pair.insert("synchronous_commit=local").await;
    // What was acknowledged without it, waived or not, counts as old when it is there again.
    pair.lease.set_rpo(Some(WIDE));
    let (backend, third) = pair.spawn("synchronous_commit=on").await;
    pair.waits_at_the_gate(backend).await;
    kill(receiver, Signal::SIGCONT).unwrap();
    for commit in [first, second, third] {
        passes(commit).await;
    }
}
