//! Taking back what only this instance has, so that it can follow a primary it diverged from.

use std::time::{Duration, Instant};

use super::error::PostgresError;
use super::lsn::Lsn;
use super::settings::Upstream;
use super::{Cluster, Mode, Role, Server, config, files, lockfile};

/// How long a new primary may take for its first checkpoint, and a killed standby to become consistent.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a rewind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewind {
    /// It was rewound; start it as a standby.
    Rewound {
        /// Where the histories part: all later log of this instance is lost.
        diverged_at: Lsn,
        /// The timeline they have in common.
        timeline: u32,
    },
    /// Its history is a part of the upstream's; start it as a standby.
    NotNeeded,
    /// It cannot be rewound: it has to be cloned. A directory that may be half rewound is `Foreign` from then on, so that
    /// nothing starts it.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Server {
    /// Rewinds the stopped server to where it can follow the upstream, which has to be a primary.
    pub async fn rewind_from(&self, upstream: &Upstream) -> Result<Rewind, PostgresError> {
        let cluster = self.expect_cluster().await?;
        lockfile::refuse_running(self.data_dir())?;
        let facts = self.ask_primary(upstream).await?;
        if facts.system_id != cluster.system_id {
            let reason = format!(
                "system identifier: expected {} (the upstream's), got {}",
                facts.system_id, cluster.system_id
            );
            return Ok(Rewind::Failed { reason });
        }
        if !cluster.rewindable {
            return Ok(Rewind::Failed { reason: "neither checksums nor wal_log_hints were on".into() });
        }
        if let Some(reason) = self.twins(upstream, &cluster, &facts).await? {
            return Ok(Rewind::Failed { reason });
        }
        if self.ended_before(upstream, &cluster, &facts).await? {
            self.stand_by(upstream).await?;
            return Ok(Rewind::NotNeeded);
        }
        self.checkpointed(upstream).await?;
        if cluster.was_standby() && !cluster.is_clean() {
            self.come_to_rest().await?;
        }
        self.rewind_to(upstream, &cluster).await
    }

    /// What was shut down as a primary is a standby when it starts.
    async fn stand_by(&self, upstream: &Upstream) -> Result<(), PostgresError> {
        let _alone = self.changing.lock().await;
        let (settings, upstream) = (self.settings.clone(), upstream.clone());
        files::off_thread(move || super::clone::as_standby_of(&settings, &upstream, &settings.data_dir)).await
    }

    async fn rewind_to(&self, upstream: &Upstream, cluster: &Cluster) -> Result<Rewind, PostgresError> {
        let _alone = self.changing.lock().await;
        self.make_way().await?;
        let (settings, was_standby) = (self.settings.clone(), cluster.was_standby());
        files::off_thread(move || {
            if !was_standby {
                // Left by an attempt to follow that never started. With it, the recovery before the rewind would refuse.
                files::remove_if_there(&settings.data_dir.join("standby.signal"))?;
            }
            files::write_whole(&files::rewind_mark(&settings.data_dir), "", settings.run_as)
        })
        .await?;
        let mut tool = self.upstream_tool("pg_rewind").arg("-D").arg(self.data_dir());
        let elsewhere = self.settings.own.as_ref().and_then(|own| own.config_file.as_ref());
        if let Some(file) = elsewhere.filter(|_| self.version() >= 15) {
            // It recovers what was killed by itself, with a server that needs its configuration; before 15 it looks for that
            // in the data directory alone.
            tool = tool.arg("--config-file").arg(file);
        }
        let ran = tool
            .arg("--source-server")
            .arg(config::conninfo(&self.settings, upstream, Some("postgres")))
            .run()
            .await;
        let (settings, again) = (self.settings.clone(), upstream.clone());
        match ran {
            Ok(said) => {
                // The upstream's configuration came with its files.
                files::off_thread(move || {
                    super::clone::as_standby_of(&settings, &again, &settings.data_dir)?;
                    files::remove_if_there(&files::rewind_mark(&settings.data_dir))
                })
                .await?;
                read(&said.stderr)
            }
            Err(PostgresError::Tool { output, .. }) => Ok(Rewind::Failed { reason: output }),
            Err(other) => Err(other),
        }
    }

    /// Waits until the control file of a new primary says its new timeline: before, a rewind would see the old one there,
    /// and wrongly find nothing to do.
    async fn checkpointed(&self, upstream: &Upstream) -> Result<(), PostgresError> {
        let wrong = |what: String| PostgresError::Upstream { upstream: upstream.clone(), what };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let facts = self.ask_primary(upstream).await?;
            if facts.checkpoint_timeline == facts.timeline {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(wrong(format!(
                    "expected a checkpoint on timeline {} within {} s of its promotion: run CHECKPOINT there",
                    facts.timeline,
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A killed standby has to be shut down cleanly first, which only a standby can do: `pg_rewind` by itself would run it
    /// as if it had been a primary, and that refuses.
    async fn come_to_rest(&self) -> Result<(), PostgresError> {
        self.start(&Role::Standby { upstream: None }).await?;
        let deadline = Instant::now() + PATIENCE;
        while !self.observe().await.accepting && self.running().is_some() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.stop(Mode::Fast, PATIENCE).await.map(drop)
    }
}

fn read(said: &str) -> Result<Rewind, PostgresError> {
    let after =
        |text: &str| said.lines().find_map(|line| line.split_once(text).map(|(_, rest)| rest.to_owned()));
    let diverged = after("servers diverged at WAL location ").and_then(|rest| {
        let (at, timeline) = rest.split_once(" on timeline ")?;
        Some(Rewind::Rewound { diverged_at: at.parse().ok()?, timeline: timeline.trim().parse().ok()? })
    });
    match (after("no rewind required"), diverged) {
        (Some(_), _) => Ok(Rewind::NotNeeded),
        (None, Some(rewound)) => Ok(rewound),
        (None, None) => Err(PostgresError::Tool {
            program: "pg_rewind".into(),
            status: "succeeded, but did not say where the histories part".into(),
            output: super::tool::tail(said),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pg_rewind_says() {
        let moved = "pg_rewind: servers diverged at WAL location 0/3000140 on timeline 1\npg_rewind: Done!\n";
        assert_eq!(read(moved).unwrap(), Rewind::Rewound { diverged_at: Lsn(0x3000140), timeline: 1 });
        let same = "pg_rewind: servers diverged at WAL location 0/3000140 on timeline 1\npg_rewind: no rewind required\n";
        assert_eq!(read(same).unwrap(), Rewind::NotNeeded);
        assert!(read("pg_rewind: fertig!\n").is_err());
    }
}
