//! The decisions of Regent, as pure functions of time and messages.

pub mod agent;
pub mod command;
pub mod forecast;
pub mod ids;
pub mod lease;
pub mod message;
pub mod plan;
pub mod quorum;
pub mod state;
pub mod succession;
pub mod switchover;
pub mod time;
pub mod view;
pub mod vote;
pub mod witness;
