//! Everything an admin asks for at three in the morning, as this node sees it.

use crate::node::Book;
use crate::raft::Leadership;
use regent_core::drain::is_drained;
use regent_core::forecast::{forecast, too_far};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName};
use regent_core::message::KernelFence;
use regent_core::replication::{Mode, Policy};
use regent_core::state::{Group, State};
use regent_core::succession::{lag_bytes, why_not};
use regent_core::tags::unheeded;
use regent_core::time::Time;
use regent_core::view::GroupView;
use regent_proto::api::{Forecast, GroupStatus, InstanceStatus, NodeStatus, Status, Switching};
use std::time::Duration;

/// What a forecast adds when nobody would be left to confirm.
const WAITS: &str = "; commits then wait until another instance is back to confirm them";

/// A node that was not heard for so long is not reachable, whatever its streams look like.
const UNHEARD: Duration = Duration::from_secs(3);

/// The cluster as this node sees it; all groups when none is named.
pub fn status(book: &Book, groups: &[GroupName], now: Time) -> Status {
    let (state, leadership) = (book.state(), book.leadership());
    let wanted = |group: &&Group| groups.is_empty() || groups.contains(&group.name);
    Status {
        cluster: state.cluster.clone(),
        node: book.me,
        leader: leadership.leader.map(NodeId),
        term: leadership.term,
        nodes: nodes(book, &state, &leadership, now),
        groups: state
            .groups
            .values()
            .filter(wanted)
            .map(|group| Look { book, state: &state, leadership: &leadership, group, now }.status())
            .collect(),
        drained: state.drained.iter().cloned().collect(),
    }
}

fn nodes(book: &Book, state: &State, leadership: &Leadership, now: Time) -> Vec<NodeStatus> {
    let describe = |(id, node): (NodeId, regent_core::command::Node)| {
        let reachable = reachable(book, id, now);
        let word = match reachable {
            false => "unreachable",
            true if leadership.leader == Some(id.0) => "leader",
            true => "follower",
        };
        let heard = if id == book.me { Some(now) } else { book.heard.get(&id).copied() };
        let heard = heard.map(|at| now.since(at));
        NodeStatus { id, region: node.region, address: node.address, state: word.to_owned(), heard }
    };
    book.members(state).into_iter().map(describe).collect()
}

fn reachable(book: &Book, id: NodeId, now: Time) -> bool {
    let open = book.open.get(&id).is_some_and(|open| *open > 0);
    // Without groups nodes have nothing to say to each other.
    let quiet = book.state().groups.is_empty();
    let lately = book.heard.get(&id).is_some_and(|at| quiet || now.since(*at) < UNHEARD);
    id == book.me || (open && lately)
}

struct Look<'a> {
    book: &'a Book,
    state: &'a State,
    leadership: &'a Leadership,
    group: &'a Group,
    now: Time,
}

