//! Puts nodes and instances into the world.

use crate::chance::Chance;
use crate::clock::Clock;
use crate::host::Host;
use crate::invariants::HostId;
use crate::node::Node;
use crate::postgres::Postgres;
use crate::process::Process;
use crate::words::{inst, node};
use crate::world::{Proc, Settings, World};
use regent_core::agent::{Agent, Identity, Words};
use regent_core::command::{self, Instance};
use regent_core::ids::{InstanceName, NodeId, RegionName};
use regent_core::state::State;
use regent_core::tags::Tags;
use regent_core::view::View;
use regent_core::witness::Witness;
use std::collections::BTreeMap;

/// The region of that number: `a` is the first.
pub fn region_name(region: usize) -> RegionName {
    let letter = u8::try_from(region).expect("few regions");
    RegionName::new(char::from(b'a' + letter)).expect("a letter is a name")
}

impl World {
    /// A world without anything left to chance.
    pub(crate) fn plain() -> World {
        World::new(Settings::plain(), Chance::new(0))
    }

    /// A node more, in a region of its own.
    pub(crate) fn add_node(&mut self, clock: Clock) {
        let index = self.nodes.len();
        let id = NodeId(index as u64 + 1);
        let end = self.links.place(&node(id), index);
        self.ends.push(Proc::Node(index));
        self.nodes.push(Node {
            id,
            end,
            clock,
            process: Process::new(),
            witness: Witness::new(id, [], clock.read(self.now)),
            durable: BTreeMap::new(),
            state: State::new("stage"),
            applied: 0,
            sent: 0,
            view: View::default(),
            stepped: 0,
            answers: BTreeMap::new(),
        });
        let member = |peer: &Node| {
            let region = region_name(World::node_index(peer.id));
            (peer.id, command::Node { region, address: format!("{}:7000", node(peer.id)) })
        };
        let members: BTreeMap<NodeId, command::Node> = self.nodes.iter().map(member).collect();
        self.nodes.iter_mut().for_each(|peer| peer.view.members = members.clone());
        for who in self.by_name.values().copied().collect::<Vec<_>>() {
            self.link(who, index);
        }
    }

    /// An instance more; its agent starts.
    pub(crate) fn add_host(
        &mut self,
        group: usize,
        who: InstanceName,
        tags: Tags,
        region: usize,
        clock: Clock,
    ) -> HostId {
        let index = self.hosts.len();
        let end = self.links.place(who.as_str(), region);
        self.ends.push(Proc::Host(index));
        let at = Instance { region: region_name(region), address: format!("{}:5432", who.as_str()), tags };
        let me = Identity { group: self.groups[group].clone(), instance: who.clone(), at };
        let (agent, _) = Agent::new(me.clone(), None, Default::default());
        let mut process = Process::new();
        process.up = false;
        self.invariants.found.names.push(inst(&who));
        self.hosts.push(Host {
            me,
            end,
            group,
            clock,
            process,
            agent,
            durable: None,
            postgres: Postgres::new(),
            gate: None,
            confirm: Words::default(),
            rpo: None,
            said_open: false,
            receives: None,
            probing: None,
            probe_due: 0,
            asks: None,
            kept: Default::default(),
        });
        self.by_name.insert(who, index);
        self.members[group].push(index);
        let hosts = &self.hosts;
        self.members[group].sort_by(|a, b| hosts[*a].me.instance.cmp(&hosts[*b].me.instance));
        self.start_agent(index);
        index
    }
}
