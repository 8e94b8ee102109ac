//! The whole, live: real nodes, agents and Postgres servers in three regions 60/80/140 ms apart, clients that write all
//! the time, one fault a test. What clients saw decides: one writable primary (S1), every acknowledged row accounted
//! for. No test asserts how fast something is (`regent-chaos bench failover` measures that); limits are there to end.
//!
//! All tests play on one stage, one after the other, each from calm to calm; a test that fails takes the stage down, and
//! the next one builds its own. What remains at the end is removed by the stage's reaper.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "live/admission.rs"]
mod admission;
#[path = "live/cascade.rs"]
mod cascade;
#[path = "live/command.rs"]
mod command;
#[path = "live/frozen.rs"]
mod frozen;
#[path = "live/gray.rs"]
mod gray;
#[path = "live/inplace.rs"]
mod inplace;
#[path = "live/kernel.rs"]
mod kernel;
#[path = "live/lost.rs"]
mod lost;
#[path = "live/modes.rs"]
mod modes;
#[path = "live/moved.rs"]
mod moved;
#[path = "live/rejoined.rs"]
mod rejoined;
#[path = "live/restarted.rs"]
mod restarted;
#[path = "live/stage.rs"]
mod stage;
