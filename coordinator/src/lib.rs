//! A node of Regent: a Raft member with a witness in it.
//!
//! Start reading at [`node`], the one loop. [`rpc`] is what others see of it, [`raft`] the log beside it; [`reads`] and
//! [`watch`] answer who leads. The decisions themselves are in the core.

mod audit;
pub mod clock;
pub mod config;
pub mod node;
pub mod raft;
pub mod reads;
pub mod rpc;
pub mod server;
pub mod watch;
