//! Numbers, not checks: `cargo test -p regent-coordinator --lib speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::{close, open};

#[tokio::test]
#[ignore = "a measurement"]
async fn durable_puts_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path()).unwrap();
    for at_once in [1, 16, 64] {
        let started = Instant::now();
        let mut puts = 0;
        while started.elapsed() < Duration::from_secs(2) {
            let all = (0..at_once).map(|i| {
                let durable = disk.durable.clone();
                async move { durable.put(&format!("speed/{i}"), vec![0; 256]).await }
            });
            futures::future::try_join_all(all).await.unwrap();
            puts += at_once;
        }
        println!(
            "{at_once} at once: {:.0} durable puts of 256 bytes a second",
            f64::from(puts) / started.elapsed().as_secs_f64()
        );
    }
    close(disk);
}
