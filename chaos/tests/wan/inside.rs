//! A network in this process: sockets made in regions, and processes started there.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::ops::Deref;
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use regent_chaos::wan::command::Which;
use regent_chaos::wan::terms::Change;
use regent_chaos::wan::topology::Topology;
use regent_chaos::wan::{NotStarted, Refused, Region, Wan};

const DELAY: Duration = Duration::from_millis(30);
/// How long nothing is to be heard, and how long something is waited for.
const SILENCE: Duration = Duration::from_millis(300);
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Network {
    wan: Wan,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Network {
    type Target = Wan;

    fn deref(&self) -> &Wan {
        &self.wan
    }
}

/// Regions a and b, 30 ms apart; none where that is not allowed.
pub fn network() -> Option<Network> {
    let alone = super::alone();
    let topology = Topology::parse("regions = [\"a\", \"b\"]\ndefault = { delay = \"30ms\" }").unwrap();
    match Wan::start(topology, 1) {
        Ok(wan) => Some(Network { wan, _alone: alone }),
        Err(why @ (NotStarted::Missing(_) | NotStarted::Region(Refused::Tun { .. }))) => {
            eprintln!("skipped: {}: {why}", thread::current().name().unwrap_or("a test of networks"));
            None
        }
        Err(other) => panic!("{:#}", anyhow::Error::from(other)),
    }
}

fn one_way(from: &str, to: &str) -> Which {
    Which::OneWay(from.into(), to.into())
}

/// A socket in a region, and how it is reached.
pub fn udp(region: &Region) -> (UdpSocket, SocketAddrV4) {
    let socket = region.inside(|| UdpSocket::bind((region.address(), 0))).unwrap().unwrap();
    let address = SocketAddrV4::new(region.address(), socket.local_addr().unwrap().port());
    (socket, address)
}

/// Whether something is heard within a time.
fn heard(socket: &UdpSocket, within: Duration) -> bool {
    socket.set_read_timeout(Some(within)).unwrap();
    match socket.recv(&mut [0; 16]) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Answers everything that one connection to it says.
fn echo(region: &Region) -> SocketAddrV4 {
    serve(region, |mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    })
}

/// Reads all that one connection to it says.
pub fn sink(region: &Region) -> SocketAddrV4 {
    serve(region, |mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())))
}

fn serve(region: &Region, act: fn(TcpStream)) -> SocketAddrV4 {
    let listener = region.inside(|| TcpListener::bind((region.address(), 0))).unwrap().unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || act(listener.accept().unwrap().0));
    SocketAddrV4::new(region.address(), port)
}

