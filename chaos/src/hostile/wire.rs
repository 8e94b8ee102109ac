//! Callers that speak the protocol, and say what may not be said.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use regent_proto::v1;
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::agent_message::Message as ByAgent;
use regent_proto::v1::node_message::Message as ByNode;
use regent_proto::v1::witness_client::WitnessClient;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::Victim;
use crate::cluster::CLUSTER;
use crate::cluster::topology::{GROUP, REGIONS, instance};

const AGAIN: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1);
/// Far above what a node takes.
const HUGE: usize = 8 << 20;

async fn channel(node: SocketAddr) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{node}")).ok()?;
    timeout(PATIENCE, endpoint.connect()).await.ok()?.ok()
}

/// Says these to a node as an agent would, and waits for what comes of it.
async fn attend(node: SocketAddr, messages: Vec<ByAgent>) {
    let Some(channel) = channel(node).await else { return };
    let mut client = WitnessClient::new(channel).max_encoding_message_size(2 * HUGE);
    let messages = messages.into_iter().map(|message| v1::AgentMessage { message: Some(message) });
    let open = stream::iter(messages.collect::<Vec<_>>()).chain(stream::pending());
    let answers = async {
        let mut answers = client.attend(open).await.ok()?.into_inner();
        while answers.message().await.ok()?.is_some() {}
        Some(())
    };
    let _ = timeout(PATIENCE, answers).await;
}

/// The same as a node would.
async fn confer(node: SocketAddr, messages: Vec<ByNode>) {
    let Some(channel) = channel(node).await else { return };
    let mut client = WitnessClient::new(channel);
    let messages = messages.into_iter().map(|message| v1::NodeMessage { message: Some(message) });
    let open = stream::iter(messages.collect::<Vec<_>>()).chain(stream::pending());
    let answers = async {
        let mut answers = client.confer(open).await.ok()?.into_inner();
        while answers.message().await.ok()?.is_some() {}
        Some(())
    };
    let _ = timeout(PATIENCE, answers).await;
}

/// A stranger's hello: of no instance that there is, so that nobody's own stream is taken from him.
fn hello(cluster: &str) -> ByAgent {
    let (group, instance, region) = (GROUP.into(), "nobody".into(), REGIONS[0].into());
    let (cluster, address) = (cluster.into(), "a:5432".into());
    ByAgent::Hello(v1::Hello { cluster, group, instance, region, address, tags: None })
}

fn report(damage: impl FnOnce(&mut v1::Report)) -> ByAgent {
    let mut report = v1::Report {
        group: GROUP.into(),
        instance: "nobody".into(),
        seq: Some(v1::Seq { incarnation: 1, number: 1 }),
        position: Some(v1::Position::default()),
        ..Default::default()
    };
    damage(&mut report);
    ByAgent::Report(report)
}

/// Wrong clusters, missing fields, names that are none, reports in another's name.
pub async fn malformed(victim: Victim) {
    let cases = || {
        [
            vec![hello("other")],
            vec![report(|_| ())],
            vec![hello(CLUSTER), report(|report| report.seq = None)],
            vec![hello(CLUSTER), report(|report| report.instance = instance(0))],
            vec![hello(CLUSTER), report(|report| report.group = "Bad Name".into())],
            vec![hello(CLUSTER), report(|report| report.position = None)],
        ]
    };
    loop {
        for case in cases() {
            attend(victim.node, case).await;
            sleep(AGAIN).await;
        }
        for (from, to) in [(victim.id, victim.id), (victim.nodes + 1, victim.id), (1, victim.nodes + 1)] {
            let hello = v1::NodeHello { cluster: CLUSTER.into(), from, to };
            confer(victim.node, vec![ByNode::Hello(hello)]).await;
            sleep(AGAIN).await;
        }
    }
}

/// Reports and commands that are larger than anybody takes.
pub async fn oversized(victim: Victim) {
    loop {
        let huge = report(|report| report.trouble = "x".repeat(HUGE));
        attend(victim.node, vec![hello(CLUSTER), huge]).await;
        if let Some(channel) = channel(victim.node).await {
            let mut admin = AdminClient::new(channel).max_encoding_message_size(2 * HUGE);
            let group = "x".repeat(HUGE);
            let request = v1::CreateGroupRequest { group, ..Default::default() };
            let _ = timeout(PATIENCE, admin.create_group(request)).await;
        }
        sleep(AGAIN).await;
    }
}

/// Votes for every epoch that is over, in the name of another node, for each instance in turn: what a network that delivers
/// everything again, years later, would say. Votes for the epoch that holds or for one to come are forgeries, and not what is
/// claimed.
pub async fn replay(victim: Victim) {
    let from = victim.id % victim.nodes + 1;
    let hello = || v1::NodeHello { cluster: CLUSTER.into(), from, to: victim.id };
    let old = (1..victim.epoch).flat_map(|floor| (0..REGIONS.len()).map(move |named| (floor, named)));
    for (floor, named) in old.cycle() {
        let vote = vote(from, floor, named, victim.nodes);
        confer(victim.node, vec![ByNode::Hello(hello()), ByNode::Vote(vote)]).await;
        sleep(AGAIN).await;
    }
}

fn vote(witness: u64, floor: u64, named: usize, nodes: u64) -> v1::Vote {
    v1::Vote {
        group: GROUP.into(),
        witness,
        floor,
        named: instance(named),
        since: floor,
        rest: Vec::new(),
        seq: Some(v1::Seq { incarnation: 1, number: 1 }),
        ttl_us: 250_000,
        basis: 0,
        revision: 1,
        electorate: (1..=nodes).collect(),
        reason: v1::Reason::Silent.into(),
        configuration: None,
    }
}
