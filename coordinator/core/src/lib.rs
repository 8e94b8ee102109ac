//! The decisions of Regent, as pure functions of time and messages.

pub mod command;
pub mod ids;
pub mod lease;
pub mod message;
pub mod quorum;
pub mod state;
pub mod time;
pub mod vote;
pub mod witness;
