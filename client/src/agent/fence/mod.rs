//! The fence in the kernel: while the local Postgres is a primary, its port is open only as long as the lease lasts.
//!
//! It stands beside the gate and replaces nothing: no promise rests on it, and an agent that cannot arm it says so and goes
//! on. What it adds is for the case that the gate is not what it should be (another library, a patched server): a primary
//! whose lease is over does not only not acknowledge, nobody hears it. The kernel closes the port by itself, so it does when
//! the agent is stopped, hangs, or was killed; established connections fall silent as well, and come back by TCP's own
//! retransmission when the lease does.
//!
//! ```text
//! table inet regent.CLUSTER.GROUP.INSTANCE    from when Postgres is a primary until it is a standby
//!   set guarded   the port
//!   set open      the port, with a timeout that is the rest of the lease
//!   to, from      a packet of the port is dropped that is guarded and not open
//! ```
//!
//! The kernel is told how long, not until when, and counts in its own ticks, which it rounds down. So `MARGIN` is taken off,
//! and who was kept waiting for longer than that between looking at the clock and hearing the kernel's answer looks and says
//! it again. An agent that is stopped just there opens nothing while it is stopped, and corrects itself at once when it goes
//! on. The kernel does not count time in suspension, which the gate does.
//!
//! The deadline is the whole lease's, not the gate's: while a switchover holds commits the gate is opened no further, and the
//! standbys still have to be sent the last of the WAL.
//!
//! What an agent leaves behind when it ends, in whatever way, is what its Postgres needs: beside a primary the table, which
//! closes by itself when the lease ends, like the gate; beside a standby nothing. The next agent takes it over as it is.
//!
//! A thread of its own does the work, on the last word it was given: the loop that writes the lease to the gate never waits
//! for the kernel's tables, which others may hold.

mod netlink;

use super::now;
use netlink::{Change, Netlink};
use nix::errno::Errno;
use regent_core::agent::Event;
use regent_core::message::{KernelFence, Role};
use regent_core::time::Time;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much earlier than the lease's end the kernel closes, so that it is not later.
const MARGIN: Duration = Duration::from_millis(10);
/// How long to wait before trying again what did not work.
const AGAIN: Duration = Duration::from_secs(5);
/// How long `nft` may take: others may hold the kernel's tables.
const NFT_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Whose port it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The name of the table.
    pub table: String,
    /// The address that Postgres listens on; none if that is every address, or a name.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

/// What the kernel shall let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Wanted {
    guarded: bool,
    /// Guarded: until when it is open nevertheless. None while this agent has had no lease: then what one before it has told
    /// the kernel still counts, as it does for the gate.
    open_until: Option<Time>,
}

/// The agent's end of it.
#[derive(Debug)]
pub struct Fence {
    /// None until it is known what Postgres is: what was guarded stays guarded.
    wanted: Option<Wanted>,
    /// Whether this agent has had a lease.
    led: bool,
    orders: Option<mpsc::Sender<Wanted>>,
    standing: Arc<Mutex<KernelFence>>,
    keeper: Option<JoinHandle<()>>,
}

impl Fence {
    /// Makes the table, or takes over the one that an agent before this one left.
    pub fn new(place: Place) -> Fence {
        let (orders, inbox) = mpsc::channel();
        let standing = Arc::new(Mutex::new(KernelFence::Off));
        let keeper = Keeper { place, netlink: None, failed: None, standing: standing.clone() };
        let keeper = std::thread::spawn(move || keeper.keep(&inbox));
        Fence { wanted: None, led: false, orders: Some(orders), standing, keeper: Some(keeper) }
    }

    /// Follows what Postgres is, as just seen, and the lease.
    ///
    /// A port is guarded once its Postgres was seen as a primary, or there is a lease, and is not any more once it was seen as
    /// a standby without one. In between, while it starts, stops or hangs, it stays what it was.
    pub fn follow(&mut self, seen: Option<Role>, leased_until: Option<Time>) {
        self.led |= leased_until.is_some();
        let guarded = match (leased_until, seen) {
            (Some(_), _) | (None, Some(Role::Primary)) => true,
            (None, Some(Role::Standby)) => false,
            (None, _) => match self.wanted {
                Some(wanted) => wanted.guarded,
                None => return,
            },
        };
        let wanted = Wanted { guarded, open_until: leased_until.or(self.led.then_some(Time::ZERO)) };
        // What is seen anew is also said anew: somebody may have removed all tables.
        if Some(wanted) != self.wanted || seen.is_some() {
            self.wanted = Some(wanted);
            if let Some(orders) = &self.orders {
                let _ = orders.send(wanted); // it listens until this end is dropped
            }
        }
    }

