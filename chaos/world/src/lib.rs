//! What the simulation and the runs of real processes have in common.

pub mod history;
