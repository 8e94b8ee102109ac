//! The kernel fence, with the real kernel: in a network namespace of the test's own, where it harms nobody.
//!
//! Needs root, `nft` and `ip`, and says so when one is not there.

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regent_client::agent::fence::{Fence, Place};
use regent_client::gate::boottime_ns;
use regent_core::message::{KernelFence, Role};
use regent_core::time::Time;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use super::fixture::{Bench, PATIENCE, connect, sql};

#[path = "fence/left.rs"]
mod left;

/// Longer than the machine's stalls, short enough to wait for.
const LEASE: Duration = Duration::from_millis(1_500);
const TABLE: &str = "regent.demo.orders.orders-east";
/// Tells a child of a test that it is the agent's stand-in, and the port that it fences.
const STAND_IN: &str = "REGENT_TEST_FENCED_PORT";

// ---------- the world of a test ----------

/// Runs a test in a network namespace of its own: a namespace is a thread's.
fn alone(test: fn()) {
    let has = |program| Command::new(program).arg("-V").output().is_ok();
    if !nix::unistd::geteuid().is_root() || !has("nft") || !has("ip") {
        eprintln!("skipped: the kernel fence's tests need root, nft and ip");
        return;
    }
    let inside = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return eprintln!("skipped: the kernel fence's tests need a network namespace: {error}");
        }
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        test();
    });
    inside.join().unwrap();
}

fn place(port: u16) -> Place {
    Place { table: TABLE.into(), address: Some("127.0.0.1".parse().unwrap()), port }
}

fn lease() -> Option<Time> {
    Some(Time(boottime_ns()) + LEASE)
}

/// Something that answers, as Postgres does.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    port
}

