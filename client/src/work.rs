//! Work on the local Postgres that may have to be given up: the signs that it goes on, and what of it is still under way when
//! nobody waits for it any more.
//!
//! Programs and file operations say both by themselves, wherever in a piece of work they are. Nothing is decided here: how long
//! a silence may be is for whoever waits.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

tokio::task_local! {
    static CURRENT: Work;
}

/// A piece of work, as seen by who waits for it and by what does it.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    sign: Arc<Mutex<Instant>>,
    /// What keeps the work from counting as ended.
    left: TaskTracker,
}

impl Work {
    pub(crate) fn new(left: &TaskTracker) -> Work {
        Work { sign: Arc::new(Mutex::new(Instant::now())), left: left.clone() }
    }

    /// The one that the caller is a part of.
    pub(crate) fn current() -> Option<Work> {
        CURRENT.try_with(Work::clone).ok()
    }

    /// What runs in `doing` is a part of it.
    pub(crate) async fn carry_out<T>(self, doing: impl Future<Output = T>) -> T {
        let _held = self.hold();
        CURRENT.scope(self, doing).await
    }

    /// The same, on a thread that may block.
    pub(crate) fn carry_out_blocking<T>(self, doing: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, doing)
    }

    /// For how long there has been no sign of it.
    pub(crate) fn silent(&self) -> Duration {
        self.sign.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// It goes on.
    pub(crate) fn goes_on(&self) {
        *self.sign.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// As long as this is kept, the work counts as under way, whoever waits for it or not.
    pub(crate) fn hold(&self) -> TaskTrackerToken {
        self.left.token()
    }
}

/// The current work, if this is a part of any, goes on.
pub(crate) fn goes_on() {
    if let Some(work) = Work::current() {
        work.goes_on();
    }
}