impl Look<'_> {
    fn view(&self) -> &GroupView {
        self.book.view.group(&self.group.name)
    }

    fn status(&self) -> GroupStatus {
        let (epoch, primary) = self.view().current(self.group);
        GroupStatus {
            group: self.group.clone(),
            epoch,
            primary: primary.cloned(),
            promised_by: self.promised_by(),
            leased: self.leased(),
            instances: self.group.instances.keys().map(|name| self.instance(name)).collect(),
            forecast: primary.map(|_| self.forecast()),
            troubles: self.troubles(),
            switching: self.view().switching().map(|known| self.switching(known)),
        }
    }

    fn switching(&self, known: &regent_core::switchover::Switching) -> Switching {
        let waited = |held| known.passed.unwrap_or(self.now).since(held);
        Switching {
            from: known.from.clone(),
            to: known.to.clone(),
            step: known.step,
            why: known.why.clone(),
            began: self.now.since(known.began),
            held: known.held.map(waited),
            over: known.passed.is_some() || (known.held.is_none() && !known.step.under_way()),
        }
    }

    fn promised_by(&self) -> Vec<NodeId> {
        let (_, Some(primary)) = self.view().current(self.group) else { return Vec::new() };
        let promised = |standing: &&regent_core::message::Standing| {
            standing.promised.as_ref().is_some_and(|(holder, _)| holder == primary)
        };
        self.view()
            .standings(self.group, self.now)
            .filter(promised)
            .map(|standing| standing.witness)
            .collect()
    }

    fn leased(&self) -> bool {
        let (epoch, primary) = self.view().current(self.group);
        primary
            .and_then(|primary| self.view().fresh(self.group, primary, self.now))
            .is_some_and(|report| report.leased && report.claims == Some(epoch))
    }

    fn instance(&self, name: &InstanceName) -> InstanceStatus {
        let at = &self.group.instances[name];
        let heard = self.view().last_report(name);
        let report = heard.map(|(report, _)| report);
        let fresh = self.view().fresh(self.group, name, self.now);
        let mut fences = Vec::new();
        if fresh.is_some_and(|report| report.gate_armed) {
            fences.push("gate".to_owned());
        }
        if fresh.is_some() {
            fences.push("agent".to_owned());
        }
        if fresh.is_some_and(|report| report.kernel_fence == KernelFence::Armed) {
            fences.push("kernel".to_owned());
        }
        let place = self.group.succession.iter().position(|member| member == name);
        let is_primary = self.view().current(self.group).1 == Some(name);
        let drained = || {
            let drained = place.is_none() && is_drained(self.group, name, &self.state.drained);
            drained.then(|| "is in a drained region".to_owned())
        };
        let unasked = || {
            let chosen = place.is_some() || self.group.terms.mode == Mode::Async;
            (!chosen).then(|| "does not confirm commits".to_owned())
        };
        let why_not = why_not(self.group, self.view(), name, self.now).or_else(drained).or_else(unasked);
        let why_not = why_not.filter(|_| !is_primary);
        InstanceStatus {
            name: name.clone(),
            region: at.region.clone(),
            address: at.address.clone(),
            role: report.map(|report| report.role),
            streaming: fresh.is_some_and(|report| report.streaming),
            position: report.map(|report| report.position),
            lag_bytes: report.and_then(|report| lag_bytes(self.group, self.view(), report)),
            heard: heard.map(|(_, at)| self.now.since(at)),
            fences,
            place: place.and_then(|place| u32::try_from(place + 1).ok()),
            why_not: why_not.unwrap_or_default(),
            trouble: report.map_or(String::new(), |report| report.trouble.clone()),
            progress: fresh.map_or(String::new(), |report| report.progress.clone()),
            pending_restart: fresh.map_or(Vec::new(), |report| report.pending_restart.clone()),
            through: fresh.and_then(|report| report.through.clone()),
        }
    }

    fn forecast(&self) -> Forecast {
        let region = |id: NodeId| self.state.nodes.get(&id).map(|node| node.region.clone());
        let (_, primary) = self.view().current(self.group);
        let primary_region: Option<RegionName> =
            primary.and_then(|name| self.group.instances.get(name)).map(|at| at.region.clone());
        match forecast(self.group, self.view(), region, primary_region, self.now) {
            Some(known) => {
                let (heir, ms) = (&known.heir, known.outage.as_millis());
                let loss = match (known.lost_bytes, known.rpo) {
                    (_, Some(rpo)) => {
                        format!("losing at most what was acknowledged in the last {} ms", rpo.as_millis())
                    }
                    (0, None) => "losing nothing known".to_owned(),
                    (bytes, None) => format!("losing about {bytes} bytes of WAL"),
                };
                let then = if known.waits { WAITS } else { "" };
                let words = format!("{heir} would take over in about {ms} ms, {loss}{then}");
                let (outage, lost_bytes, waits) = (known.outage, known.lost_bytes, known.waits);
                Forecast { heir: Some(known.heir), outage, lost_bytes, waits, words }
            }
            None => Forecast {
                heir: None,
                outage: Duration::ZERO,
                lost_bytes: 0,
                waits: false,
                words: "nobody could take over: see why not beside each instance".to_owned(),
            },
        }
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.leadership.leader.is_none() {
            troubles.push(
                "nobody leads Raft: leases and promotions go on, but nothing is recorded or changed until the nodes \
                 elect"
                    .to_owned(),
            );
        }
        self.primary_troubles(&mut troubles);
        for id in self.group.electorate.iter().filter(|id| !reachable(self.book, **id, self.now)) {
            troubles.push(format!("node {id} of the electorate is unreachable from node {}", self.book.me));
        }
        for name in self.group.instances.keys() {
            let fresh = self.view().fresh(self.group, name, self.now);
            if let Some(KernelFence::NotArmed(why)) = fresh.map(|report| &report.kernel_fence) {
                troubles.push(format!("{name}: kernel fence: not armed: {why}"));
            }
        }
        let reports = self.group.instances.keys().filter_map(|name| self.view().last_report(name));
        for (report, _) in reports.filter(|(report, _)| !report.trouble.is_empty()) {
            troubles.push(format!("{}: {}", report.instance, report.trouble));
        }
        let fresh = self.view().all_fresh(self.group, self.now);
        for report in fresh.filter(|report| !report.warning.is_empty()) {
            troubles.push(format!("{}: {}", report.instance, report.warning));
        }
        for name in self.group.instances.keys() {
            troubles.extend(unheeded(self.group, name).map(|why| format!("{name}: {why}")));
        }
        troubles
    }

    /// What keeps the mode from being what it says.
    fn unconfirmed(&self) -> Option<String> {
        let terms = &self.group.terms;
        let (asked, there) = (terms.mode.count(), self.group.succession.len());
        if there >= asked && (asked == 0 || self.group.in_force()) {
            return None;
        }
        Some(match (self.group.in_force(), there, terms.policy) {
            (false, ..) => {
                format!("{} is not in force yet: the primary has still to say who confirms", terms.mode)
            }
            (_, 0, Policy::Block) => "commits wait: no standby confirms them".to_owned(),
            (_, 0, Policy::Degrade) => {
                "DEGRADED: no standby confirms commits, they are durable at the primary alone".to_owned()
            }
            _ => format!("{there} of {asked} standbys confirm commits"),
        })
    }

    fn primary_troubles(&self, troubles: &mut Vec<String>) {
        let (epoch, primary) = self.view().current(self.group);
        let Some(primary) = primary else {
            troubles.push("no primary yet: waiting for the first instance to report".to_owned());
            return;
        };
        if !self.leased() {
            troubles.push(format!("primary {primary} of epoch {epoch} holds no lease: commits wait"));
        }
        if let Some(far) = too_far(self.group, self.view(), primary, self.now) {
            troubles.push(format!(
                "a ttl of {} ms is too short: round trips from {primary} to a majority of the nodes take {:.1} ms, and its lease \
                 has breaks; create the group with `--ttl-ms {}` or more",
                self.group.terms.ttl.as_millis(),
                far.round_trip.as_secs_f64() * 1e3,
                far.enough.as_millis(),
            ));
        }
        if epoch > self.group.epoch {
            troubles.push(format!(
                "epoch {epoch} is decided but not in the log yet (there: {})",
                self.group.epoch
            ));
        }
        if self.group.succession.is_empty() {
            let what = "nobody is in the succession: the loss of the primary needs an operator";
            troubles.push(what.to_owned());
        }
        troubles.extend(self.unconfirmed());
        let ahead: Vec<(NodeId, Epoch)> = self
            .view()
            .standings(self.group, self.now)
            .filter(|standing| standing.floor > epoch)
            .map(|standing| (standing.witness, standing.floor))
            .collect();
        for (witness, floor) in ahead {
            troubles.push(format!("node {witness} stands at epoch {floor}, beyond the decided {epoch}"));
        }
        let fresh = self.view().fresh(self.group, primary, self.now);
        if fresh.is_some_and(|report| !report.gate_armed) {
            troubles.push(format!("the gate of primary {primary} is not armed"));
        }
    }
}
