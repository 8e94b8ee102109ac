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
use std::time::Duration;

/// How much earlier than the lease's end the kernel closes, so that it is not later.
const MARGIN: Duration = Duration::from_millis(10);
/// How long to wait before trying again what did not work.
const AGAIN: Duration = Duration::from_secs(1);

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wanted {
    guarded: bool,
    /// Guarded: until when it is open nevertheless.
    open_until: Time,
}

/// The agent's end of it. When it is dropped the table is removed.
#[derive(Debug)]
pub struct Fence {
    wanted: Wanted,
    orders: Option<mpsc::Sender<Wanted>>,
    standing: Arc<Mutex<KernelFence>>,
    keeper: Option<JoinHandle<()>>,
}

impl Fence {
    /// Makes the table, or takes over the one that an agent before this one left: what it guards stays guarded.
    pub fn new(place: Place) -> Fence {
        let (orders, inbox) = mpsc::channel();
        let standing = Arc::new(Mutex::new(KernelFence::Off));
        let mut keeper = Keeper { place, netlink: None, failed: None, standing: standing.clone() };
        // Before anything is reported: whether it can be armed is known from the start.
        keeper.make();
        let keeper = std::thread::spawn(move || keeper.keep(inbox));
        Fence { wanted: Wanted::default(), orders: Some(orders), standing, keeper: Some(keeper) }
    }

    /// Follows what Postgres is, as just seen, and the lease.
    ///
    /// A port is guarded once its Postgres was seen as a primary, or there is a lease, and is not any more once it was seen as
    /// a standby without one. In between, while it starts, stops or hangs, it stays what it was.
    pub fn follow(&mut self, seen: Option<Role>, leased_until: Option<Time>) {
        let guarded = match (leased_until, seen) {
            (Some(_), _) | (None, Some(Role::Primary)) => true,
            (None, Some(Role::Standby)) => false,
            (None, _) => self.wanted.guarded,
        };
        let wanted = Wanted { guarded, open_until: leased_until.unwrap_or(Time::ZERO) };
        if wanted != self.wanted || seen == Some(Role::Standby) && !guarded {
            self.wanted = wanted;
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

/// Removes the table that an agent before this one left, for one that does not use it: it would stay closed for ever.
pub fn remove_left(place: &Place) {
    // An agent that may not look could not have made one either.
    if let Ok(true) = remove(place) {
        tracing::info!(table = place.table, "kernel fence: removed what was left of it");
    }
}

/// Whether there was a table to remove.
fn remove(place: &Place) -> io::Result<bool> {
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
    fn keep(mut self, inbox: mpsc::Receiver<Wanted>) {
        let mut applied = None;
        while let Ok(first) = inbox.recv() {
            let wanted = inbox.try_iter().last().unwrap_or(first);
            if applied != Some(wanted) && self.apply(wanted) {
                applied = Some(wanted);
            }
        }
        self.remove();
    }

    /// Whether what is wanted is the case.
    fn apply(&mut self, wanted: Wanted) -> bool {
        if !wanted.guarded {
            return self.remove();
        }
        if self.netlink.is_none() && self.failed.is_none_or(|failed| failed + AGAIN <= now()) {
            self.make();
        }
        let Some(netlink) = &mut self.netlink else { return false };
        let result = guard(netlink, wanted.open_until);
        if result.is_err() {
            // Somebody may have flushed all tables: a later word makes it anew.
            self.netlink = None;
        }
        let done = result.is_ok();
        self.stands(result.map(|()| KernelFence::Armed).map_err(|error| error.to_string()));
        done
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
            Err(why) => self.stands(Err(why)),
        }
    }

    /// By a socket of its own: the table may be there though the last change of it failed.
    fn remove(&mut self) -> bool {
        match remove(&self.place) {
            Ok(_) => {
                self.netlink = None;
                if self.failed.is_none() {
                    self.stands(Ok(KernelFence::Ready));
                }
                true
            }
            Err(error) => {
                if self.failed.is_none() {
                    self.stands(Err(format!("its table could not be removed: {error}")));
                }
                false
            }
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
fn guard(netlink: &mut Netlink, open_until: Time) -> io::Result<()> {
    loop {
        let looked = now();
        netlink.change(&changes(open_until, looked))?;
        if now().since(looked) < MARGIN || open_until <= looked {
            return Ok(());
        }
    }
}

fn changes(open_until: Time, now: Time) -> Vec<Change> {
    let left = now.until(open_until).saturating_sub(MARGIN);
    match u64::try_from(left.as_millis()).unwrap_or(u64::MAX) {
        0 => vec![Change::Guard, Change::Close],
        ms => vec![Change::Guard, Change::Close, Change::OpenFor { ms }],
    }
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
        chain("to", "input", at("daddr"), "dport"),
        chain("from", "output", at("saddr"), "sport"),
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
            table: "regent_orders_a_5432".into(),
            address: address.map(|address| address.parse().unwrap()),
            port: 5432,
        };
        for (address, expected) in [
            (Some("10.0.1.5"), "add rule inet regent_orders_a_5432 to ip daddr 10.0.1.5 tcp dport @guarded"),
            (Some("fd00::5"), "add rule inet regent_orders_a_5432 from ip6 saddr fd00::5 tcp sport @guarded"),
            (None, "add rule inet regent_orders_a_5432 to tcp dport @guarded tcp dport != @open drop"),
        ] {
            let script = script(&place(address));
            assert!(script.contains(expected), "{expected:?} is not in {script}");
        }
    }

    #[test]
    fn what_is_left_of_a_lease_is_rounded_down() {
        let wanted = |open_until| Wanted { guarded: true, open_until: Time(open_until) };
        let now = Time(5_000_000_000);
        let (closed, open) = (vec![Change::Guard, Change::Close], Change::OpenFor { ms: 1 });
        assert_eq!(changes(wanted(4_000_000_000), now), closed);
        assert_eq!(changes(wanted(5_000_999_999), now), closed);
        assert_eq!(changes(wanted(5_001_999_999), now), [Change::Guard, Change::Close, open]);
        assert_eq!(changes(Wanted::default(), now), [Change::Unguard]);
    }
}
