//! The write probes beside a primary: one at a time, the end of each sent as `Event::Probed`. One that hangs is waited for:
//! what its silence means, the core decides.

use super::now;
use crate::postgres::{Probed, Server};
use regent_core::agent::{Event, Probe};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Begins to probe, whenever Postgres is primary, this often.
pub(super) fn feel(
    server: Arc<Server>,
    mut primary: watch::Receiver<bool>,
    every: Duration,
    events: mpsc::Sender<Event>,
) {
    tokio::spawn(async move {
        let mut line = None;
        // Ends with the eyes, which know what is primary, or with the agent's loop.
        loop {
            if !*primary.borrow_and_update() {
                tokio::select! {
                    () = async { server.hold_line(&mut line).await; tokio::time::sleep(every).await } => {}
                    changed = primary.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let next = Instant::now() + every;
            let began = now();
            let probe = match server.probe(&mut line).await {
                Ok(Probed::Committed) => Probe::Committed,
                Ok(Probed::Barred) => Probe::Barred,
                Err(error) => Probe::Failed(error.to_string()),
            };
            if events.send(Event::Probed { began, probe }).await.is_err() {
                return;
            }
            tokio::time::sleep_until(next).await;
        }
    });
}
