//! Receiving through another standby, as `replicate_from` wishes ([`crate::tags`]), and when it is given up for a while.
//!
//! Whether that standby lives is known by the own receiver alone: while nothing is received from it, the primary is followed
//! instead, and it is tried again later, ever more rarely. A standby that could not follow is therefore found out at the
//! primary, like any other, and rewound to that one.
//!
//! One that lives may itself receive nothing, and its own receiver does not notice for a minute. What shows it is that nothing
//! comes while the primary moves on, whose position the witnesses tell.

use super::{Agent, Upstream};
use crate::ids::{InstanceName, Lsn};
use crate::message::Role;
use crate::replication::Mode;
use crate::tags::upstream_of;
use crate::time::Time;
use std::time::Duration;

/// How long it is tried in vain to receive from the standby wished for: shorter than the lapse that costs an instance its place in
/// the succession, and than what makes a standby a strayed one.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long nothing may come from one that is connected, while the primary moves on: longer than any WAL is on its way.
const STALLED: Duration = Duration::from_secs(5);
/// The first and the longest time for which the primary is followed instead.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// How it fares.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Cascade {
    /// Since when it has not received from the one that it was told to.
    silent_since: Option<Time>,
    /// How far it had received from it, and when that was seen first.
    received: Option<(Lsn, Time)>,
    /// How far the primary is, as the witnesses tell, and when that was heard first.
    ahead: (Lsn, Time),
    /// The primary is followed until then.
    direct_until: Option<Time>,
    /// How often in a row it was given up.
    failures: u32,
}

impl Cascade {
    /// It has received for long enough.
    pub fn works(&mut self) {
        if self.direct_until.is_none() && !self.lags() {
            self.failures = 0;
        }
    }

    /// A witness tells how far the primary is: of interest to who receives through another.
    pub fn primary_is_at(&mut self, ahead: Lsn, now: Time) {
        if self.received.is_some() && ahead > self.ahead.0 {
            self.ahead = (ahead, now);
        }
    }

    /// Whether the primary is known to be farther.
    fn lags(&self) -> bool {
        self.received.is_some_and(|(received, _)| received < self.ahead.0)
    }

    /// Whether nothing has come for too long, of what the primary has written meanwhile, and still writes: that of a dead one is
    /// nowhere to be had.
    fn stalled(&self, now: Time) -> bool {
        let writes = now < self.ahead.1 + PATIENCE;
        let long = self.received.is_some_and(|(_, since)| now >= since + STALLED);
        self.lags() && long && writes
    }
}

impl Agent {
    /// The standby that this instance shall receive through, as the log has it, while another is primary.
    pub(super) fn wished_upstream(&self) -> Option<Upstream> {
        let (group, primary) = (self.group.as_ref()?, self.primary()?);
        self.located(upstream_of(group, &self.me.instance, &primary.instance)?)
    }

    /// The standby to receive from now, if it is another than the primary. Whom commits of a primary in `sync` wait for stays
    /// with that primary: left alone it would hold them until it is let go of.
    pub(super) fn cascades_from(&self) -> Option<Upstream> {
        let group = self.group.as_ref()?;
        let confirms = group.terms.mode != Mode::Async && group.succession.contains(&self.me.instance);
        self.wished_upstream().filter(|_| !confirms && self.postgres.cascade.direct_until.is_none())
    }

    /// Through whom its Postgres was told to receive.
    pub(super) fn through(&self) -> Option<InstanceName> {
        let told = self.postgres.seen.following.as_ref()?;
        let other = self.primary().is_some_and(|primary| primary.instance != told.instance);
        let standby = other && self.wished_upstream().as_ref() == Some(told);
        (standby && self.postgres.seen.role == Role::Standby).then(|| told.instance.clone())
    }

    /// Postgres was looked at: gives the standby up that nothing comes from, or nothing new, and takes it up again in time.
    pub(super) fn watch_cascade(&mut self, now: Time) {
        let seen = &self.postgres.seen;
        let told =
            seen.role == Role::Standby && seen.following.is_some() && seen.following == self.cascades_from();
        let cascade = &mut self.postgres.cascade;
        cascade.direct_until.take_if(|until| now >= *until);
        let received = (told && seen.streaming).then_some(seen.position.received);
        if cascade.received.map(|(at, _)| at) != received {
            cascade.received = received.map(|at| (at, now));
        }
        if !told || seen.streaming {
            cascade.silent_since = None;
        }
        let silent = told && !seen.streaming && now >= *cascade.silent_since.get_or_insert(now) + PATIENCE;
        if silent || cascade.stalled(now) {
            (cascade.silent_since, cascade.received) = (None, None);
            cascade.direct_until = Some(now + (AGAIN.0 * (1 << cascade.failures.min(5))).min(AGAIN.1));
            cascade.failures = cascade.failures.saturating_add(1);
        }
    }
}
