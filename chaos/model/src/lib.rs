//! Every order of events in small clusters, as far as the bounds go: a check over the core's own `Witness::step`,
//! `Agent::step`, `State::apply` and `plan`.
//!
//! A [`Config`] bounds a set of histories: how long they last, how many epochs are looked at, which faults may happen and
//! which letters the adversary may lose, hold back and repeat. [`check`] walks through all of them, breadth first, and
//! looks in each state that it reaches for a broken theorem. Whether a state is a wedge is looked at in a sample of them,
//! drawn by their hashes: one in so many as the configuration says, and the outcome says how many these were. An outcome
//! says as well whether all states within the bounds were reached, or time or states ran out before. What is left out is said by each configuration; Postgres is a good one that
//! obeys at once, for what an agent does with a bad one is the simulation's.
//!
//! Not here: rules of the protocol. What a process does is what the core says; this room only knows what may happen to it,
//! and what must never be seen.

mod action;
mod birth;
mod check;
mod clock;
mod configuration;
mod kept;
mod mail;
mod model;
mod oath;
mod play;
mod postgres;
mod wedge;
mod words;
mod world;

pub use check::{Budget, Outcome, Trace, check};
pub use clock::Clock;
pub use configuration::{Config, Delivery, Letters, configurations};
pub use oath::{Breach, Theorem};
pub use world::Faults;
