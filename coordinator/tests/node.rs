//! Real nodes, as processes, and agents that say what a script wants.
#![allow(clippy::unwrap_used)] // in a test, an unwrap is an assertion

#[path = "node/support/mod.rs"]
mod support;

#[path = "node/bad_input.rs"]
mod bad_input;
#[path = "node/failover.rs"]
mod failover;
#[path = "node/leadership.rs"]
mod leadership;
#[path = "node/start.rs"]
mod start;
