//! The library's own tests of a log store and a state machine.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::open;
use crate::raft::state_machine::StateMachine;
use crate::raft::store::LogStore;
use crate::raft::types::Types;

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        let (machine, _) = StateMachine::new("test", disk.snapshot, Box::new(|_| {}));
        Ok((dir, disk.log, machine))
    }
}

#[tokio::test]
async fn the_store_passes_the_librarys_own_suite() {
    Suite::test_all(Builder).await.unwrap();
}
