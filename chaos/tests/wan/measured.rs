//! What the emulator does on this machine; a figure, not a test:
//! `cargo test -p regent-chaos --test wan -- --ignored --nocapture measured`.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use regent_chaos::wan::command::Which;
use regent_chaos::wan::terms::Change;

use super::inside::{Network, PATIENCE, connect, network, sink, udp};

const PINGS: usize = 200;
const LOAD: Duration = Duration::from_secs(5);

fn both(wan: &Network, words: &str) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let which = Which::Both("a".into(), "b".into());
    wan.change(&which, Change::parse(&words).unwrap()).unwrap();
    wan.forget_lateness();
}

fn late(wan: &Network) -> String {
    let late = wan.lateness();
    let valid = if late.valid() { "valid" } else { "invalid" };
    format!("late p50 {:.2} p99 {:.2} p99.9 {:.2} ms, {valid}", late.p50_ms, late.p99_ms, late.p999_ms)
}

#[test]
#[ignore = "measures"]
fn measured() {
    let Some(wan) = network() else { return };
    for delay in ["0ms", "1ms", "40ms", "125ms"] {
        both(&wan, &format!("delay {delay}"));
        round_trips(&wan, delay);
    }
    for terms in ["delay 0ms rate unlimited", "delay 40ms rate unlimited", "delay 40ms rate 100mbit"] {
        both(&wan, terms);
        stream(&wan, terms);
    }
    both(&wan, "delay 1ms rate unlimited");
    small_packets(&wan);
}

fn round_trips(wan: &Network, delay: &str) {
    let [(a, to_a), (b, to_b)] = [udp(&wan.regions()[0]), udp(&wan.regions()[1])];
    let mut times: Vec<Duration> = (0..PINGS)
        .map(|_| {
            let start = Instant::now();
            a.send_to(b"ping", to_b).unwrap();
            b.recv(&mut [0; 4]).unwrap();
            b.send_to(b"pong", to_a).unwrap();
            a.recv(&mut [0; 4]).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    let ms = |place: usize| times[place].as_secs_f64() * 1e3;
    let (least, half, most) = (ms(0), ms(PINGS / 2), ms(PINGS * 99 / 100));
    println!("twice {delay}: least {least:.2} p50 {half:.2} p99 {most:.2} ms; {}", late(wan));
}

fn stream(wan: &Network, terms: &str) {
    let [a, b] = [&wan.regions()[0], &wan.regions()[1]];
    let mut stream = connect(a, sink(b));
    let before = wan.links()[0].counts;
    let start = Instant::now();
    while start.elapsed() < LOAD {
        stream.write_all(&[0; 65536]).unwrap();
    }
    let (after, seconds) = (wan.links()[0].counts, start.elapsed().as_secs_f64());
    let megabytes = (after.bytes - before.bytes) as f64 / 1e6 / seconds;
    let packets = (after.arrived - before.arrived) as f64 / seconds;
    println!("one TCP stream, {terms}: {megabytes:.0} MB/s, {packets:.0} packets/s; {}", late(wan));
    // Until the far end has read it all, so that nothing of it disturbs what is measured next.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.read(&mut [0]);
}

fn small_packets(wan: &Network) {
    let [(a, _), (b, to_b)] = [udp(&wan.regions()[0]), udp(&wan.regions()[1])];
    b.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = Instant::now();
    let before = wan.links()[0].counts.arrived;
    thread::scope(|scope| {
        scope.spawn(|| {
            while start.elapsed() < LOAD {
                a.send_to(&[0; 100], to_b).unwrap();
            }
        });
    });
    let packets = (wan.links()[0].counts.arrived - before) as f64 / start.elapsed().as_secs_f64();
    println!("UDP of 100 bytes: {packets:.0} packets/s; {}", late(wan));
}
