//! The times of the election, derived from the longest round trip, and the rules they must keep.
//!
//! `R` is the round trip to the peer that completes a quorum, in the worst set of dead regions that is to be survived.
//! - A heartbeat is given up after the heartbeat interval, so it must be longer than `R`, or no leader ever holds a lease.
//! - A request for a vote is given up after the shortest election timeout, so that must be longer than `R` and the flush of
//!   the vote, or nobody is ever elected.
//! - A leader accepts proposals while a quorum's acknowledgement is younger than the longest election timeout. The
//!   acknowledgement of a heartbeat is as old as the interval, the tick that was late, and `R`.
//!
//! Nothing on the way from a death to a promotion waits for these times, so they are chosen for calm.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// What a flush may take before an election fails for it.
const FLUSH: Duration = Duration::from_millis(20);

/// Keep the log short: a new leader looks for each follower's position by bisection, one round trip a step.
const SNAPSHOT_EVERY: u64 = 32;
const KEEP_AFTER_SNAPSHOT: u64 = 16;

/// The times a node elects and beats with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The longest round trip at which the cluster has to work.
    pub max_round_trip: Duration,
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// The shortest election timeout; also how long a request for a vote may take.
    pub election_min: Duration,
    /// The longest election timeout; also how long a follower refuses to vote after it heard the leader.
    pub election_max: Duration,
}

/// Which rule a set of times breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No leader would hold a lease.
    #[error(
        "heartbeat interval: expected more than the longest round trip {round_trip:?}, got {got:?}; raise it"
    )]
    Heartbeat {
        /// The interval.
        got: Duration,
        /// The round trip it must exceed.
        round_trip: Duration,
    },
    /// Nobody would be elected.
    #[error(
        "shortest election timeout: expected at least {expected:?} (round trip, flush, heartbeat), got {got:?}; raise it"
    )]
    ElectionMin {
        /// The timeout.
        got: Duration,
        /// The least it may be.
        expected: Duration,
    },
    /// Proposals would be refused at random.
    #[error(
        "longest election timeout: expected at least {expected:?} (heartbeat, its lateness, round trip), got {got:?}; raise it"
    )]
    ElectionMax {
        /// The timeout.
        got: Duration,
        /// The least it may be.
        expected: Duration,
    },
    /// The longest round trip makes no sense.
    #[error(
        "longest round trip: expected 1 ms to 10 s, got {0:?}; set it to the measured round trip between the farthest regions"
    )]
    RoundTrip(Duration),
}

impl Settings {
    /// The times for a cluster whose nodes are at most `round_trip` apart.
    pub fn for_round_trip(round_trip: Duration) -> Result<Self, SettingsError> {
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&round_trip) {
            return Err(SettingsError::RoundTrip(round_trip));
        }
        // Whole milliseconds, upwards: the library counts in them, and rounding down could break a rule.
        let r = round_trip.as_nanos().div_ceil(1_000_000) as u64;
        // On a fast network the times are bounded by the scheduler and the disk instead.
        let heartbeat = (r + r / 15).max(100);
        let election_min = heartbeat + FLUSH.as_millis() as u64;
        let election_max = (heartbeat + heartbeat / 5 + r).max(2 * heartbeat + heartbeat / 2);
        let settings = Self {
            max_round_trip: round_trip,
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(election_min),
            election_max: Duration::from_millis(election_max),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Refuses times that break a rule.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self { max_round_trip: r, heartbeat, election_min, election_max } = *self;
        if heartbeat <= r {
            return Err(SettingsError::Heartbeat { got: heartbeat, round_trip: r });
        }
        let expected = (r + FLUSH).max(heartbeat + Duration::from_millis(1));
        if election_min < expected {
            return Err(SettingsError::ElectionMin { got: election_min, expected });
        }
        let expected = (heartbeat + heartbeat / 5 + r).max(election_min + Duration::from_millis(1));
        if election_max < expected {
            return Err(SettingsError::ElectionMax { got: election_max, expected });
        }
        Ok(())
    }

    /// How long to wait for a connection before the peer counts as unreachable.
    pub fn connect_timeout(&self) -> Duration {
        (self.max_round_trip * 3).max(Duration::from_millis(300))
    }

    pub(super) fn library_config(&self, cluster: &str) -> Result<Config, openraft::ConfigError> {
        let lease = self.election_max.as_millis() as u64;
        Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: self.heartbeat.as_millis() as u64,
            election_timeout_min: self.election_min.as_millis() as u64,
            election_timeout_max: lease,
            // A node that comes back must not depose a leader that is well.
            enable_pre_vote: Some(true),
            // A restarted leader is elected again. Otherwise it could lead with a state older than the one it has shown.
            enable_leader_restore: Some(false),
            // A leader that is heard but hears nobody falls silent for a while, so that the others elect.
            quorum_loss_probe_interval: Some(2 * lease + 100),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            max_in_snapshot_log_to_keep: KEEP_AFTER_SNAPSHOT,
            purge_batch_size: KEEP_AFTER_SNAPSHOT,
            replication_lag_threshold: 4 * SNAPSHOT_EVERY,
            max_payload_entries: SNAPSHOT_EVERY,
            // A whole snapshot, sent at once over a slow line.
            install_snapshot_timeout: 10_000,
            backoff: "20ms 40ms 80ms ...200ms".to_owned(),
            ..Config::default()
        }
        .validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn at_150_ms_the_times_are_the_measured_ones() {
        let s = Settings::for_round_trip(ms(150)).unwrap();
        assert_eq!((s.heartbeat, s.election_min, s.election_max), (ms(160), ms(180), ms(400)));
    }

    #[test]
    fn every_round_trip_gives_times_that_keep_the_rules_and_please_the_library() {
        for r in 1..=1000 {
            let s = Settings::for_round_trip(ms(r)).unwrap();
            s.library_config("c").unwrap_or_else(|e| panic!("{r} ms: {e}"));
        }
        Settings::for_round_trip(Duration::from_micros(1500)).unwrap();
    }

    #[test]
    fn each_broken_rule_is_refused_by_name() {
        let good = Settings::for_round_trip(ms(150)).unwrap();
        let check = |s: Settings| s.check().unwrap_err();
        assert!(matches!(check(Settings { heartbeat: ms(150), ..good }), SettingsError::Heartbeat { .. }));
        assert!(matches!(
            check(Settings { election_min: ms(169), ..good }),
            SettingsError::ElectionMin { .. }
        ));
        assert!(matches!(
            check(Settings { election_max: ms(341), ..good }),
            SettingsError::ElectionMax { .. }
        ));
        assert!(matches!(Settings::for_round_trip(Duration::ZERO), Err(SettingsError::RoundTrip(_))));
    }
}
