//! What a node knows: its witness, what it has heard lately, what the log says, who leads. Only the loop writes in it.

use crate::config::Config;
use crate::raft::{Leadership, Replicated};
use regent_core::command::Node;
use regent_core::ids::{GroupName, NodeId};
use regent_core::restart;
use regent_core::state::{Rejected, State};
use regent_core::switchover::{self, Plan, Refused, Wish};
use regent_core::time::Time;
use regent_core::view::View;
use regent_core::witness::Witness;
use regent_proto::api::{Restart, Switchover};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// See above.
pub struct Book {
    /// This node.
    pub me: NodeId,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its witness.
    pub witness: Witness,
    /// What it heard.
    pub view: View,
    /// When each other node was heard last.
    pub heard: BTreeMap<NodeId, Time>,
    /// How many streams of each other node are open.
    pub open: BTreeMap<NodeId, usize>,
    pub(super) replicated: watch::Receiver<Replicated>,
    pub(super) leadership: watch::Receiver<Leadership>,
}

impl Book {
    /// The log's word, as applied here.
    pub fn state(&self) -> Arc<State> {
        self.replicated.borrow().state.clone()
    }

    /// Who leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.borrow().clone()
    }

    /// A group is not known to the witness here; those that are.
    pub fn unknown(&self, group: &GroupName) -> Rejected {
        let known = self.state().groups.keys().cloned().collect();
        Rejected::UnknownGroup { got: group.clone(), known }
    }

    /// What a switchover would do, as this node sees it.
    pub fn plan_switchover(&self, wish: &Switchover, now: Time) -> Result<Plan, Refused> {
        let state = self.state();
        let group = state.group(&wish.group)?;
        let wanted = Wish {
            to: wish.to.as_ref(),
            wait: wish.wait.unwrap_or(switchover::WAIT),
            drained: &state.drained,
        };
        let region_of = |id| state.nodes.get(&id).map(|node| node.region.clone());
        switchover::check(group, self.view.group(&wish.group), wanted, region_of, now)
    }

    /// What a restart would do, as this node sees it.
    pub fn plan_restart(&self, wish: &Restart, now: Time) -> Result<restart::Plan, Refused> {
        let state = self.state();
        let group = state.group(&wish.group)?;
        let wanted = Wish { to: None, wait: wish.wait.unwrap_or(switchover::WAIT), drained: &state.drained };
        let region_of = |id| state.nodes.get(&id).map(|node| node.region.clone());
        restart::check(group, self.view.group(&wish.group), &wish.instance, wanted, region_of, now)
    }

    /// The nodes as the log should have them. A node that is there already keeps its address unless this node's
    /// configuration has it in the words meant for everybody: where nodes reach each other at different addresses, each
    /// new leader would write down its own otherwise.
    pub fn members(&self, state: &State) -> BTreeMap<NodeId, Node> {
        let member = |peer: &crate::config::Peer| {
            let there = state.nodes.get(&NodeId(peer.id));
            let address = match there.filter(|_| peer.advertise.is_none()) {
                Some(there) => there.address.clone(),
                None => peer.advertised().to_owned(),
            };
            (NodeId(peer.id), Node { region: peer.region.clone(), address })
        };
        self.config.peers.iter().map(member).collect()
    }
}
