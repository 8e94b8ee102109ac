//! The write probes of the agents: one at a time beside every primary. Each takes as long as a commit takes, waits with a
//! Postgres that hangs or whose disk is stuck, and is refused by a shut gate.

use crate::clock::MS;
use crate::invariants::HostId;
use crate::world::{Mail, World};
use regent_core::agent::{PROBE_TIMEOUT, Probe};
use regent_core::message::Role;

/// How often a probe begins, unless the one before it takes longer.
const EVERY: u64 = 500 * MS;
/// How often one that is under way is looked at: when Postgres is looked at as well.
const LOOK: u64 = 50 * MS;

impl World {
    /// A primary's probe begins, goes on or ends.
    pub(crate) fn probe(&mut self, who: HostId) {
        let now = self.now;
        let host = &mut self.hosts[who];
        if host.postgres.role != Role::Primary || !host.process.up {
            host.probing = None;
            return;
        }
        if !now.is_multiple_of(LOOK) {
            return;
        }
        if let Some(began) = host.probing.filter(|began| now > *began + host.postgres.commit_takes) {
            let open = host.open(now).is_some();
            let probe = match (host.postgres.hung, open, host.postgres.disk_stuck) {
                (true, ..) | (_, true, true) => return,
                (_, false, _) => Probe::Barred,
                _ => Probe::Committed,
            };
            host.probing = None;
            let began = host.clock.read(began);
            self.mail_host(who, Mail::Probed(began, probe));
        }
        let host = &mut self.hosts[who];
        if host.probing.is_none() && now >= host.probe_due {
            (host.probing, host.probe_due) = (Some(now), now + EVERY);
        }
    }

    /// Whether it commits nothing, though it could: its gate is open, its agent works, and there is who could take over.
    pub(crate) fn judge_pulse(&mut self, who: HostId) {
        let host = &self.hosts[who];
        let stuck = host.postgres.hung || host.postgres.disk_stuck;
        let works = host.process.up && !host.process.frozen && !host.process.disk_stuck;
        let heirs = host.agent.group().is_some_and(|group| !group.succession.is_empty());
        let open = host.postgres.role == Role::Primary && host.open(self.now).is_some();
        let allowed = u64::try_from(PROBE_TIMEOUT.as_nanos()).expect("a short time");
        let (judged, found) = self.invariants.of(host.group);
        judged.hung.looked_at(who, stuck && works && heirs && open, allowed, found);
    }
}
