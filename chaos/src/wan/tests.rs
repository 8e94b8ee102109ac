//! The emulator against real sockets. Lower bounds always hold; upper bounds leave room for a busy machine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{LinkSpec, Wan};

const ROUND_TRIP: Duration = Duration::from_millis(60);
const SLACK: Duration = Duration::from_millis(500);

/// A server in region `b` that hands each connection to `serve` on a thread of its own.
fn server(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 65536];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn a_to_b(wan: &Wan, target: SocketAddr, round_trip: Duration) -> SocketAddr {
    let listen = Ipv4Addr::LOCALHOST.into();
    wan.link(LinkSpec { from: "a".into(), to: "b".into(), listen, target, round_trip }).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ping(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    start.elapsed()
}

fn assert_silent(stream: &mut TcpStream, time: Duration) {
    stream.set_read_timeout(Some(time)).unwrap();
    let heard = stream.read(&mut [0; 16]).expect_err("a cut link must stay silent").kind();
    assert!(matches!(heard, ErrorKind::WouldBlock | ErrorKind::TimedOut), "heard {heard:?}");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}

#[test]
fn a_round_trip_takes_its_time_and_a_first_one_two() {
    let wan = Wan::start().unwrap();
    let mut stream = connect(a_to_b(&wan, server(echo), ROUND_TRIP));
    let first = ping(&mut stream);
    assert!(first >= 2 * ROUND_TRIP && first < 2 * ROUND_TRIP + SLACK, "with the handshake: {first:?}");
    for _ in 0..5 {
        let next = ping(&mut stream);
        assert!(next >= ROUND_TRIP && next < ROUND_TRIP + SLACK, "established: {next:?}");
    }
    assert_eq!(wan.lateness().chunks, 12);
}

#[test]
fn a_close_arrives_half_a_round_trip_later_and_a_refusal_is_a_reset() {
    let wan = Wan::start().unwrap();
    let mut stream = connect(a_to_b(&wan, server(drop), ROUND_TRIP));
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
    assert!(start.elapsed() >= ROUND_TRIP * 3 / 2);

    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut refused = connect(a_to_b(&wan, nobody, ROUND_TRIP));
    assert_eq!(refused.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_cut_is_silent_and_what_was_under_way_arrives_after_it() {
    let wan = Wan::start().unwrap();
    let link = a_to_b(&wan, server(echo), ROUND_TRIP);
    let mut open = connect(link);
    ping(&mut open);
    wan.cut("b");
    open.write_all(b"ping").unwrap();
    let mut fresh = connect(link);
    fresh.write_all(b"ping").unwrap();
    assert_silent(&mut open, 3 * ROUND_TRIP);
    assert_silent(&mut fresh, 3 * ROUND_TRIP);
    wan.heal("b");
    open.read_exact(&mut [0; 4]).unwrap();
    ping(&mut open);
    assert_eq!(fresh.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    ping(&mut connect(link));
}

#[test]
fn a_death_behind_a_cut_is_not_heard_until_power_returns() {
    let wan = Wan::start().unwrap();
    // Speaks its last words, then closes, half a second after it was connected: by then the link is cut.
    let link = a_to_b(
        &wan,
        server(|mut stream| {
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"pong").unwrap();
            thread::sleep(Duration::from_millis(500));
            stream.write_all(b"last words").unwrap();
        }),
        ROUND_TRIP,
    );
    let mut stream = connect(link);
    ping(&mut stream);
    wan.cut("a");
    assert_silent(&mut stream, Duration::from_millis(900));
    wan.restore("a");
    let heard = stream.read(&mut [0; 16]);
    assert_eq!(
        heard.unwrap_err().kind(),
        ErrorKind::ConnectionReset,
        "no last words of a host without power"
    );
}

#[test]
fn a_link_opened_to_a_cut_region_is_cut() {
    let wan = Wan::start().unwrap();
    wan.cut("b");
    let mut stream = connect(a_to_b(&wan, server(echo), Duration::ZERO));
    stream.write_all(b"ping").unwrap();
    assert_silent(&mut stream, Duration::from_millis(200));
}

#[test]
fn order_is_kept_and_a_slow_reader_slows_the_writer_down() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let wan = Wan::start().unwrap();
    let mut writer = connect(a_to_b(&wan, server(echo), Duration::from_millis(10)));
    let mut reader = writer.try_clone().unwrap();
    let (progress, written) = std::sync::mpsc::channel();
    let sender = thread::spawn(move || {
        let block: Vec<u8> = (0..65536u32).map(|i| (i % 251) as u8).collect();
        for sent in 1..=TOTAL / block.len() {
            writer.write_all(&block).unwrap();
            progress.send(sent * block.len()).unwrap();
        }
    });
    thread::sleep(Duration::from_secs(1));
    let before_reading = written.try_iter().last().unwrap_or(0);
    assert!(before_reading < TOTAL, "nothing was read, and yet all {TOTAL} bytes were taken");
    let mut got = vec![0; TOTAL];
    reader.read_exact(&mut got).unwrap();
    assert!(got.iter().enumerate().all(|(i, byte)| *byte == (i % 65536 % 251) as u8), "order was lost");
    sender.join().unwrap();
}

#[test]
fn a_link_is_cut_alone_and_stays_so_whatever_befalls_its_region() {
    let wan = Wan::start().unwrap();
    let (one, other) = (server(echo), server(echo));
    let (cut, whole) = (a_to_b(&wan, one, ROUND_TRIP), a_to_b(&wan, other, ROUND_TRIP));
    let (mut silent, mut heard) = (connect(cut), connect(whole));
    ping(&mut silent);
    ping(&mut heard);
    wan.cut_link(cut);
    silent.write_all(b"ping").unwrap();
    ping(&mut heard);
    wan.cut("a");
    wan.heal("a");
    assert_silent(&mut silent, 3 * ROUND_TRIP);
    wan.heal_link(cut);
    silent.read_exact(&mut [0; 4]).unwrap();
}