fn connected(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Says something, and hears it within a moment, or not. What is not heard now is heard later.
fn answers(stream: &mut TcpStream) -> bool {
    stream.write_all(b"?").unwrap();
    let mut heard = [0; 64];
    match stream.read(&mut heard) {
        Ok(size) => size > 0,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn table_is_there() -> bool {
    Command::new("nft").args(["list", "table", "inet", TABLE]).output().unwrap().status.success()
}

fn set(name: &str) -> String {
    let set = Command::new("nft").args(["list", "set", "inet", TABLE, name]).output().unwrap();
    String::from_utf8_lossy(&set.stdout).into_owned()
}

fn is_guarded() -> bool {
    set("guarded").contains("elements")
}

/// An agent that renews its lease for ever, in a process that can be stopped.
struct StandIn(Child);

impl StandIn {
    fn of(port: u16) -> StandIn {
        StandIn::with_programs_of(port, &std::env::var_os("PATH").unwrap_or_default())
    }

    /// The same, with another `PATH`.
    fn with_programs_of(port: u16, path: &OsStr) -> StandIn {
        let child = Command::new(std::env::current_exe().unwrap())
            .env("PATH", path)
            .args(["--exact", "fence::stand_in", "--nocapture"])
            .env(STAND_IN, port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        StandIn(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No test, but what `StandIn` runs.
#[test]
fn stand_in() {
    let Ok(port) = std::env::var(STAND_IN) else { return };
    let mut fence = Fence::new(place(port.parse().unwrap()));
    // Ends with the test that started it.
    let test = nix::unistd::getppid();
    while nix::unistd::getppid() == test {
        fence.follow(Some(Role::Primary), lease());
        std::thread::sleep(Duration::from_millis(20));
    }
}

// ---------- what it lets through ----------

#[test]
fn a_stopped_agents_port_is_closed_by_the_kernel_when_the_lease_ends_and_open_again_with_the_next() {
    alone(|| {
        let port = echo();
        let mut before = connected(port);
        until("it answers", || answers(&mut before));
        let agent = StandIn::of(port);
        until("the stand-in has armed it", is_guarded);
        until("it is open", || answers(&mut before));

        agent.signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        until("an established connection is cut", || !answers(&mut before));
        // A renewal was under way at the most: the lease ends this long after it was stopped, at the latest.
        until("it stays cut", || !answers(&mut before) && stopped.elapsed() > LEASE);
        assert!(!answers(&mut before), "it was heard after the end of the lease");
        assert!(
            TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(200)).is_err()
        );

        agent.signal(Signal::SIGCONT);
        until("the same connection goes on", || answers(&mut before));
        assert!(answers(&mut connected(port)));
    });
}

fn connected_in_time(port: u16) -> Option<TcpStream> {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(200)).ok()
}

#[test]
fn two_agents_on_a_host_do_not_disturb_each_other() {
    alone(|| {
        let (port, other) = (echo(), echo());
        let (mut client, mut neighbour) = (connected(port), connected(other));
        let mut fence = Fence::new(place(port));
        let next_door = Place { table: format!("{TABLE}-2"), ..place(other) };
        let mut beside = Fence::new(next_door);
        beside.follow(Some(Role::Primary), Some(Time(boottime_ns()) + 10 * PATIENCE));
        fence.follow(Some(Role::Primary), lease());
        until("both are armed", || [&fence, &beside].iter().all(|one| one.standing() == KernelFence::Armed));
        until("one lease has ended", || !answers(&mut client));
        until("it answers", || answers(&mut neighbour));
        fence.follow(Some(Role::Standby), None);
        drop(fence);
        assert!(!table_is_there());
        until("it answers", || answers(&mut neighbour));
        beside.follow(Some(Role::Primary), Some(Time::ZERO));
        until("the other's table is still there, and closes", || !answers(&mut neighbour));
    });
}

// ---------- beside a real Postgres that has no gate ----------

/// Sessions that write once after the end of the lease.
const SESSIONS: usize = 8;

#[test]
fn without_a_gate_no_session_hears_of_a_write_after_the_lease_of_a_killed_agent() {
    alone(|| tokio::runtime::Runtime::new().unwrap().block_on(writes_after_the_lease()));
}

async fn writes_after_the_lease() {
    let bench = Bench::new();
    let server = bench.primary("a").await;
    sql(&server, "create role app login password 'app'; grant insert on t to app").await;
    let port = server.settings().port;
    let agent = StandIn::of(port);
    until("the stand-in has armed it", is_guarded);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let session = session(port).await;
        session.execute("insert into t values (0)", &[]).await.unwrap();
        sessions.push(session);
    }
    drop(agent);
    tokio::time::sleep(LEASE).await; // the last renewal was before: the lease has ended by now

    let mut writes = JoinSet::new();
    for session in sessions {
        writes.spawn(async move { session.execute("insert into t values (1)", &[]).await });
    }
    let heard = tokio::time::timeout(LEASE, writes.join_next()).await;
    assert!(heard.is_err(), "a write that was sent after the lease: {heard:?}");
    connect(&server).await.execute("insert into t values (2)", &[]).await.expect("there is no gate");

    let mut next = Fence::new(place(port));
    next.follow(None, Some(Time(boottime_ns()) + 10 * PATIENCE));
    while let Some(heard) =
        tokio::time::timeout(PATIENCE, writes.join_next()).await.expect("it is open again")
    {
        heard.unwrap().expect("the same session goes on");
    }
}

async fn session(port: u16) -> tokio_postgres::Client {
    let parameters = format!("host=127.0.0.1 port={port} user=app password=app dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&parameters, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

// ---------- what is in its way ----------

#[test]
fn a_table_that_somebody_removed_is_made_again() {
    alone(|| {
        let port = echo();
        let mut client = connected(port);
        let mut fence = Fence::new(place(port));
        let mut armed = || {
            fence.follow(Some(Role::Primary), lease());
            fence.standing() == KernelFence::Armed && table_is_there()
        };
        until("it is armed", &mut armed);
        assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        until("it is made again", &mut armed);
        until("it answers", || answers(&mut client));
        fence.follow(Some(Role::Primary), None);
        until("it is closed", || !answers(&mut client));
    });
}

/// Tells the test below that it is inside.
const INSIDE: &str = "REGENT_TEST_INSIDE";

#[test]
fn who_may_not_change_the_kernels_tables_is_told_so() {
    if std::env::var_os(INSIDE).is_some() {
        let fence = Fence::new(place(5432));
        until("it is known", || fence.standing() != KernelFence::Off);
        let KernelFence::NotArmed(why) = fence.standing() else { panic!("{:?}", fence.standing()) };
        assert!(why.contains("CAP_NET_ADMIN"), "{why}");
        return;
    }
    // In a user namespace of its own root has no power over the network outside of it.
    let stranger = || {
        let mut command = Command::new("unshare");
        command.arg("--user");
        command
    };
    let has = |mut command: Command| command.output().is_ok_and(|output| output.status.success());
    let (mut nft, mut nothing) = (Command::new("nft"), stranger());
    nft.arg("-v");
    nothing.arg("true");
    if !has(nft) || !has(nothing) {
        return eprintln!("skipped: this test needs nft and user namespaces");
    }
    let mut inside = stranger();
    inside.arg(std::env::current_exe().unwrap()).env(INSIDE, "yes");
    inside.args(["--exact", "fence::who_may_not_change_the_kernels_tables_is_told_so", "--nocapture"]);
    let output = inside.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

// ---------- how early it closes ----------

#[test]
#[ignore = "a measurement: what a renewal costs, and how long before the end of the lease the last message passes"]
fn measure() {
    alone(|| {
        let (port, heard) = clock();
        let mut fence = Fence::new(place(port));
        fence.follow(None, lease());
        until("it is armed", || fence.standing() == KernelFence::Armed);
        let mut early_ms: Vec<f64> = (0..TRIALS)
            .map(|_| {
                fence.follow(None, Some(Time(boottime_ns()) + PATIENCE));
                let mut client = None;
                until("it is open", || {
                    client = connected_in_time(port);
                    client.is_some()
                });
                let mut client = client.unwrap();
                client.set_nodelay(true).unwrap();
                let end = Time(boottime_ns()) + Duration::from_millis(300);
                fence.follow(None, Some(end));
                while Time(boottime_ns()) < end + Duration::from_millis(50) {
                    client.write_all(&boottime_ns().to_ne_bytes()).unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                }
                std::thread::sleep(Duration::from_millis(30)); // who reads may be behind
                (end.0 as f64 - heard.load(Ordering::SeqCst) as f64) / 1e6
            })
            .collect();
        early_ms.sort_by(f64::total_cmp);
        let [least, median, most] = [0, TRIALS / 2, TRIALS - 1].map(|at| early_ms[at]);
        println!(
            "{TRIALS} trials, ms before the lease's end: least {least:.2}, median {median:.2}, most {most:.2}"
        );
    });
}

const TRIALS: usize = 100;

/// Notes when what it heard last was sent: its own reading may be late.
fn clock() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(AtomicU64::new(0));
    let noted = heard.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let noted = noted.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 8];
                while stream.read_exact(&mut bytes).is_ok() {
                    noted.fetch_max(u64::from_ne_bytes(bytes), Ordering::SeqCst);
                }
            });
        }
    });
    (port, heard)
}
