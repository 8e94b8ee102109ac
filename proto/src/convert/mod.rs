//! Wire types to core types and back. Nothing else may know both.
//!
//! Outwards (`From<core>`) cannot fail. Inwards (`TryFrom<wire>`) trusts nothing: every name, number, list and text is
//! checked and bounded here, so that the core never sees a value it could not have made itself.

mod answer;
mod field;
mod group;
mod hand_over;
mod message;
mod node;
mod rejected;
mod request;
mod status;
mod tail;
mod vote;

pub use field::ConvertError;
pub use field::{name, node as node_id};
pub use group::mode;
pub use message::{FromAgent, agent_message, hello};
pub use node::{NodeHello, StandingQuery};
pub use rejected::rejection;
pub use status::regions;
pub use vote::{reason, role};

pub use regent_core::state::{MAX_INSTANCES, MAX_WITNESSES};

/// The longest free text on the wire, in bytes.
pub const MAX_TEXT: usize = 1_024;
/// The longest ttl or suspicion on the wire, in microseconds: an hour.
pub const MAX_SPAN_US: u64 = 3_600_000_000;
