//! What a primary's log has that its successor's has not: looked for by an agent before it rewinds, and judged when it has.

use crate::invariants::{HostId, Theorem};
use crate::postgres::Postgres;
use crate::world::{Mail, NodeIndex, World};
use regent_core::ids::{Epoch, GroupName, Lsn};
use regent_core::message::ToAgent;
use regent_core::tail::Tail;

/// A part of a log that another has not: the timeline it ends on, from, to.
pub type Part = (u32, u64, u64);

impl Postgres {
    /// What it has that `other` has not.
    pub fn beyond(&self, other: &Postgres) -> Option<Part> {
        let common = self.history.iter().zip(&other.history).take_while(|(own, its)| own == its).count();
        let starts = [self.history.get(common), other.history.get(common)];
        let fork = starts.into_iter().flatten().map(|branch| branch.start).min()?;
        (self.lsn > fork).then_some((self.timeline(), fork, self.lsn))
    }
}

impl World {
    /// An agent has looked for what only its Postgres has.
    pub(crate) fn keep(&mut self, who: HostId, epoch: Epoch, source: Option<&Postgres>) {
        let host = &self.hosts[who];
        let Some((timeline, from, to)) = source.and_then(|source| host.postgres.beyond(source)) else {
            return;
        };
        let instance = host.me.instance.clone();
        let (from, to, kept) = (Lsn(from), Lsn(to), format!("lost/{timeline}"));
        let commits = (to.0 - from.0) / 1_000;
        let tail = Tail { instance, epoch, timeline, from, to, commits, kept, found_unix_ms: 0 };
        self.mail_host(who, Mail::Kept(tail));
    }

    /// A rewind or a clone has replaced what was there: what only that had was kept before, and known durably.
    pub(crate) fn judge_replaced(&mut self, who: HostId, gone: Option<Part>) {
        let Some((timeline, from, to)) = gone else { return };
        let host = &self.hosts[who];
        let kept = host.kept.contains(&(timeline, to));
        self.invariants.found.demand(Theorem::LossIsAccounted, kept, |names| {
            format!("{} lost its timeline {timeline} from {from} to {to}, and nobody kept it", names[who])
        });
    }

    /// A node hears of a tail: the leader writes it down, and it is told when it is.
    pub(crate) fn tail_told(&mut self, at: NodeIndex, group: GroupName, tail: Tail) {
        let now = self.local(at);
        let peer = &mut self.nodes[at];
        if !peer.state.groups.get(&group).is_some_and(|known| known.knows_tail(&tail)) {
            return peer.view.tail(&group, tail, now);
        }
        let who = self.host_index(&tail.instance);
        self.tell_agent(at, who, ToAgent::TailRecorded { group, timeline: tail.timeline, from: tail.from });
    }
}
