//! A wide area network in user space: relays on loopback that delay, and on demand swallow, what passes.
//!
//! Each [`LinkSpec`] is one ordered pair: how processes of region `from` reach one server of region `to`. The
//! link listens on a port of its own and forwards to the server. Each direction is delayed by half the round
//! trip: a chunk is stamped when it is read and written no earlier than stamp + half. Order is kept, chunks
//! are neither merged nor split on purpose, and buffering is bounded, so a slow reader slows its writer down.
//!
//! What differs from a real link, said aloud:
//! - A client's `connect` returns at once, because the kernel accepts for the relay. The handshake is charged
//!   to what follows instead: the server sees the connection 1.5 round trips after the client asked, and the
//!   client's first bytes with it, exactly as over a real link. A refused connection is a reset at that time
//!   (a real refusal takes one round trip).
//! - A cut link holds what is under way and delivers it on heal, as TCP would by sending again, but without
//!   waiting for a retransmission timer. After [`Wan::restore`] (the region had lost its power) nothing that
//!   was under way is delivered: old connections are reset, as a host that has rebooted would answer.
//! - A connection opened while the link is cut is accepted and never answered, and is reset on heal.
//!
//! The relays run on one OS thread of their own, at real-time priority where that is allowed (a network has
//! no share in its hosts' processors), and measure their own lateness: see [`Lateness`].

mod connection;
mod lateness;
mod relay;
#[cfg(test)]
mod tests;
mod timer;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc as reply;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

pub use lateness::{Lateness, LatenessReport};
use relay::Command;

/// One ordered pair: processes in `from` reach the server `target`, which is in region `to`.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Region whose processes use this link.
    pub from: String,
    /// Region of the server.
    pub to: String,
    /// Loopback address that the link listens on (the port is chosen).
    pub listen: IpAddr,
    /// The server.
    pub target: SocketAddr,
    /// Time there and back.
    pub round_trip: Duration,
}

/// Handle of the relay thread; dropping it closes every link.
pub struct Wan {
    commands: mpsc::UnboundedSender<Command>,
    lateness: Arc<Lateness>,
    thread: Option<JoinHandle<()>>,
}

impl Wan {
    /// Starts the relay thread, without links.
    pub fn start() -> io::Result<Wan> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let lateness = Arc::new(Lateness::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let measured = lateness.clone();
        let thread = std::thread::Builder::new()
            .name("wan".into())
            .spawn(move || runtime.block_on(relay::run(inbox, measured)))?;
        Ok(Wan { commands, lateness, thread: Some(thread) })
    }

    /// Opens a link and says where it listens.
    pub fn link(&self, spec: LinkSpec) -> io::Result<SocketAddr> {
        self.ask(|reply| Command::Link { spec, reply })
    }

    /// Black-holes every link to and from `region`. When this returns, no byte, close or reset passes any more.
    pub fn cut(&self, region: &str) {
        self.ask(|reply| Command::Cut { region: region.into(), reply });
    }

    /// Undoes [`Wan::cut`]; what was under way arrives now.
    pub fn heal(&self, region: &str) {
        self.ask(|reply| Command::Heal { region: region.into(), power_lost: false, reply });
    }

    /// Black-holes one link, by the address it listens on.
    pub fn cut_link(&self, listen: SocketAddr) {
        self.ask(|reply| Command::CutLink { listen, cut: true, reply });
    }

    /// Undoes [`Wan::cut_link`]; what was under way arrives now.
    pub fn heal_link(&self, listen: SocketAddr) {
        self.ask(|reply| Command::CutLink { listen, cut: false, reply });
    }

    /// Undoes [`Wan::cut`] for a region whose processes were all killed meanwhile: connections from before are
    /// reset and nothing they held is delivered.
    pub fn restore(&self, region: &str) {
        self.ask(|reply| Command::Heal { region: region.into(), power_lost: true, reply });
    }

    /// How late the relays were since the start or the last [`Wan::forget_lateness`].
    pub fn lateness(&self) -> LatenessReport {
        self.lateness.report()
    }

    /// Starts measuring afresh.
    pub fn forget_lateness(&self) {
        self.lateness.forget();
    }

    fn ask<T>(&self, command: impl FnOnce(reply::Sender<T>) -> Command) -> T {
        let (sender, receiver) = reply::channel();
        self.commands.send(command(sender)).expect("the relay thread lives as long as its handle");
        receiver.recv().expect("the relay thread answers every command")
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        // Only fails when the thread has already gone, which is what is wanted.
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
