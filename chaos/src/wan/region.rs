//! A region: a network namespace with an address block of its own, and how something is run in it.

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{fs, thread};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};
use tokio::runtime::{Builder, Runtime};

use super::namespace::{self, Names, Namespace};
use super::tun::{self, DEVICE, Tun};

/// Where the regions are, as a network: all their addresses.
pub const NETWORKS: &str = "10.77.0.0/16";
/// The same: the third part is the region, from 1.
const NETWORK: [u8; 2] = [10, 77];
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Why a region cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No namespace.
    #[error("cannot make the network namespace {name}")]
    Namespace {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// No device.
    #[error(
        "cannot make a TUN device: expected {DEVICE}, for this user to read and write (the kernel's module tun)"
    )]
    Tun {
        /// Why.
        source: io::Error,
    },
    /// The kernel does not take its address.
    #[error("cannot give region {region} its addresses")]
    Addresses {
        /// Which.
        region: String,
        /// Why.
        source: io::Error,
    },
}

/// A region of a [`super::Wan`], and gone with it, with all that runs in it.
pub struct Region {
    name: String,
    address: Ipv4Addr,
    namespace: Namespace,
}

impl Region {
    pub(super) fn make(
        name: &str,
        place: usize,
        run: &str,
        names: Option<&Names>,
    ) -> Result<(Region, Tun), Refused> {
        // The thread stays in the namespace that it makes, so it is one for this alone.
        in_own_thread(|| {
            let of_run = namespace::name(run, name);
            let namespace = Namespace::enter_new(&of_run, names)
                .map_err(|source| Refused::Namespace { name: of_run, source })?;
            let tun = Tun::open().map_err(|source| Refused::Tun { source })?;
            let address = address(place);
            tun::configure(address)
                .map_err(|source| Refused::Addresses { region: name.to_owned(), source })?;
            // What most servers use, where the kernel lets a namespace choose; else what this machine uses stays.
            let _ = fs::write(CONGESTION_CONTROL, "cubic");
            Ok((Region { name: name.to_owned(), address, namespace }, tun))
        })
    }

    /// As in the topology.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its first address. All 256 that differ in the last part are here, so that each process can have one of its own.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What is typed before a command to run it in this region.
    pub fn entry(&self) -> String {
        self.namespace.entry()
    }

    /// A program that will run in this region and ends by SIGKILL when *the thread that starts it* ends. What it starts itself
    /// ends with the region.
    pub fn command(&self, program: impl AsRef<OsStr>) -> io::Result<Command> {
        self.command_of(program, None, true)
    }

    /// The same as another user. `Command::uid` would give the right to enter the region away before it is used.
    pub fn command_as(&self, program: impl AsRef<OsStr>, user: u32, group: u32) -> io::Result<Command> {
        self.command_of(program, Some((user, group)), true)
    }

    /// A program that will run in this region, as a user and group if any, and ends with the region, whatever becomes of the
    /// thread that starts it. Nobody but the region ends it: whoever starts it has to care for what a SIGKILL leaves.
    pub fn daemon(&self, program: impl AsRef<OsStr>, user: Option<(u32, u32)>) -> io::Result<Command> {
        self.command_of(program, user, false)
    }

    /// Runs this on a thread in the region: a socket that is made there stays there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_own_thread(|| self.namespace.enter().map(|()| act()))
    }

    /// A runtime with so many workers, all of whose threads are in this region: what is spawned on it dials and listens here.
    /// Not what it is made to block on, which runs on the calling thread.
    pub fn runtime(&self, workers: usize) -> io::Result<Runtime> {
        let namespace = self.namespace.handle()?;
        let enter = move || namespace::enter(&namespace).expect("who made a namespace may enter it");
        let name = format!("in-{}", self.name);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers).thread_name(name).on_thread_start(enter).enable_all().build()
    }

    fn command_of(
        &self,
        program: impl AsRef<OsStr>,
        user: Option<(u32, u32)>,
        ends_with_thread: bool,
    ) -> io::Result<Command> {
        let user = user.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group)));
        let namespace = self.namespace.handle()?;
        let parent = Pid::this();
        let mut command = Command::new(program);
        let prepare = move || {
            namespace::enter(&namespace)?;
            if let Some((user, group)) = user {
                setgroups(&[group])?;
                setgid(group)?;
                setuid(user)?;
            }
            if !ends_with_thread {
                return Ok(());
            }
            // After the change of user, which would undo it.
            set_pdeathsig(Signal::SIGKILL)?;
            // Who was orphaned before that hears nothing.
            if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        };
        // SAFETY: runs between fork and exec, where only system calls are allowed: it makes no other, and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        Ok(command)
    }
}

/// Makes a program run outside all regions, where this process began, whichever region the calling thread is in.
pub fn outside(command: &mut Command) -> io::Result<()> {
    let namespace = namespace::of_process()?;
    // SAFETY: runs between fork and exec: a plain system call, which allocates nothing.
    unsafe { command.pre_exec(move || namespace::enter(&namespace)) };
    Ok(())
}

/// The place of the region that a packet goes to; none if that is no region's address.
pub(super) fn place_of(packet: &[u8]) -> Option<usize> {
    let version = packet.first()? >> 4;
    let [a, b, region, _] = *packet.get(16..20)?.first_chunk()?;
    let known = version == 4 && [a, b] == NETWORK;
    usize::from(region).checked_sub(1).filter(|_| known)
}

fn address(place: usize) -> Ipv4Addr {
    let [a, b] = NETWORK;
    // A topology has at most 64 regions.
    Ipv4Addr::new(a, b, place as u8 + 1, 1)
}

fn in_own_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let done = thread::scope(|scope| scope.spawn(act).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_goes_where_its_address_says() {
        let to = |first: u8, address: [u8; 4]| {
            let mut packet = [0; 20];
            packet[0] = first;
            packet[16..].copy_from_slice(&address);
            place_of(&packet)
        };
        assert_eq!(to(0x45, [10, 77, 1, 1]), Some(0));
        assert_eq!(to(0x46, [10, 77, 64, 200]), Some(63));
        assert_eq!(to(0x45, [10, 77, 0, 1]), None);
        assert_eq!(to(0x45, [10, 78, 1, 1]), None);
        assert_eq!(to(0x60, [10, 77, 1, 1]), None, "IPv6");
        assert_eq!(place_of(&[0x45; 19]), None, "not even a header");
        assert_eq!(place_of(&[]), None);
    }
}
