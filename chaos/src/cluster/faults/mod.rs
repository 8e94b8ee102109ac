//! What can happen to a cluster, and what ends it again: methods of [`super::Cluster`], one room a kind.
//!
//! Each fault does what its name says or says why it cannot; none waits for what Regent makes of it.

pub mod clock;
pub mod disk;
pub mod network;
pub mod process;
pub mod resources;
mod store;
pub mod victim;

/// A fault found nothing that it could befall.
#[derive(Debug, thiserror::Error)]
#[error("{what} of {region}: expected one that runs")]
pub struct NothingThere {
    /// What was looked for.
    pub what: String,
    /// Where.
    pub region: &'static str,
}
