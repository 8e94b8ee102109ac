//! A whole cluster on a network of its own: three regions a millisecond apart, with clients in them and a disk each. Every fault
//! that it knows does what its name says, and is over when it is undone. Needs root, and each test says so when it is not.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "ground/faults.rs"]
mod faults;
#[path = "ground/killed.rs"]
mod killed;
#[path = "ground/lost.rs"]
mod lost;
#[path = "ground/stage.rs"]
mod stage;

use std::sync::{Mutex, MutexGuard};

/// One cluster at a time: this is one machine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|failed| failed.into_inner())
}
