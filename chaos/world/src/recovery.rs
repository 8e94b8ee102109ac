//! The end of a run: the faults are over, for good or for all but a majority, and the groups have to be well again.

use crate::chance::Chance;
use crate::clock::MS;
use crate::history::{Log, linearizable_assignment};
use crate::invariants::heals::{self, Lack};
use crate::invariants::{HostId, Theorem};
use crate::profile::{Plan, Profile};
use crate::world::World;
use regent_core::ids::InstanceName;
use regent_core::message::Role;
use regent_core::quorum::is_majority;
use regent_core::replication::{Mode, Policy};
use std::time::Duration;

/// How long a group may take, beyond ten suspicions, until it writes again.
const WRITES: u64 = 15_000 * MS;
/// How long after that until everybody streams.
const STREAMS: u64 = 90_000 * MS;

/// For how long they have to.
const STEADY: u64 = 3_000 * MS;

/// What a region that stays away may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Dead,
    Cut,
}

impl World {
    /// Ends all faults, or all but in the regions that chance keeps away, and waits until all is well or the bound is
    /// over. Says whether recovery was demanded of every group.
    pub(crate) fn recovers(&mut self, seed: u64, profile: &Profile) -> bool {
        let mut chance = Chance::new(seed ^ 0x5EED);
        let partly = profile.plan == Plan::Swarm && chance.once_in(4);
        let away = if partly { self.pick_away(&mut chance) } else { Vec::new() };
        self.mend();
        let how = if chance.once_in(2) { Away::Dead } else { Away::Cut };
        for region in &away {
            match how {
                Away::Dead => self.each_in(*region, World::kill),
                Away::Cut => self.cut_region(*region),
            }
        }
        // Clients that stay away as well could say nothing of the rest.
        let here = (0..self.nodes.len()).find(|region| !away.contains(region)).unwrap_or(0);
        for client in self.clients.iter_mut().filter(|client| away.contains(&client.place)) {
            client.place = here;
        }
        let kept_away: Vec<_> = away.iter().map(|region| crate::build::region_name(*region)).collect();
        self.say(|_| match &kept_away[..] {
            [] => "-- all faults are over".to_owned(),
            away => format!("-- all faults are over, but regions {away:?} stay away"),
        });
        let begun = self.now;
        self.run(1_000 * MS);
        let demanded: Vec<usize> = (0..self.groups.len()).filter(|group| self.can(*group, &away)).collect();
        let since: Vec<(u64, u64)> = (0..self.groups.len()).map(|group| self.served(group)).collect();
        let bound = self.bound();
        self.wait(bound, |world| {
            demanded.iter().all(|group| world.lack(*group, since[*group].0, since[*group].1).is_none())
        });
        // What had been decided without the log may have changed the electorate meanwhile.
        let governed = |world: &World, group: &usize| world.governed(*group, &away);
        let demanded: Vec<usize> = demanded.into_iter().filter(|group| governed(self, group)).collect();
        for group in &demanded {
            let lack = self.lack(*group, since[*group].0, since[*group].1);
            self.settle_group(*group, lack, self.now - begun);
        }
        if partly || !self.is_sound() {
            return demanded.len() == self.groups.len();
        }
        self.wait_until_all_stream();
        for group in 0..self.groups.len() {
            let idle = (!self.idle(group).is_empty()).then_some(Lack::Streaming);
            self.settle_group(group, idle, self.now - begun);
        }
        self.settle_histories();
        true
    }

    /// Regions that stay away: fewer than half.
    fn pick_away(&self, chance: &mut Chance) -> Vec<usize> {
        let mut regions: Vec<usize> = (0..self.nodes.len()).collect();
        chance.shuffle(&mut regions);
        regions.truncate(chance.index((regions.len() - 1) / 2) + 1);
        regions
    }

    /// Whether a majority of a group's electorate is left.
    fn governed(&self, group: usize, away: &[usize]) -> bool {
        let Some(known) = self.raft.state.groups.get(&self.groups[group]) else { return false };
        let left =
            self.nodes.iter().enumerate().filter(|(at, _)| !away.contains(at)).map(|(_, peer)| &peer.id);
        is_majority(&known.electorate, left)
    }

