//! Placeholder.

pub mod agent;
pub mod gate;
pub mod postgres;
