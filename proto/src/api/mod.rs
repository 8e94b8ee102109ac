//! What is asked of a node and what it answers, in the words of the core: the types that the services of the nodes and
//! the client library share, so that neither has to touch a wire type.

mod answer;
mod request;
mod status;

pub use answer::{Assignment, Primary, Told};
pub use answer::{RestartPlan, SwitchoverPlan};
pub use request::{
    Consistency, Drain, NewElectorate, NewGroup, NewMode, PrimaryQuery, Restart, Switchover, WatchQuery,
};
pub use status::{Forecast, GroupStatus, InstanceStatus, NodeStatus, Status, Switching};
