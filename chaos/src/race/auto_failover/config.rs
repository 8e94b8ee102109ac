//! What is added to the files that pg_autoctl has made. The one place that knows their keys.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::race::contestant::Speed;
use crate::race::site::settings;
use crate::wan::NETWORKS;

/// Of the monitor: its health checks and its patience, in milliseconds. It accepts 1 ms of each; what is here is the least at
/// which no healthy node is taken for a dead one over a round trip of 140 ms, since keepers report once a second.
pub fn monitor(speed: Speed) -> String {
    let fastest = [
        ("health_check_period", 500),
        ("health_check_timeout", 1000),
        ("health_check_max_retries", 1),
        ("health_check_retry_delay", 250),
        ("node_considered_unhealthy_timeout", 2500),
        ("primary_demote_timeout", 2500),
        ("startup_grace_period", 1000),
    ];
    let mut text = "dynamic_shared_memory_type = 'mmap'\nshared_buffers = '128MB'\n".to_owned();
    for (name, value) in fastest.into_iter().filter(|_| speed == Speed::Fastest) {
        let _ = writeln!(text, "pgautofailover.{name} = {value}");
    }
    text
}

/// Of a keeper.
pub fn keeper(speed: Speed) -> &'static [(&'static str, &'static str)] {
    match speed {
        Speed::Default => &[],
        // A primary without a monitor and without a standby stops its Postgres after so many seconds: no later than the monitor
        // stops waiting for it.
        Speed::Fastest => &[("timeout.network_partition_timeout", "2")],
    }
}

/// Of a server: what everybody's has.
pub fn server() -> String {
    let mut text = String::new();
    for (name, value) in settings() {
        let _ = writeln!(text, "{name} = '{value}'");
    }
    text
}

/// Adds to a server's settings, after its own, and lets everybody of the network in.
pub fn extend(data: &Path, settings: &str) -> anyhow::Result<()> {
    let trusted = format!("host all all {NETWORKS} trust\nhost replication all {NETWORKS} trust\n");
    for (file, text) in [("postgresql.conf", settings), ("pg_hba.conf", &trusted)] {
        let path = data.join(file);
        let opened = OpenOptions::new().append(true).open(&path);
        let mut file = opened.with_context(|| format!("cannot open {}", path.display()))?;
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fastest_changes_its_timers() {
        assert!(!monitor(Speed::Default).contains("pgautofailover."));
        assert!(keeper(Speed::Default).is_empty());
        assert!(
            monitor(Speed::Fastest).contains("pgautofailover.node_considered_unhealthy_timeout = 2500\n")
        );
    }

    #[test]
    fn a_server_has_what_everybodys_has() {
        let text = server();
        assert!(text.contains("wal_retrieve_retry_interval = '50ms'\n"), "{text}");
    }
}
