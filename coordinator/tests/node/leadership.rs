//! Who leads: reads and watches.

use super::support::{Agent, Cluster, eventually};
use regent_proto::v1::{
    Assignment, Consistency, GetPrimaryRequest, SwitchoverRequest, WatchEvent, WatchRequest,
};
use std::time::Duration;
use tonic::{Code, Request, Status};

async fn ask(
    cluster: &Cluster,
    node: u64,
    consistency: Consistency,
    patience: Duration,
) -> Result<Assignment, Status> {
    let consistency = consistency.into();
    let mut request = Request::new(GetPrimaryRequest { group: "g".into(), consistency });
    request.set_timeout(patience);
    let mut client = cluster.nodes[node as usize - 1].leadership().await;
    Ok(client.get_primary(request).await?.into_inner())
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(1);

async fn begun(cluster: &Cluster) -> Vec<Agent> {
    cluster.create_group(3_000).await;
    let agents: Vec<Agent> = ["a", "b", "c"].iter().map(|name| Agent::faithful(cluster, name)).collect();
    for node in cluster.alive() {
        eventually("a lease and two successors", || async {
            let group = node.group().await?;
            let places = group.instances.iter().filter(|one| one.place > 0).count();
            (group.leased && places == 2).then_some(())
        })
        .await;
    }
    agents
}

async fn switchover(cluster: &Cluster, to: &str) {
    eventually("a switchover", || async {
        let request = SwitchoverRequest { group: "g".into(), to: Some(to.into()), ..Default::default() };
        cluster.nodes[0].admin().await.switchover(request).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_a_primary_is_answered_with_epoch_zero() {
    let cluster = Cluster::start().await;
    cluster.create_group(3_000).await;
    let none = ask(&cluster, 2, Consistency::Linearizable, LONG).await.unwrap();
    assert_eq!((none.epoch, none.primary.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_answers_while_a_majority_lives_and_none_without() {
    let mut cluster = Cluster::start().await;
    let _agents = begun(&cluster).await;
    for node in 1..=3 {
        let answer = ask(&cluster, node, Consistency::Linearizable, LONG).await.unwrap();
        assert_eq!((answer.epoch, answer.primary.as_str(), answer.region.as_str()), (1, "a", "r1"));
        assert_eq!(answer.address, "a:5432");
        assert!(answer.revision > 0);
        let local = ask(&cluster, node, Consistency::Local, SHORT).await.unwrap();
        assert_eq!((local.epoch, local.primary.as_str()), (1, "a"));
    }
    // Nobody leads for a while: leadership of the group can be asked all the same.
    let leader = cluster.leader().await;
    cluster.node(leader).kill();
    let (x, y) = (1 + leader % 3, 1 + (leader + 1) % 3);
    assert_eq!(ask(&cluster, x, Consistency::Linearizable, LONG).await.unwrap().epoch, 1);
    cluster.node(y).kill();
    let alone = ask(&cluster, x, Consistency::Linearizable, SHORT).await.unwrap_err();
    assert_eq!(alone.code(), Code::Unavailable, "{alone}");
    assert!(alone.message().contains("no majority"), "{alone}");
    assert_eq!(ask(&cluster, x, Consistency::Local, SHORT).await.unwrap().epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_group_is_not_found_and_the_known_are_named() {
    let cluster = Cluster::start().await;
    cluster.create_group(3_000).await;
    let mut client = cluster.nodes[1].leadership().await;
    let request = GetPrimaryRequest { group: "nope".into(), ..Default::default() };
    let status = client.get_primary(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no group nope: known are g"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_after_a_change_never_show_what_was_before() {
    let cluster = Cluster::start().await;
    let _agents = begun(&cluster).await;
    for (epoch, to) in [(2, "b"), (3, "c"), (4, "a")] {
        switchover(&cluster, to).await;
        for node in 1..=3 {
            let answer = ask(&cluster, node, Consistency::Linearizable, LONG).await.unwrap();
            assert!(answer.epoch >= epoch, "node {node} answered {answer:?} after epoch {epoch}");
        }
    }
}

async fn next(watch: &mut tonic::Streaming<WatchEvent>) -> (u64, String, bool) {
    let event = tokio::time::timeout(LONG, watch.message()).await.unwrap().unwrap().unwrap();
    let assignment = event.assignment.unwrap();
    (assignment.epoch, assignment.primary, event.present)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_the_present_then_each_change_in_order_and_can_be_resumed() {
    let cluster = Cluster::start().await;
    let _agents = begun(&cluster).await;
    let mut client = cluster.nodes[2].leadership().await;
    let mut watch = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, (1, "a".into(), true));
    switchover(&cluster, "b").await;
    assert_eq!(next(&mut watch).await, (2, "b".into(), false));
    switchover(&cluster, "c").await;
    assert_eq!(next(&mut watch).await, (3, "c".into(), false));
    let from = [("g".to_owned(), 1)].into();
    let mut resumed =
        client.watch(WatchRequest { groups: vec!["g".into()], from }).await.unwrap().into_inner();
    assert_eq!(next(&mut resumed).await, (2, "b".into(), false));
    assert_eq!(next(&mut resumed).await, (3, "c".into(), false));
    let unknown =
        client.watch(WatchRequest { groups: vec!["x".into()], ..Default::default() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
