//! Placeholder.

pub mod gate;
pub mod postgres;
