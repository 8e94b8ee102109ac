//! The one ordered writer: all that has to be durable goes through one queue to one thread.
//!
//! Votes, log entries and the witness's records share it, so there is one order and one flush serves all who wait (group
//! commit). Raft needs that order: a completed write declares every earlier one durable.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::engine::{LogEngine, Op};
use super::fatal;
use super::watermark::Watermark;

/// Called on the writer thread when the write is durable.
type Done = Box<dyn FnOnce() + Send>;

/// How many writes may share a flush: enough for a burst, few enough for a batch of modest size.
const MAX_GROUP: usize = 256;

enum Job {
    Write { ops: Vec<Op>, done: Option<Done> },
    Close,
}

/// The writer has been closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed because the node stops")]
pub struct Closed;

/// A handle to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// Starts the thread that owns the engine. `lock` is given up when the engine is closed.
    pub fn start(
        engine: impl LogEngine,
        watermark: Watermark,
        lock: impl Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("regent-writer".to_owned()).spawn(move || {
            run(engine, watermark, &queue);
            drop(lock);
        })?;
        Ok((Self { jobs }, thread))
    }

    /// Queues a write that nobody waits for. It becomes durable with the next one that somebody waits for; lost, it leaves
    /// the older state, so the writer must be able to live with that.
    pub fn write_lazily(&self, ops: Vec<Op>) -> Result<(), Closed> {
        self.send(Job::Write { ops, done: None })
    }

    /// Queues a write and has `done` called when it, and all queued before it, is durable.
    pub fn write_then(&self, ops: Vec<Op>, done: impl FnOnce() + Send + 'static) -> Result<(), Closed> {
        self.send(Job::Write { ops, done: Some(Box::new(done)) })
    }

    /// Queues a write; the receiver hears when it is durable. It is written whether or not anybody still listens.
    pub fn submit(&self, ops: Vec<Op>) -> Result<oneshot::Receiver<()>, Closed> {
        let (tell, durable) = oneshot::channel();
        self.write_then(ops, move || {
            // An error means that the caller has stopped waiting.
            let _ = tell.send(());
        })?;
        Ok(durable)
    }

    /// Writes and returns when it is durable.
    pub async fn write(&self, ops: Vec<Op>) -> Result<(), Closed> {
        self.submit(ops)?.await.map_err(|_| Closed)
    }

    /// Lets the thread finish what is queued and give the store back.
    pub fn close(&self) {
        // An error means that it is closed already.
        let _ = self.send(Job::Close);
    }

    fn send(&self, job: Job) -> Result<(), Closed> {
        self.jobs.send(job).map_err(|_| Closed)
    }
}

fn run(mut engine: impl LogEngine, mut watermark: Watermark, queue: &Receiver<Job>) {
    let mut open = true;
    while open && let Ok(first) = queue.recv() {
        let mut ops = Vec::new();
        let mut waiting = Vec::new();
        for job in std::iter::once(first).chain(queue.try_iter()).take(MAX_GROUP) {
            match job {
                Job::Write { ops: more, done } => {
                    ops.extend(more);
                    waiting.extend(done);
                }
                Job::Close => {
                    open = false;
                    break;
                }
            }
        }
        commit(&mut engine, &mut watermark, ops, waiting, !open);
    }
}

/// Writes, syncs, and only then tells those who wait. Any error ends the process.
fn commit(
    engine: &mut impl LogEngine,
    watermark: &mut Watermark,
    mut ops: Vec<Op>,
    waiting: Vec<Done>,
    last: bool,
) {
    if !ops.is_empty() {
        ops.push(watermark.next());
        if let Err(e) = engine.write(ops) {
            fatal::end_for_io(engine.file(), e);
        }
    }
    if waiting.is_empty() && !last {
        return;
    }
    if let Err(e) = engine.sync() {
        fatal::end_for_io(engine.file(), e);
    }
    if let Err(e) = watermark.record() {
        fatal::end_for_io(watermark.file(), e);
    }
    for done in waiting {
        done();
    }
}
