//! The one thread between the regions: reads packets from their devices, asks the links what becomes of them, and hands
//! them on when they are due. It holds no opinion; [`super::link`] does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

use super::lateness::{Lateness, TICK};
use super::link::{Counts, Fate, Link};
use super::priority;
use super::region::place_of;
use super::terms::{Change, Terms};
use super::topology::Way;
use super::tun::Tun;

/// Packets that are read from one device before the others, and what is due, have their turn.
const TURN: usize = 64;

/// What the thread is told. Each is answered when it is in force.
pub(super) enum Order {
    Change(Vec<Way>, Change, Sender<()>),
    Cut(Vec<Way>, Sender<()>),
    Heal(Vec<Way>, Sender<()>),
    Report(Sender<Vec<(Way, Terms, bool, Counts)>>),
    Stop,
}

/// A packet under way. The earliest is first, and of two the one that came first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    due: Duration,
    number: u64,
    way: Way,
    life: u64,
    packet: Vec<u8>,
}

pub(super) struct Forwarder {
    tuns: Vec<Tun>,
    links: BTreeMap<Way, Link>,
    under_way: BinaryHeap<Reverse<Parcel>>,
    number: u64,
    start: Instant,
    tick: Duration,
    lateness: Arc<Lateness>,
    orders: Receiver<Order>,
    wake: Arc<EventFd>,
}

impl Forwarder {
    pub fn new(
        tuns: Vec<Tun>,
        links: BTreeMap<Way, Link>,
        lateness: Arc<Lateness>,
        orders: Receiver<Order>,
        wake: Arc<EventFd>,
    ) -> Forwarder {
        let under_way = BinaryHeap::new();
        Forwarder {
            tuns,
            links,
            under_way,
            number: 0,
            start: Instant::now(),
            tick: TICK,
            lateness,
            orders,
            wake,
        }
    }

    /// Until it is told to stop, or nobody is left who could tell it.
    pub fn run(mut self) {
        priority::raise();
        // Without real-time priority the kernel would round every waiting up by 50 us.
        let _ = set_timerslack(1);
        loop {
            let (readable, told) = self.wait();
            self.measure_tick();
            if told && !self.obey() {
                return;
            }
            self.deliver();
            readable.into_iter().for_each(|from| self.take(from));
        }
    }

    /// Waits for packets, orders, and what is due next. Says from where there are packets, and whether there are orders.
    fn wait(&self) -> (Vec<usize>, bool) {
        let next = self.under_way.peek().map_or(self.tick, |first| first.0.due.min(self.tick));
        let left = next.saturating_sub(self.now());
        let whole: Vec<usize> = (0..self.tuns.len()).filter(|place| !self.tuns[*place].is_broken()).collect();
        let tuns = whole.iter().map(|place| self.tuns[*place].as_fd());
        let mut fds: Vec<PollFd> =
            tuns.chain([self.wake.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // A signal only ends the waiting early; then nothing is ready yet.
        let waited = ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None);
        let ready = |fd: &PollFd| waited.is_ok() && fd.any().unwrap_or(false);
        let readable = whole.iter().zip(&fds).filter(|(_, fd)| ready(fd)).map(|(place, _)| *place).collect();
        (readable, fds.last().is_some_and(ready))
    }

    fn measure_tick(&mut self) {
        let now = self.now();
        if now >= self.tick {
            self.lateness.tick(now - self.tick);
            self.tick = now + TICK;
        }
    }

    /// Says whether to go on. Whoever no longer waits for an answer has lost interest, and nothing else.
    fn obey(&mut self) -> bool {
        let _ = self.wake.read();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Change(ways, change, done) => {
                    self.each(&ways, |link| link.set(change.of(link.terms())));
                    let _ = done.send(());
                }
                Order::Cut(ways, done) => {
                    self.each(&ways, Link::cut);
                    let _ = done.send(());
                }
                Order::Heal(ways, done) => {
                    self.each(&ways, Link::heal);
                    let _ = done.send(());
                }
                Order::Report(answer) => {
                    let links = self.links.iter();
                    let report = links.map(|(way, link)| (*way, link.terms(), link.is_cut(), link.counts()));
                    let _ = answer.send(report.collect());
                }
                Order::Stop => return false,
            }
        }
        true
    }

    fn each(&mut self, ways: &[Way], act: impl Fn(&mut Link)) {
        ways.iter().filter_map(|way| self.links.get_mut(way).map(&act)).for_each(drop);
    }

    fn deliver(&mut self) {
        while self.under_way.peek().is_some_and(|first| first.0.due <= self.now()) {
            let Some(Reverse(Parcel { due, way, life, packet, .. })) = self.under_way.pop() else { return };
            let link =
                self.links.get_mut(&way).expect("a parcel was offered to a link, and none is ever removed");
            if link.arrives(life, packet.len() as u64) {
                self.lateness.chunk(self.start.elapsed().saturating_sub(due));
                self.tuns[way.to].send(&packet);
            }
        }
    }

    fn take(&mut self, from: usize) {
        let mut buffer = Tun::buffer();
        for _ in 0..TURN {
            let Some(length) = self.tuns[from].receive(&mut buffer) else { return };
            self.offer(from, &buffer[..length]);
        }
    }

    /// Packets to nobody, and IPv6, vanish uncounted.
    fn offer(&mut self, from: usize, packet: &[u8]) {
        let now = self.now();
        let Some(way) = place_of(packet).map(|to| Way { from, to }) else { return };
        let Some(link) = self.links.get_mut(&way) else { return };
        if let Fate::Arrives { due, copies } = link.offer(now, packet.len() as u64) {
            let life = link.life();
            for _ in 0..copies {
                self.number += 1;
                let parcel = Parcel { due, number: self.number, way, life, packet: packet.to_vec() };
                self.under_way.push(Reverse(parcel));
            }
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