    /// Whether what is left of a group can recover at all: a majority of its witnesses is left, and an instance with
    /// data that a majority of them may name, and who confirms its commits where they wait for that.
    fn can(&self, group: usize, away: &[usize]) -> bool {
        let Some(known) = self.raft.state.groups.get(&self.groups[group]) else { return false };
        if away.is_empty() {
            return true;
        }
        // Where commits wait for a standby, one has to be left beside the primary.
        let here = |who: &&HostId| !away.contains(&self.links.region(self.hosts[**who].end));
        let waits = known.terms.mode != Mode::Async && known.terms.policy == Policy::Block;
        if waits && self.members[group].iter().filter(here).count() < 2 {
            return false;
        }
        // Where an heir has to gather, enough of those have to be left whom it would ask.
        let asked = known.configuration.as_ref().filter(|of| of.must_gather());
        let answers = |name: &&InstanceName| here(&&self.by_name[*name]);
        if asked.is_some_and(|of| of.members.iter().filter(answers).count() < of.to_gather()) {
            return false;
        }
        let left: Vec<_> = self.nodes.iter().enumerate().filter(|(at, _)| !away.contains(at)).collect();
        let standings: Vec<_> = left
            .iter()
            .filter_map(|(at, peer)| peer.witness.standing(&self.groups[group], self.local(*at)))
            .collect();
        self.members[group].iter().any(|who| {
            let host = &self.hosts[*who];
            let data = host.postgres.role != Role::Preparing || host.postgres.role_before.is_some();
            let voters =
                standings.iter().filter(|s| s.may_name.contains(&host.me.instance)).map(|s| &s.witness);
            let named = is_majority(&known.electorate, voters)
                && standings.iter().all(|s| s.electorate == known.electorate);
            data && named && !away.contains(&self.links.region(host.end))
        })
    }

    /// The bound for the slowest group.
    fn bound(&self) -> u64 {
        let suspicions = self.raft.state.groups.values().map(|group| group.terms.suspicion);
        let longest = suspicions.max().unwrap_or(Duration::ZERO);
        WRITES + 10 * u64::try_from(longest.as_nanos()).expect("a short time")
    }

    fn wait(&mut self, span: u64, well: impl Fn(&World) -> bool) {
        let end = self.now + span;
        while self.now < end && self.is_sound() && !well(self) {
            self.run(100 * MS);
            self.judge_queues();
        }
    }

    /// A standby streams from the moment it is connected, also one that learns only then that it went too far on an old
    /// timeline: so all have to for a while.
    fn wait_until_all_stream(&mut self) {
        let streams = |world: &World| (0..world.groups.len()).all(|group| world.idle(group).is_empty());
        let end = self.now + STREAMS;
        let mut since = None;
        while self.now < end && self.is_sound() && since.is_none_or(|since| self.now < since + STEADY) {
            self.run(100 * MS);
            self.judge_queues();
            since = streams(self).then(|| since.unwrap_or(self.now));
        }
    }

    fn settle_group(&mut self, group: usize, lack: Option<Lack>, span: u64) {
        let name = self.groups[group].as_str().to_owned();
        heals::settle(&name, lack, span / 1_000 / MS, &mut self.invariants.found);
    }

    /// Writes acknowledged and reads answered so far.
    fn served(&self, group: usize) -> (u64, u64) {
        (self.tally.acknowledged[group], self.invariants.groups[group].reads.answered)
    }

    /// What a group lacks, when it had served so many writes and reads before.
    pub(crate) fn lack(&self, group: usize, writes: u64, reads: u64) -> Option<Lack> {
        let (written, read) = self.served(group);
        if self.gates(group).len() != 1 {
            Some(Lack::Primary)
        } else if !self.recorded(group) {
            Some(Lack::Record)
        } else if written <= writes {
            Some(Lack::Writes)
        } else if read <= reads {
            Some(Lack::Reads)
        } else {
            None
        }
    }

    /// All is calm: what was lost is accounted for, and every watcher knows.
    fn settle_histories(&mut self) {
        for group in 0..self.groups.len() {
            let known = &self.raft.state.groups[&self.groups[group]];
            let epoch = known.epoch;
            let log: Log =
                known.history.iter().map(|change| (change.epoch, change.primary.clone())).collect();
            let gates = self.gates(group);
            let running = self.nodes.iter().filter(|peer| peer.process.up).map(|peer| peer.id);
            let (judged, found) = self.invariants.of(group);
            judged.watch.settle(running, epoch, found);
            for broken in linearizable_assignment::check(&judged.told, &log) {
                found.demand(Theorem::LinearizableAssignment, false, |_| broken.sentence);
            }
            for (who, _) in gates {
                let postgres = &self.hosts[who].postgres;
                let lost = judged.loss.settle(who, &postgres.history, postgres.lsn, found);
                self.tally.lost += lost as u64;
            }
        }
    }
}