pub fn connect(region: &Region, to: SocketAddrV4) -> TcpStream {
    let stream = region.inside(|| TcpStream::connect_timeout(&to.into(), PATIENCE)).unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ping(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    start.elapsed()
}

#[test]
fn a_packet_takes_its_delay_and_a_connection_two() {
    let Some(wan) = network() else { return };
    let [a, b] = [&wan.regions()[0], &wan.regions()[1]];
    let (from, (to, address)) = (udp(a).0, udp(b));
    let start = Instant::now();
    from.send_to(b"ping", address).unwrap();
    assert!(heard(&to, PATIENCE));
    assert!(start.elapsed() >= DELAY, "one way: {:?}", start.elapsed());

    let server = echo(b);
    let start = Instant::now();
    let mut stream = connect(a, server);
    assert!(start.elapsed() >= 2 * DELAY, "the handshake: {:?}", start.elapsed());
    for _ in 0..3 {
        let there_and_back = ping(&mut stream);
        assert!(there_and_back >= 2 * DELAY, "there and back: {there_and_back:?}");
    }
    assert!(wan.lateness().chunks >= 8, "every packet is measured: {:?}", wan.lateness());
    wan.forget_lateness();
    assert_eq!(wan.lateness().chunks, 0);
}

#[test]
fn terms_change_for_one_way_while_it_is_used() {
    let Some(wan) = network() else { return };
    let [a, b] = [&wan.regions()[0], &wan.regions()[1]];
    let mut stream = connect(a, echo(b));
    wan.change(&one_way("b", "a"), Change::parse(&["delay", "130ms"]).unwrap()).unwrap();
    let there_and_back = ping(&mut stream);
    assert!(there_and_back >= Duration::from_millis(160), "{there_and_back:?}");
    let delays: Vec<String> = wan.links().iter().map(|link| link.terms.delay.to_string()).collect();
    assert_eq!(delays, ["30ms", "130ms"]);
}

#[test]
fn a_cut_stops_a_connection_and_a_heal_lets_it_go_on() {
    let Some(wan) = network() else { return };
    let [a, b] = [&wan.regions()[0], &wan.regions()[1]];
    let mut stream = connect(a, echo(b));
    ping(&mut stream);
    // Under way when the link is cut, and lost.
    stream.write_all(b"ping").unwrap();
    wan.cut(&Which::All("b".into())).unwrap();
    assert!(wan.links().iter().all(|link| link.cut));
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let silent = stream.read(&mut [0; 4]).unwrap_err().kind();
    assert!(matches!(silent, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent:?}");
    wan.heal(&Which::All("b".into())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    ping(&mut stream);
    assert!(wan.links().iter().any(|link| link.counts.lost_by_cut > 0), "{:?}", wan.links());
}

#[test]
fn one_way_is_cut_or_loses_everything_and_the_other_is_not() {
    let Some(wan) = network() else { return };
    let [(a, to_a), (b, to_b)] = [udp(&wan.regions()[0]), udp(&wan.regions()[1])];
    let exchange = || {
        a.send_to(b"ping", to_b).unwrap();
        b.send_to(b"pong", to_a).unwrap();
        // The way that is whole first: the other had as much time by then.
        (heard(&a, PATIENCE), heard(&b, SILENCE))
    };
    let loss = |share| wan.change(&one_way("a", "b"), Change::parse(&["loss", share]).unwrap()).unwrap();
    wan.cut(&one_way("a", "b")).unwrap();
    assert_eq!(exchange(), (true, false), "cut");
    wan.heal(&one_way("a", "b")).unwrap();
    loss("100%");
    assert_eq!(exchange(), (true, false), "all lost");
    loss("0%");
    a.send_to(b"ping", to_b).unwrap();
    assert!(heard(&b, PATIENCE), "whole again");
    let counts = wan.links()[0].counts;
    assert_eq!((counts.lost_by_cut, counts.lost_by_chance, counts.arrived), (1, 1, 1));
    let packets = wan.links()[1].counts;
    assert_eq!((packets.lost_by_cut, packets.lost_by_chance, packets.arrived), (0, 0, 2));
}

#[test]
fn every_packet_twice_when_all_are_duplicated() {
    let Some(wan) = network() else { return };
    let [(a, _), (b, to_b)] = [udp(&wan.regions()[0]), udp(&wan.regions()[1])];
    wan.change(&one_way("a", "b"), Change::parse(&["duplicate", "100%"]).unwrap()).unwrap();
    a.send_to(b"ping", to_b).unwrap();
    assert!(heard(&b, PATIENCE) && heard(&b, PATIENCE));
}

#[test]
fn a_region_has_a_whole_block_of_addresses() {
    let Some(wan) = network() else { return };
    let [a, b] = [&wan.regions()[0], &wan.regions()[1]];
    let [first, second, ..] = b.address().octets();
    let other = Ipv4Addr::new(first, second, b.address().octets()[2], 200);
    let socket = b.inside(|| UdpSocket::bind((other, 0))).unwrap().unwrap();
    let port = socket.local_addr().unwrap().port();
    udp(a).0.send_to(b"ping", (other, port)).unwrap();
    assert!(heard(&socket, PATIENCE));
}

#[test]
fn a_process_runs_in_its_region_and_ends_with_the_thread_that_started_it() {
    let Some(wan) = network() else { return };
    let region = &wan.regions()[0];
    let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let there = region.inside(here).unwrap();
    assert_ne!(here(), there);
    for user in [None, Some(65534)] {
        let command = match user {
            None => region.command("sh"),
            Some(user) => region.command_as("sh", user, user),
        };
        let said = command.unwrap().args(["-c", "readlink /proc/self/ns/net; id -u"]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said, format!("{}\n{}\n", there.display(), user.unwrap_or(0)));
    }
    let start = || region.command("sleep").unwrap().arg("600").spawn().unwrap();
    let mut orphan = thread::scope(|scope| scope.spawn(start).join().unwrap());
    assert!(!orphan.wait().unwrap().success(), "its thread has ended");

    // Nor does anything outlive its region: this one is a daemon.
    let mut shell = region.command("sh").unwrap();
    let daemon = shell.args(["-c", "setsid -f sleep 600 & sleep 600 & echo $!; wait"]);
    let mut shell = daemon.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = shell.stdout.take().unwrap();
    let mut first = [0];
    output.read_exact(&mut first).unwrap();
    drop(wan);
    // The pipe ends with the last who holds it.
    output.read_to_end(&mut Vec::new()).unwrap();
    shell.wait().unwrap();
}
