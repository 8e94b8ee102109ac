//! Waiting for what will be: with a limit, and with the last reason why it was not yet.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Starting a server over the longest link, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);

/// Until it is so. Errors mean that it is not yet.
pub async fn until(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match is_so() {
            Ok(true) => return Ok(()),
            Err(error) if start.elapsed() > LIMIT => {
                return Err(error).with_context(|| format!("waiting for {what}"));
            }
            Ok(false) if start.elapsed() > LIMIT => bail!("waiting for {what}: not within {LIMIT:?}"),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
