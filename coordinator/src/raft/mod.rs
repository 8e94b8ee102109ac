//! The replicated log: what all nodes agree on, in one order, durably.
//!
//! Raft *prepares* here and never acts. What it replicates is who is primary of each group and who would succeed it; a
//! promotion is decided by the witnesses and only recorded in the log afterwards. So this module is built for calm: it must
//! not lose what it acknowledged, must not elect without need, and may take a second or two to elect after a death.
//!
//! How a command travels: [`Raft::propose`] on the leader, [`transport`] to the others, [`store`] and the one [`writer`] to
//! each disk, and when a majority has it, [`state_machine`] applies it everywhere, in order, and tells whoever listens.
//!
//! What is on disk, in the data directory of a node:
//! - `identity.json`: whose it is, and that it was used ([`identity`]);
//! - `store/`: log, vote, and the witness's records, written by one thread in one order ([`writer`], [`engine`]);
//! - `watermark`: the number of the last write, so that a store that lost its tail is noticed ([`watermark`]);
//! - `snapshot`: the state as of some index ([`snapshot`]);
//! - `lock`: held while the node runs.
//!
//! Rules that nothing here breaks:
//! - Nothing is acknowledged before it is durable, and any I/O error ends the process ([`fatal`]).
//! - What is damaged or lost is named and refused. A store is never repaired, and never starts empty if it was ever used.
//! - A node whose disk was lost does not come back under its id ([`peers`]).
//! - This module is the only one that knows the consensus library and the storage engine; neither shows in its interface.
//!
//! Left out on purpose: reads through the log (the witnesses answer those without the leader), and forwarding of proposals
//! (whoever proposes is the leader's own planner, or finds the leader itself).

mod contents;
mod durable;
mod engine;
mod error;
mod fatal;
mod handle;
mod identity;
mod leadership;
mod members;
mod open;
mod peers;
mod record;
mod settings;
mod snapshot;
mod state_machine;
mod stepdown;
mod store;
mod transport;
mod types;
mod watermark;
mod writer;

#[cfg(test)]
mod tests;

/// What of the library's own log is worth showing: the nodes say the rest themselves.
pub const LOG_FILTER: &str = "openraft=error";

pub use durable::Durable;
pub use error::{MembersError, ProposeError, PutError, StartError, StepDownError};
pub use fatal::{EXIT_IO, EXIT_SOFTWARE};
pub use handle::{Raft, RaftConfig};
pub use leadership::Leadership;
pub use members::Members;
pub use record::MAX_VALUE;
pub use settings::{Settings, SettingsError};
pub use state_machine::{Change, OnChange, Replicated};
pub use types::Member;
pub use writer::Closed;
