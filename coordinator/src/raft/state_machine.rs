//! Where committed entries meet `State::apply`, and where everybody who wants to know is told.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use regent_core::command::Command;
use regent_core::state::{Applied, Rejected, State};
use tokio::sync::watch;

use super::snapshot::{Kept, RaftSnapshot, SnapshotData, SnapshotFile};
use super::types::{Entry, LogId, Outcome, SnapshotMeta, StoredMembership, Types};

/// The state, and the log index up to which it is applied. Index 0 with nothing applied is a state of its own.
#[derive(Debug, Clone)]
pub struct Replicated {
    /// The index of the last entry in it, if there was any.
    pub applied: Option<u64>,
    /// The state.
    pub state: Arc<State>,
}

/// What happened to the state, in order and without gaps.
#[derive(Debug)]
pub enum Change<'a> {
    /// One command was applied, or refused by the state.
    Applied {
        /// Its place in the log.
        index: u64,
        /// The command.
        command: &'a Command,
        /// What became of it.
        outcome: &'a Result<Applied, Rejected>,
        /// The state after it.
        state: &'a State,
    },
    /// The whole state was replaced: at the start by the snapshot on disk, later by one that the leader sent. The single
    /// changes up to this index are not told.
    Installed {
        /// The index it reaches.
        index: u64,
        /// The state.
        state: &'a State,
    },
}

/// Told every change, on the thread that applies: it must be quick and must not block.
pub type OnChange = Box<dyn FnMut(Change<'_>) + Send + Sync>;

/// [`RaftStateMachine`].
pub struct StateMachine {
    state: Arc<State>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: SnapshotFile,
    shown: watch::Sender<Replicated>,
    on_change: OnChange,
}

impl StateMachine {
    /// Starts from the snapshot, or from nothing.
    pub fn new(
        cluster_id: &str,
        snapshot: SnapshotFile,
        on_change: OnChange,
    ) -> (Self, watch::Receiver<Replicated>) {
        let state = Arc::new(State::new(cluster_id));
        let (shown, seen) = watch::channel(Replicated { applied: None, state: state.clone() });
        let kept = snapshot.newest();
        let membership = StoredMembership::default();
        let mut machine = Self { state, last_applied: None, membership, snapshot, shown, on_change };
        if let Some(kept) = kept {
            machine.adopt(kept);
        }
        (machine, seen)
    }

    fn adopt(&mut self, kept: Kept) {
        self.state = kept.state;
        self.last_applied = kept.meta.last_log_id;
        self.membership = kept.meta.last_membership;
        if let Some(id) = self.last_applied {
            (self.on_change)(Change::Installed { index: id.index, state: &self.state });
        }
        self.show();
    }

    fn apply_one(&mut self, entry: &Entry) -> Outcome {
        self.last_applied = Some(entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                None
            }
            EntryPayload::Normal(proposal) => {
                let outcome = Arc::make_mut(&mut self.state).apply(&proposal.0);
                let (index, command) = (entry.log_id.index, &proposal.0);
                (self.on_change)(Change::Applied { index, command, outcome: &outcome, state: &self.state });
                Some(outcome)
            }
        }
    }

    fn show(&self) {
        let applied = self.last_applied.map(|id| id.index);
        self.shown.send_replace(Replicated { applied, state: self.state.clone() });
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_one(&entry);
            answers.extend(responder.map(|r| (r, outcome)));
        }
        // Shown before it is answered: whoever got an answer finds it in the state.
        self.show();
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() };
        Builder { kept: Kept { meta, state: self.state.clone() }, file: self.snapshot.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        let state: State = serde_json::from_slice(&data)?;
        let kept = Kept { meta: meta.clone(), state: Arc::new(state) };
        self.snapshot.keep(kept.clone()).await?;
        self.adopt(kept);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        self.snapshot.for_library()
    }
}

/// Writes the state as it was when the builder was made, while the machine goes on.
pub struct Builder {
    kept: Kept,
    file: SnapshotFile,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        self.file.keep(self.kept.clone()).await?;
        let snapshot = SnapshotData::from(serde_json::to_vec(self.kept.state.as_ref())?);
        Ok(openraft::Snapshot { meta: self.kept.meta.clone(), snapshot })
    }
}
