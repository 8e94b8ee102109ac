//! Kills regions and must find nothing.

pub mod clock;
pub mod cluster;
pub mod history;
pub mod invariants;
pub mod wan;
pub mod workload;
