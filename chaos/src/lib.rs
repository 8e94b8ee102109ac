//! Kills regions and must find nothing.
//!
//! [`wan`] puts distances between processes of one machine, [`cluster`] runs the real ones, [`workload`] writes, [`askers`]
//! ask who leads, [`history`] remembers, [`invariants`] judge what was remembered (one file a theorem), [`timeline`] tells what the
//! processes say they did, [`flushes`] tells how slow the
//! machine's disk is, and [`demo`] puts it together. [`gray`] leaves a Postgres half dead,
//! [`shim`] breaks what is relied on, and [`sharp`] shows that the harness notices builds that are wrong. [`bench`] measures what is
//! calm, and these; [`race`] runs the same against others. [`sim`] runs the simulated world, [`model`] walks through every order of
//! events in small clusters.
//!
//! What is not here, on purpose: any knowledge of how Regent decides. The verdicts rest on what clients saw and on
//! what is in Postgres' own files, never on what a node or an agent says of itself.

pub mod askers;
pub mod bench;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod demo;
pub mod flushes;
pub mod gray;
pub mod history;
pub mod hostile;
pub mod invariants;
pub mod live;
pub mod model;
pub mod page;
pub mod race;
pub mod record;
pub mod scenario;
pub mod sharp;
pub mod shim;
pub mod sim;
pub mod terminal;
pub mod timeline;
pub mod wan;
pub mod workload;
