//! The wire of Regent. Wire types stay at the edges: `convert` is the one place where they become core types.

pub mod api;
pub mod convert;

/// The services Leadership, Witness and Admin, and their messages.
#[allow(missing_docs, clippy::all)] // generated; the .proto file has the words
pub mod v1 {
    tonic::include_proto!("regent.v1");
}

/// What Raft's members say to each other.
#[allow(missing_docs, clippy::all)] // generated; the .proto file has the words
pub mod raft {
    tonic::include_proto!("regent.raft.v1");
}

/// The descriptors of both, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
