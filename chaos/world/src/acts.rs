//! What can be done to the world: by a line of a script, or by a fault of a schedule.

use crate::links::End;
use crate::words::inst;
use crate::world::{Happening, Mail, NodeIndex, Proc, World};
use regent_core::command::Command;
use regent_core::ids::{Epoch, InstanceName, NodeId, RegionName, Revision};
use regent_core::message::{Solicit, ToNode};
use regent_core::replication::{Mode, Offer, Policy, check_change};
use regent_core::switchover::{WAIT, Wish, check};
use regent_core::tags::Tags;
use regent_core::vote::Reason;

impl World {
    pub(crate) fn each_in(&mut self, region: usize, act: fn(&mut World, Proc)) {
        for end in self.links.ends_in(region) {
            act(self, self.ends[end]);
        }
    }

    pub(crate) fn kill(&mut self, who: Proc) {
        match who {
            Proc::Node(at) => self.kill_node(at),
            Proc::Host(who) => self.kill_host(who),
        }
    }

    pub(crate) fn start(&mut self, who: Proc) {
        match who {
            Proc::Node(at) => self.start_node(at),
            Proc::Host(who) => self.start_agent(who),
        }
    }

    /// Kills a process and starts it at once; an instance's Postgres goes on.
    pub(crate) fn restart(&mut self, who: Proc) {
        match who {
            Proc::Node(at) => self.kill_node(at),
            Proc::Host(who) => self.kill_agent(who),
        }
        self.start(who);
    }

    pub(crate) fn freeze(&mut self, who: Proc, frozen: bool) {
        match who {
            Proc::Node(at) => self.nodes[at].process.frozen = frozen,
            Proc::Host(who) => self.hosts[who].process.frozen = frozen,
        }
        self.pump(who);
    }

    pub(crate) fn cut(&mut self, a: End, b: End) {
        self.links.cut(a, b);
        self.links.cut(b, a);
    }

    pub(crate) fn heal(&mut self, a: End, b: End) {
        let was = self.links.heal(a, b);
        if !(self.links.heal(b, a) || was) {
            return;
        }
        match (self.ends[a], self.ends[b]) {
            (Proc::Host(who), Proc::Node(at)) | (Proc::Node(at), Proc::Host(who)) => self.link(who, at),
            _ => {}
        }
    }

    pub(crate) fn across(&self, region: usize) -> Vec<(End, End)> {
        let inside = self.links.ends_in(region);
        let outside: Vec<End> = self.links.ends().into_iter().filter(|end| !inside.contains(end)).collect();
        inside.iter().flat_map(|a| outside.iter().map(|b| (*a, *b))).collect()
    }

    pub(crate) fn cut_region(&mut self, region: usize) {
        self.across(region).iter().for_each(|(a, b)| self.cut(*a, *b));
    }

    pub(crate) fn heal_region(&mut self, region: usize) {
        self.across(region).iter().for_each(|(a, b)| self.heal(*a, *b));
    }

    /// All faults off: links as usual, everything runs.
    pub(crate) fn heal_all(&mut self) {
        self.links.usual_delays();
        self.raft.lag.clear();
        let ends = self.links.ends();
        for (place, a) in ends.iter().enumerate() {
            for b in &ends[place + 1..] {
                self.heal(*a, *b);
            }
        }
        for end in &ends {
            self.freeze(self.ends[*end], false);
            self.start(self.ends[*end]);
        }
    }

    /// A person asks the leader for a switchover.
    pub(crate) fn switchover(&mut self, group: usize, to: &InstanceName) {
        let Some(at) = self.raft.leader else { return self.say(|_| "no leader to ask".to_owned()) };
        let now = self.local(at);
        let peer = &mut self.nodes[at];
        let name = &self.groups[group];
        let Some(known) = peer.state.groups.get(name) else { return };
        let wish = Wish { to: Some(to), wait: WAIT, drained: &peer.state.drained };
        let region_of = |id| peer.state.nodes.get(&id).map(|node| node.region.clone());
        match check(known, peer.view.group(name), wish, region_of, now) {
            Ok(plan) => peer.view.ask_hand_over(name, plan.wish, now),
            Err(why) => self.say(|_| format!("refused: {why}")),
        }
    }

    /// A person asks the leader to drain a region, or to end that.
    pub(crate) fn drain(&mut self, region: &str, drained: bool) {
        let Some(leader) = self.raft.leader else { return self.say(|_| "no leader to ask".to_owned()) };
        let region = RegionName::new(region).expect("a region's name");
        self.propose(leader, Command::SetDrained { region, drained });
    }

    /// A person asks the leader for another electorate.
    pub(crate) fn wish_electorate(&mut self, group: usize, electorate: impl IntoIterator<Item = NodeId>) {
        let Some(leader) = self.raft.leader else { return self.say(|_| "no leader to ask".to_owned()) };
        let group = self.groups[group].clone();
        let electorate = electorate.into_iter().collect();
        self.propose(leader, Command::SetDesiredElectorate { group, electorate });
    }

    /// A person asks the leader for another mode.
    pub(crate) fn set_mode(&mut self, group: usize, mode: Mode, policy: Policy) {
        let Some(leader) = self.raft.leader else { return self.say(|_| "no leader to ask".to_owned()) };
        let now = self.local(leader);
        let peer = &self.nodes[leader];
        let name = self.groups[group].clone();
        let Some(known) = peer.state.groups.get(&name) else { return };
        match check_change(known, peer.view.group(&name), mode, now) {
            Ok(()) => self.propose(leader, Command::SetMode { group: name, mode, policy }),
            Err(why) => self.say(|_| format!("refused: {why}")),
        }
    }

    /// A node asks all witnesses for a vote, as a leader would that sees things so.
    pub(crate) fn solicit(&mut self, by: NodeIndex, epoch: Epoch, named: &InstanceName) {
        let group = self.hosts[self.host_index(named)].me.group.clone();
        // A node that has not replayed its log yet has nothing to ask.
        let Some(known) = self.nodes[by].state.groups.get(&group) else { return };
        let revision = known.revision;
        let solicit = Solicit { group, epoch, named: named.clone(), revision, reason: Reason::Reaffirmed };
        self.tell_nodes(by, &ToNode::Solicit(solicit.clone()));
        self.at(self.now, Happening::Mail(Proc::Node(by), Mail::ToNode(ToNode::Solicit(solicit))));
    }

    /// Somebody proposes a succession that was decided on `back` revisions ago.
    pub(crate) fn propose_succession(
        &mut self,
        epoch: Epoch,
        back: u64,
        succession: Vec<InstanceName>,
        offer: Option<Offer>,
    ) {
        let Some(leader) = self.raft.leader else { return self.say(|_| "no leader to ask".to_owned()) };
        let Some(first) = succession.first() else { return };
        let group = self.hosts[self.host_index(first)].me.group.clone();
        let Some(known) = self.raft.state.groups.get(&group) else { return };
        let revision = Revision(known.revision.0.saturating_sub(back));
        self.propose(leader, Command::SetSuccession { group, epoch, revision, succession, offer });
    }

    /// An operator changes an agent's tags, and starts it again.
    pub(crate) fn tag(&mut self, who: crate::invariants::HostId, tags: Tags) {
        self.hosts[who].me.at.tags = tags;
        self.restart(Proc::Host(who));
    }

    /// How an instance is written.
    pub(crate) fn name_of(&self, who: crate::invariants::HostId) -> String {
        inst(&self.hosts[who].me.instance)
    }
}