    /// What an event says about what Postgres is.
    pub fn seen_in(event: &Event) -> Option<Role> {
        match event {
            Event::Observed(observation) => Some(observation.role),
            _ => None,
        }
    }

    /// Whether it is armed.
    pub fn standing(&self) -> KernelFence {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join(); // a keeper that panicked has left the table, which closes by itself
        }
    }
}

/// Removes the table that an agent left, for an instance that has no such fence any more: it would stay closed for ever.
/// Whether there was one.
///
/// # Errors
/// The kernel's: without CAP_NET_ADMIN above all.
pub fn remove_left(place: &Place) -> io::Result<bool> {
    let mut netlink = Netlink::open(&place.table, place.port)?;
    match netlink.change(&[Change::Remove]) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who talks to the kernel.
struct Keeper {
    place: Place,
    /// There while the table is.
    netlink: Option<Netlink>,
    /// Since when it is known that the table cannot be made, if it could not be.
    failed: Option<Time>,
    standing: Arc<Mutex<KernelFence>>,
}

impl Keeper {
    fn keep(mut self, inbox: &mpsc::Receiver<Wanted>) {
        self.make();
        let (mut last, mut done) = (None, false);
        while let Ok(first) = inbox.recv() {
            let wanted = inbox.try_iter().last().unwrap_or(first);
            if wanted.guarded || !done || last != Some(wanted) {
                done = self.apply(wanted);
                last = Some(wanted);
            }
        }
        self.leave(last);
    }

    /// Whether what is wanted is the case.
    fn apply(&mut self, wanted: Wanted) -> bool {
        if self.netlink.is_none() && self.may_try(wanted.guarded) {
            self.make();
        }
        if !wanted.guarded {
            return self.remove();
        }
        let Some(netlink) = &mut self.netlink else { return false };
        let result = guard(netlink, wanted.open_until);
        if result.is_err() {
            // Somebody may have removed all tables: a later word makes it anew.
            self.netlink = None;
        }
        let done = result.is_ok();
        if !done && self.failed.is_some() {
            return false; // why it could not be made is said
        }
        self.stands(result.map(|()| KernelFence::Armed).map_err(|error| error.to_string()));
        done
    }

    /// A table that could be made is made again at once where it is needed; one that could not, later, needed or not.
    fn may_try(&self, needed: bool) -> bool {
        self.failed.map_or(needed, |failed| failed + AGAIN <= now())
    }

    fn make(&mut self) {
        let made = nft(&script(&self.place)).and_then(|()| {
            Netlink::open(&self.place.table, self.place.port).map_err(|error| error.to_string())
        });
        self.failed = made.is_err().then(now);
        match made {
            Ok(netlink) => {
                self.netlink = Some(netlink);
                self.stands(Ok(KernelFence::Ready));
            }
            Err(why) => {
                self.stands(Err(why));
                // One that an agent before this one left must not stay closed because it cannot be made anew.
                self.netlink = Netlink::open(&self.place.table, self.place.port).ok();
            }
        }
    }

    /// By a socket of its own: the table may be there though the last change of it failed. Whether it need not be tried again.
    fn remove(&mut self) -> bool {
        let removed = remove_left(&self.place);
        if removed.is_ok() {
            self.netlink = None;
        }
        if self.failed.is_some() {
            return false; // why it cannot be armed is said
        }
        let done = removed.is_ok();
        let stands = removed.map(|_| KernelFence::Ready);
        self.stands(stands.map_err(|error| format!("its table could not be removed: {error}")));
        done
    }

    /// The agent ends.
    fn leave(&mut self, last: Option<Wanted>) {
        match last {
            Some(Wanted { guarded: false, .. }) => {
                self.remove();
            }
            Some(_) if self.netlink.is_some() => {
                let table = &self.place.table;
                tracing::info!(
                    "kernel fence: the primary's port closes when the lease ends, and the next start of the agent goes on \
                     with it; `nft delete table inet {table}` opens it to everybody"
                );
            }
            _ => {}
        }
    }

    fn stands(&self, result: Result<KernelFence, String>) {
        let fence = result.unwrap_or_else(KernelFence::NotArmed);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if *standing != fence {
            match &fence {
                KernelFence::NotArmed(why) => tracing::warn!("kernel fence: not armed: {why}"),
                KernelFence::Armed => tracing::info!(table = self.place.table, "kernel fence: armed"),
                KernelFence::Off | KernelFence::Ready => tracing::info!("kernel fence: ready for a primary"),
            }
            *standing = fence;
        }
    }
}

/// Keeps the port to the lease.
fn guard(netlink: &mut Netlink, open_until: Option<Time>) -> io::Result<()> {
    let Some(open_until) = open_until else { return netlink.change(&[Change::Forget, Change::Guard]) };
    loop {
        let looked = now();
        netlink.change(&changes(open_until, looked))?;
        if now().since(looked) < MARGIN || open_until <= looked {
            return Ok(());
        }
    }
}

/// A table that was left may guard another port, which is not this instance's any more.
fn changes(open_until: Time, now: Time) -> Vec<Change> {
    let left = now.until(open_until).saturating_sub(MARGIN);
    let mut changes = vec![Change::Forget, Change::Guard, Change::Close];
    let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    changes.extend((ms > 0).then_some(Change::OpenFor { ms }));
    changes
}

/// Makes what is missing; what is in the sets stays.
fn script(Place { table, address, port: _ }: &Place) -> String {
    let at = |direction: &str| match address {
        Some(IpAddr::V4(address)) => format!("ip {direction} {address} "),
        Some(IpAddr::V6(address)) => format!("ip6 {direction} {address} "),
        None => String::new(),
    };
    let chain = |name, hook, address: String, port| {
        format!(
            "add chain inet {table} {name} {{ type filter hook {hook} priority -10; policy accept; }}\n\
             flush chain inet {table} {name}\n\
             add rule inet {table} {name} {address}tcp {port} @guarded tcp {port} != @open drop\n"
        )
    };
    format!(
        "add table inet {table}\n\
         add set inet {table} guarded {{ type inet_service; }}\n\
         add set inet {table} open {{ type inet_service; flags timeout; }}\n\
         {}{}",
        chain("inbound", "input", at("daddr"), "dport"),
        chain("outbound", "output", at("saddr"), "sport"),
    )
}

/// Has `nft` carry a script out, all of it or nothing.
fn nft(script: &str) -> Result<(), String> {
    let cannot = |error: io::Error| {
        let hint = "the package nftables has it; a service's PATH may lack /usr/sbin";
        format!("cannot run nft: {error} ({hint})")
    };
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(script.as_bytes()); // one that has ended says why below
    }
    let deadline = Instant::now() + NFT_PATIENCE;
    while child.try_wait().map_err(cannot)?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill().and_then(|()| child.wait()); // it may end at this moment
            return Err(format!("nft did not end within {NFT_PATIENCE:?} and was killed"));
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default().trim();
    let hint = if first.contains("not permitted") { " (it needs CAP_NET_ADMIN)" } else { "" };
    Err(format!("nft: {first}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_address_only_where_there_is_one() {
        let place = |address: Option<&str>| Place {
            table: "regent.demo.orders.a".into(),
            address: address.map(|address| address.parse().unwrap()),
            port: 5432,
        };
        for (address, expected) in [
            (
                Some("10.0.1.5"),
                "add rule inet regent.demo.orders.a inbound ip daddr 10.0.1.5 tcp dport @guarded",
            ),
            (
                Some("fd00::5"),
                "add rule inet regent.demo.orders.a outbound ip6 saddr fd00::5 tcp sport @guarded",
            ),
            (None, "add rule inet regent.demo.orders.a inbound tcp dport @guarded tcp dport != @open drop"),
        ] {
            let script = script(&place(address));
            assert!(script.contains(expected), "{expected:?} is not in {script}");
        }
    }

    #[test]
    fn what_is_left_of_a_lease_is_rounded_down() {
        let now = Time(5_000_000_000);
        let closed = [Change::Forget, Change::Guard, Change::Close];
        for (until_ns, open_for_ms) in [
            (4_000_000_000, None),
            (5_000_000_000, None),
            (5_010_999_999, None),
            (5_011_000_000, Some(1)),
            (5_251_999_999, Some(241)),
        ] {
            let open = open_for_ms.map(|ms| Change::OpenFor { ms });
            let expected: Vec<Change> = closed.into_iter().chain(open).collect();
            assert_eq!(changes(Time(until_ns), now), expected, "{until_ns}");
        }
    }
}
