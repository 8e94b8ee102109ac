//! What talks to Regent's nodes: the client library, the agent beside Postgres, and the admin's command.
//!
//! The library follows who is primary of a group of Postgres servers. Give it the addresses of some nodes; it connects
//! when needed, stays with the node that answers, moves on when that one fails, and puts a deadline on every call.
//!
//! ```no_run
//! use futures::StreamExt;
//! use regent_client::{Client, Consistency, Event, GroupName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["10.0.1.5:7400", "10.0.2.5:7400", "10.0.3.5:7400"])?;
//! let orders: GroupName = "orders".parse()?;
//!
//! // Asked once: never older than any answer given before, by any node to anybody.
//! let assignment = client.primary(&orders, Consistency::Linearizable).await?;
//! if let Some(primary) = assignment.primary {
//!     println!("epoch {}: {} at {}", assignment.epoch, primary.instance, primary.address);
//! }
//!
//! // Watched: every change once, in order, at whichever node can be reached.
//! let mut events = client.watch([orders]);
//! while let Some(event) = events.next().await {
//!     match event? {
//!         Event::Present(assignment) | Event::Changed { assignment, .. } => {
//!             println!("now epoch {}", assignment.epoch);
//!         }
//!         Event::Compacted => println!("changes were missed; the present state follows"),
//!         Event::Lost { tried } => println!("no node can be reached: {} were tried", tried.len()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The epoch of an [`Assignment`] is a fencing token: it only grows, and a write that carries an older one than was
//! seen before must not be obeyed.

pub mod agent;
pub mod cli;
pub mod gate;
pub mod postgres;

mod admin;
mod backoff;
mod connection;
mod error;
mod fault;
mod leadership;
mod program;
mod wire;
mod work;

pub use connection::Options;
pub use error::{Error, Tried};
pub use leadership::{Client, Event};
pub use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName, Revision};
pub use regent_core::quorum::Electorate;
pub use regent_core::replication::{Mode, Policy};
pub use regent_core::state::{Change, Group};
pub use regent_proto::api::{
    Assignment, Consistency, Forecast, GroupStatus, InstanceStatus, NewGroup, NewMode, NodeStatus, Primary,
    Status, Switching, Switchover, SwitchoverPlan,
};
