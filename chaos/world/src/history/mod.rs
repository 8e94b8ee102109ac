//! What a recorded history must show, whoever recorded it: pure functions over plain data. One file a theorem. What was
//! decided and answered is judged in the simulation and with real processes; what watchers were told with real processes,
//! whose order and gaps are the work of `regentd` and not of the core.
//!
//! What may not enter: a clock, a file, or anything of how Regent decides. A verdict rests on what clients were told, on
//! when they asked, and on what the log holds in the end.
//!
//! Both checkers look at one group at a time. Instants are nanoseconds on one clock, whichever all events were taken by;
//! two that are equal are taken for concurrent, so that a coarse clock raises no false alarm.

pub mod linearizable_assignment;
pub mod watch;

use regent_core::ids::{Epoch, InstanceName};
use std::collections::BTreeMap;

/// What a group's log holds in the end: each recorded epoch with its primary.
pub type Log = BTreeMap<Epoch, InstanceName>;

/// One thing a history shows that may not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When it was to be seen.
    pub at: u64,
    /// What was seen.
    pub sentence: String,
}
