//! The relay thread: owns the links, obeys commands, ticks.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender as Reply;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::connection::{self, Path};
use super::timer::Timer;
use super::{Lateness, LinkSpec};

const TICK: Duration = Duration::from_millis(5);

pub(super) enum Command {
    Link { spec: LinkSpec, reply: Reply<io::Result<SocketAddr>> },
    Cut { region: String, reply: Reply<()> },
    Heal { region: String, power_lost: bool, reply: Reply<()> },
    CutLink { listen: SocketAddr, cut: bool, reply: Reply<()> },
    Stop,
}

/// What a link's connections obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkState {
    pub cut: bool,
    /// How many times this link came back after its region had lost power: connections of an older life are reset.
    pub life: u64,
}

struct Link {
    from: String,
    to: String,
    listen: SocketAddr,
    /// Cut alone, whatever befalls its regions.
    cut: bool,
    state: watch::Sender<LinkState>,
}

struct Relay {
    links: Vec<Link>,
    cut: BTreeSet<String>,
    lateness: Arc<Lateness>,
}

pub(super) async fn run(mut inbox: mpsc::UnboundedReceiver<Command>, lateness: Arc<Lateness>) {
    raise_priority();
    tokio::spawn(tick(lateness.clone()));
    let mut relay = Relay { links: Vec::new(), cut: BTreeSet::new(), lateness };
    while let Some(command) = inbox.recv().await {
        // A caller that no longer waits for its reply has lost interest, and nothing else.
        match command {
            Command::Link { spec, reply } => drop(reply.send(relay.open(spec).await)),
            Command::Cut { region, reply } => {
                relay.cut.insert(region);
                relay.publish(None);
                let _ = reply.send(());
            }
            Command::Heal { region, power_lost, reply } => {
                relay.cut.remove(&region);
                relay.publish(power_lost.then_some(&region));
                let _ = reply.send(());
            }
            Command::CutLink { listen, cut, reply } => {
                relay.links.iter_mut().filter(|link| link.listen == listen).for_each(|link| link.cut = cut);
                relay.publish(None);
                let _ = reply.send(());
            }
            Command::Stop => return,
        }
    }
}

impl Relay {
    async fn open(&mut self, spec: LinkSpec) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((spec.listen, 0)).await?;
        let address = listener.local_addr()?;
        let cut = self.cut.contains(&spec.from) || self.cut.contains(&spec.to);
        let (state, watched) = watch::channel(LinkState { cut, life: 0 });
        let path = Path::new(spec.target, spec.round_trip / 2, watched, self.lateness.clone());
        tokio::spawn(connection::accept(listener, path));
        self.links.push(Link { from: spec.from, to: spec.to, listen: address, cut: false, state });
        Ok(address)
    }

    /// Tells each link what it is now; links of `rebooted` begin a new life.
    fn publish(&self, rebooted: Option<&String>) {
        for link in &self.links {
            let touched = rebooted.is_some_and(|region| *region == link.from || *region == link.to);
            link.state.send_modify(|state| {
                state.cut = link.cut || self.cut.contains(&link.from) || self.cut.contains(&link.to);
                state.life += u64::from(touched);
            });
        }
    }
}

async fn tick(lateness: Arc<Lateness>) {
    let timer = Timer::new().expect("a timerfd for the relay thread's tick");
    loop {
        let due = Instant::now() + TICK;
        timer.until(due).await.expect("waiting on a timerfd");
        lateness.tick(due.elapsed());
    }
}

/// Real-time priority, else the best niceness there is, else none: the measured lateness tells how well it went.
fn raise_priority() {
    let lowest_real_time = libc::sched_param { sched_priority: 1 };
    // SAFETY: plain system calls on the calling thread; the parameter outlives the call.
    unsafe {
        let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        if libc::sched_setscheduler(0, policy, &lowest_real_time) != 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, -20);
        }
    }
}
