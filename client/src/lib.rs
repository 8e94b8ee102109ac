//! Placeholder.

pub mod gate;
