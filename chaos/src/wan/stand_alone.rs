//! `regent-chaos wan`: a network that anybody can use, told by lines on its standard input.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::command::{Command, HELP};
use super::topology::Topology;
use super::{LIMIT_MS, LatenessReport, LinkReport, Wan, privilege};
use crate::terminal::{bold, dim, verdict};

/// What `regent-chaos wan` can be asked for.
#[derive(clap::Args)]
pub struct Args {
    /// Which regions there are and how far apart (TOML; see docs/wan.md)
    #[arg(long, value_name = "FILE")]
    pub topology: PathBuf,
    /// Where chance begins: jitter, loss and duplicates of each way
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// Until its input ends or somebody stops it. Must be called while the process has a single thread.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let topology = Topology::read(&args.topology)?;
    privilege::acquire()?;
    // Before there is another thread: it would have them, and end the process.
    let signals = block_signals().context("cannot wait for signals")?;
    let wan = Wan::start(topology, args.seed)?;
    introduce(&wan);
    let mut lines = Lines::default();
    while let Some(line) = lines.next(&signals)? {
        if !obey(&wan, &line) {
            break;
        }
    }
    println!("\nstopping");
    show_lateness(&wan.lateness());
    Ok(true)
}

/// Says whether to go on.
fn obey(wan: &Wan, line: &str) -> bool {
    let done = match Command::parse(line) {
        Err(wrong) => Err(wrong.to_string()),
        Ok(Command::Quit) => return false,
        Ok(Command::Nothing) => return true,
        Ok(Command::Help) => return say(HELP),
        Ok(Command::Show) => return show(wan),
        Ok(Command::Link(which, change)) => wan.change(&which, change).map_err(|no| no.to_string()),
        Ok(Command::Cut(which)) => wan.cut(&which).map_err(|no| no.to_string()),
        Ok(Command::Heal(which)) => wan.heal(&which).map_err(|no| no.to_string()),
    };
    match done {
        Ok(()) => say("done"),
        Err(wrong) => say(&format!("refused: {wrong}")),
    }
}

fn say(what: &str) -> bool {
    println!("{what}");
    true
}

fn introduce(wan: &Wan) {
    for name in wan.removed() {
        println!("removed {name}, left by a run that was killed");
    }
    let width = wan.regions().iter().map(|region| region.name().len()).max().unwrap_or(0);
    println!("{}", bold("Regions"));
    for region in wan.regions() {
        let (name, address) = (region.name(), region.address());
        println!("  {name:<width$}  {address:<10}  {} COMMAND", dim(region.entry()));
    }
    println!("  {}", dim("all addresses that differ in the last part are in the same region"));
    show_links(&wan.links());
    println!("{}", bold("Commands"));
    HELP.lines().for_each(|line| println!("  {line}"));
    println!("ready");
}

fn show(wan: &Wan) -> bool {
    let links = wan.links();
    show_links(&links);
    let width = width(&links);
    println!("{}", bold("Packets"));
    let (arrived, cut, lost, full) = ("ARRIVED", "CUT", "LOST", "QUEUE FULL");
    println!("  {:<width$}  {:<width$}  {arrived:>10}  {cut:>10}  {lost:>10}  {full:>10}", "FROM", "TO");
    for LinkReport { from, to, counts, .. } in &links {
        let (arrived, cut) = (counts.arrived, counts.lost_by_cut);
        let (lost, full) = (counts.lost_by_chance, counts.lost_by_full);
        println!("  {from:<width$}  {to:<width$}  {arrived:>10}  {cut:>10}  {lost:>10}  {full:>10}");
    }
    show_lateness(&wan.lateness());
    true
}

fn show_links(links: &[LinkReport]) {
    let width = width(links);
    println!("{}", bold("Links, one way each"));
    println!(
        "  {:<width$}  {:<width$}  {:>8}  {:>8}  {:>7}  {:>6}  {:>9}  {:>9}  {:>6}",
        "FROM", "TO", "DELAY", "JITTER", "REORDER", "LOSS", "DUPLICATE", "RATE", "QUEUE"
    );
    for LinkReport { from, to, terms, cut, .. } in links {
        // These know no width.
        let [delay, jitter] = [terms.delay, terms.jitter].map(|span| span.to_string());
        let [loss, twice] = [terms.loss, terms.duplicate].map(|share| share.to_string());
        let (reorder, rate, queue) = (terms.reorder, terms.rate, terms.queue);
        let state = if *cut { "  cut" } else { "" };
        println!(
            "  {from:<width$}  {to:<width$}  {delay:>8}  {jitter:>8}  {reorder:>7}  {loss:>6}  {twice:>9}  {rate:>9}  {queue:>6}{state}"
        );
    }
}

fn width(links: &[LinkReport]) -> usize {
    links.iter().map(|link| link.from.len()).max().unwrap_or(0)
}

fn show_lateness(late: &LatenessReport) {
    let LatenessReport { chunks, p50_ms, p99_ms, p999_ms, max_ms } = late;
    println!(
        "late by {p50_ms:.2} ms at p50, {p99_ms:.2} at p99, {p999_ms:.2} at p99.9, {max_ms:.2} at worst ({chunks} packets): {}",
        if late.valid() {
            verdict(true, "valid")
        } else {
            verdict(false, format!("invalid, more than {LIMIT_MS} ms at p99.9: this machine was too busy"))
        }
    );
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut stops = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| stops.add(signal));
    stops.thread_block()?;
    SignalFd::with_flags(&stops, SfdFlags::SFD_CLOEXEC)
}

/// Lines of the standard input, which end with it or with a signal.
#[derive(Default)]
struct Lines {
    unread: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn next(&mut self, signals: &SignalFd) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ended || stopped(signals, io::stdin().as_fd())? {
                return Ok(None);
            }
            self.read().context("cannot read commands from the standard input")?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match nix::unistd::read(io::stdin(), &mut buffer).map_err(io::Error::from) {
            Ok(0) => {
                self.ended = true;
                // The last line needs no end.
                if !self.unread.is_empty() {
                    self.unread.push(b'\n');
                }
            }
            Ok(length) => self.unread.extend(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Waits for either; says whether it was a signal.
fn stopped(signals: &SignalFd, input: BorrowedFd) -> anyhow::Result<bool> {
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(input, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::NONE) {
        Err(nix::Error::EINTR) => Ok(false),
        waited => {
            waited.context("cannot wait for commands")?;
            Ok(fds[0].any().unwrap_or(false))
        }
    }
}
