//! The write probes beside a primary: one at a time, the end of each sent as `Event::Probed`. One that hangs is waited for:
//! what its silence means, the core decides. Each commit is a probe of its own: what it proves counts from its own
//! beginning, so a Postgres is slow only when one commit is, not when two in a row are.

use super::now;
use crate::postgres::{PostgresError, Probed, Server};
use regent_core::agent::{Event, Probe};
use regent_core::time::Time;
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
            let mut began = now();
            let kept = server.probe_kept(&mut line).await;
            let went_wrong = matches!(kept, Some(Err(_)));
            if !tell(&events, began, kept).await {
                return;
            }
            if !went_wrong {
                began = now();
                let new = server.probe_new(&mut line).await;
                if !tell(&events, began, new).await {
                    return;
                }
            }
            tokio::time::sleep_until(next).await;
        }
    });
}

/// Whether anybody listens still.
async fn tell(
    events: &mpsc::Sender<Event>,
    began: Time,
    probed: Option<Result<Probed, PostgresError>>,
) -> bool {
    let probe = match probed {
        None => return !events.is_closed(),
        Some(Ok(Probed::Committed)) => Probe::Committed,
        Some(Ok(Probed::Barred)) => Probe::Barred,
        Some(Err(error)) => Probe::Failed(error.to_string()),
    };
    events.send(Event::Probed { began, probe }).await.is_ok()
}
