//! A small world in virtual time around the decisions of Regent.
mod acts;
mod build;
mod chance;
mod clients;
mod clock;
mod faults;
mod host;
pub mod invariants;
mod links;
mod node;
mod postgres;
mod process;
mod queue;
mod raft;
mod reads;
mod script;
mod status;
mod tasks;
mod words;
mod world;

pub use script::play;
