//! The room as a whole: the library's own suite, damaged stores, cut clusters, cut power.

mod cluster;
mod damage;
mod power;
mod speed;
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic::Status;

use super::engine::Durability;
use super::error::StartError;
use super::open::Disk;

/// Cuts a node off from all others, both ways.
#[derive(Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    pub fn set(&self, cut: bool) {
        self.0.store(cut, Ordering::SeqCst);
    }

    pub fn check(&self) -> Result<(), Status> {
        if self.0.load(Ordering::SeqCst) { Err(Status::unavailable("cut by the test")) } else { Ok(()) }
    }
}

/// The data directory of node 1 of cluster "test".
fn open(dir: &Path) -> Result<Disk, StartError> {
    Disk::open(dir, "test", 1, Durability::Full)
}

/// The error of a start that must fail.
fn refused(result: Result<Disk, StartError>) -> StartError {
    result.err().expect("the start should have been refused")
}

fn close(disk: Disk) {
    disk.writer.close();
    disk.thread.join().unwrap();
}
