//! The memory of who the peers are.
//!
//! A node that lost its disk has forgotten which votes it gave. Coming back empty under its old id it could elect a second
//! leader for a term, or undo what was committed. So every store draws a number when it is created, every message carries
//! it, and a peer that shows another number than the first time is refused for ever.

use super::durable::Durable;
use super::transport::Misdirected;

const PREFIX: &str = "raft/peer/";

/// The incarnations of the peers, as first seen. Durable: after a restart it still knows.
#[derive(Clone)]
pub struct Peers {
    seen: Durable,
}

impl Peers {
    pub fn new(seen: Durable) -> Self {
        Self { seen }
    }

    /// Accepts a peer that is who it was, or that was never seen before.
    pub async fn admit(&self, node: u64, incarnation: u64) -> Result<(), Misdirected> {
        let name = format!("{PREFIX}{node}");
        match self.seen.get(&name) {
            Some(bytes) if bytes == incarnation.to_be_bytes() => Ok(()),
            Some(bytes) => {
                let expected = bytes.try_into().map_or(0, u64::from_be_bytes);
                Err(Misdirected::Incarnation { from: node, expected, got: incarnation })
            }
            None => {
                // Fails only when the store closes; then nothing that follows is acknowledged either.
                if let Err(e) = self.seen.put(&name, incarnation.to_be_bytes().to_vec()).await {
                    tracing::debug!("peer {node} not noted: {e}");
                }
                Ok(())
            }
        }
    }
}
