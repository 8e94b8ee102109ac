//! A small world in virtual time around the decisions of Regent: nodes, agents, model Postgres servers, clients, links,
//! a model of the replicated log; one thread, one queue, one seed.
//!
//! | to learn | read |
//! |---|---|
//! | how the world works | `world`, then `node` and `host` |
//! | what it is made of | `raft`, `postgres` and `tasks`, `links`, `clock`, `clients`, `reads` |
//! | what can go wrong | `faults`, `schedule`, `profile`, `topology` |
//! | what must hold all the same | [`invariants`], one file a theorem |
//! | what a run is | `run`, `recovery`, `shrink` |
//! | how a scenario is told, and read again | `script`, `status`, `words` |
//!
//! [`run`] is what finds errors: a seed says the topology, the faults and all that chance decides; nothing else does.
//! [`play`] is what tells a story: a script with its transcript, in which nothing is left to chance.
//!
//! What is not here, on purpose: a decision. All of them are the core's, called as the shells call it: nothing that comes
//! after a `Persist` happens before it is durable. No thread, no clock, no network, no real Postgres.

mod acts;
mod build;
mod chance;
mod clients;
mod clock;
mod faults;
pub mod history;
mod host;
pub mod invariants;
mod links;
mod node;
mod postgres;
mod probes;
mod process;
mod profile;
mod pump;
mod queue;
mod raft;
mod reads;
mod recovery;
mod run;
mod schedule;
mod script;
mod shrink;
mod status;
mod tails;
mod tasks;
mod topology;
mod words;
mod world;

pub use faults::{Fault, Planned};
pub use invariants::{Theorem, Violation};
pub use links::Weather;
pub use profile::{Class, Plan, Profile};
pub use run::{Run, faults_of, numbers_of, replay, run, trace};
pub use script::play;
pub use shrink::{fewest as shrink_by, shrink};
