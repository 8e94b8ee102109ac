//! The local Postgres, with real servers, whose programs are in `REGENT_PG_BIN` or where the client finds them.

// The fixture is not inside a test function, but it is a test.
#![allow(clippy::unwrap_used)]

#[path = "postgres/by_command.rs"]
mod by_command;
#[path = "fake/mod.rs"]
mod fake;
#[path = "postgres/fence.rs"]
mod fence;
#[path = "postgres/fixture.rs"]
mod fixture;
#[path = "postgres/keeper.rs"]
mod keeper;
#[path = "postgres/life.rs"]
mod life;
#[path = "postgres/measure.rs"]
mod measure;
#[path = "postgres/probe.rs"]
mod probe;
#[path = "postgres/refusals.rs"]
mod refusals;
#[path = "postgres/rejoin.rs"]
mod rejoin;
#[path = "postgres/replication.rs"]
mod replication;
#[path = "postgres/slots.rs"]
mod slots;
#[path = "postgres/tail.rs"]
mod tail;
#[path = "postgres/timelines.rs"]
mod timelines;
