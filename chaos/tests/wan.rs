//! Networks of regions with real sockets and processes. Delays are checked from below alone: how late a busy machine is proves
//! nothing. Where networks may not be made, each test says that it was skipped.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "wan/alone.rs"]
mod alone;
#[path = "wan/inside.rs"]
mod inside;
#[path = "wan/measured.rs"]
mod measured;

use std::sync::{Mutex, MutexGuard};

/// One test at a time: each removes what it finds of runs that were killed, and one of them kills.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|failed| failed.into_inner())
}
