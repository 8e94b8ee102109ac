//! Watchers that all come at once, are told how things are, go, and come again.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use regent_client::Client;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::admin::group;

/// How long a herd waits for its first word; longer, and it goes unheard.
const PATIENCE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(500);

/// Goes on for ever.
pub async fn come_and_go(node: SocketAddr, count: u32) {
    loop {
        let mut herd = JoinSet::new();
        for _ in 0..count {
            herd.spawn(watch(node));
        }
        // All of them have been told something, and stand there.
        let mut standing = Vec::with_capacity(count as usize);
        while let Some(told) = herd.join_next().await {
            standing.extend(told.ok().flatten());
        }
        sleep(REST).await;
        drop(standing);
    }
}

/// A watch that has been told how things are.
async fn watch(node: SocketAddr) -> Option<impl Sized> {
    let client = Client::new([node.to_string()]).ok()?;
    let mut events = Box::pin(client.watch([group().ok()?]));
    timeout(PATIENCE, events.next()).await.ok()??.ok()?;
    Some(events)
}
