//! What the agent tells the kernel twenty times a second, as nf_tables' netlink has it: a few changes of two sets, all of them
//! in one transaction. `nft` could say the same at the price of a process each time; it makes the table.
//!
//! ```text
//! batch begin | one message a change, each with the table's and the set's name | batch end
//! ```
//!
//! To open again is to flush the set and to add the port with a new timeout: every kernel with nf_tables does that, as one
//! step, while only new ones change the timeout of an element that is there.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// How long the kernel may take to answer: others may hold its tables.
const PATIENCE: TimeVal = TimeVal::new(2, 0);

const NFPROTO_INET: u8 = 1;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;

/// A change of the table's sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// No port is guarded.
    Forget,
    /// The port is guarded.
    Guard,
    /// It is closed if it is guarded.
    Close,
    /// After `Close`: it is open for so long.
    OpenFor {
        /// Milliseconds.
        ms: u64,
    },
    /// The table is gone.
    Remove,
}

/// A socket, and what every message names.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    table: String,
    port: u16,
    sequence: u32,
}

impl Netlink {
    pub fn open(table: &str, port: u16) -> io::Result<Netlink> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
        Ok(Netlink { socket, table: table.to_owned(), port, sequence: 0 })
    }

    /// Carries the changes out, all or none, and waits until they are.
    pub fn change(&mut self, changes: &[Change]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut batch = Vec::with_capacity(512);
        message(&mut batch, (BATCH_BEGIN, 0, SUBSYSTEM), self.sequence, &[]);
        for (index, change) in changes.iter().enumerate() {
            // The last is acknowledged when all were; one that fails before is answered before.
            let acknowledged = if index + 1 == changes.len() { ACKNOWLEDGE } else { 0 };
            let (kind, body) = self.encode(*change);
            message(&mut batch, (kind, acknowledged, 0), self.sequence, &body);
        }
        message(&mut batch, (BATCH_END, 0, SUBSYSTEM), self.sequence, &[]);
        sendto(self.socket.as_raw_fd(), &batch, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        self.answer()
    }

    fn encode(&self, change: Change) -> (u16, Vec<u8>) {
        let mut body = Vec::new();
        attribute(&mut body, 1, &text(&self.table));
        let (kind, set, element) = match change {
            Change::Remove => return (DELETE_TABLE, body),
            Change::Forget => (DELETE_ELEMENT, "guarded", None),
            Change::Guard => (NEW_ELEMENT, "guarded", Some(None)),
            Change::Close => (DELETE_ELEMENT, "open", None),
            Change::OpenFor { ms } => (NEW_ELEMENT, "open", Some(Some(ms))),
        };
        attribute(&mut body, 2, &text(set));
        if let Some(timeout_ms) = element {
            let mut one = Vec::new();
            let mut key = Vec::new();
            attribute(&mut key, 1, &self.port.to_be_bytes());
            attribute(&mut one, 1 | NESTED, &key);
            if let Some(ms) = timeout_ms {
                attribute(&mut one, 4, &u64::to_be_bytes(ms));
            }
            let mut list = Vec::new();
            attribute(&mut list, 1 | NESTED, &one);
            attribute(&mut body, 3 | NESTED, &list);
        }
        (kind, body)
    }

    /// The first answer to the batch that was sent last decides.
    fn answer(&self) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let size = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let short = || io::Error::other("the kernel's answer is shorter than a netlink message");
            let (head, code) = buffer[..size].split_first_chunk::<16>().ok_or_else(short)?;
            let code = code.first_chunk::<4>().ok_or_else(short)?;
            let kind = u16::from_ne_bytes([head[4], head[5]]);
            let sequence = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
            if kind != ERROR || sequence != self.sequence {
                continue; // what is left of an answer to a batch before
            }
            return match i32::from_ne_bytes(*code) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(-errno)),
            };
        }
    }
}

/// A netlink message with netfilter's header.
fn message(out: &mut Vec<u8>, (kind, flags, resource): (u16, u16, u16), sequence: u32, body: &[u8]) {
    let family = if resource == 0 { NFPROTO_INET } else { 0 };
    let length = 20 + body.len() as u32;
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((REQUEST | flags).to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    out.extend(body);
}

/// An attribute, padded to the next word. Netlink's headers are in the machine's order, nf_tables' numbers in the network's.
fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}
