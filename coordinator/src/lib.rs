//! A node of Regent: a Raft member with a witness in it.

pub mod raft;
