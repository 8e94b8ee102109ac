//! Leases and promotions, with and without a Raft leader.

use super::support::{Agent, Cluster, eventually};
use regent_core::message::{Refusal, ToAgent};
use regent_proto::v1::{
    RestartHow, RestartRequest, SetElectorateRequest, SwitchoverRequest, TransferLeaderRequest,
};
use std::time::Duration;

/// Long enough that a busy machine causes no vote by itself.
const CALM: u64 = 3_000;
const QUICK: u64 = 300;

/// Three agents; `a` is primary and holds its lease, the others are in the succession.
async fn calm(cluster: &Cluster, ttl_ms: u64) -> Vec<Agent> {
    cluster.create_group(ttl_ms).await;
    let agents: Vec<Agent> = ["a", "b", "c"].iter().map(|name| Agent::faithful(cluster, name)).collect();
    for node in cluster.alive() {
        eventually("a lease and two successors", || async {
            let group = node.group().await?;
            let places = group.instances.iter().filter(|one| one.place > 0).count();
            (group.leased && places == 2 && group.promised_by.len() == 3).then_some(())
        })
        .await;
    }
    agents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_promised_its_lease_and_status_says_who_would_follow() {
    let cluster = Cluster::start().await;
    let agents = calm(&cluster, CALM).await;
    for node in 1..=3 {
        agents[0].promised_by(node, 1, 0).await;
    }
    let group = cluster.nodes[2].group().await.unwrap();
    assert_eq!((group.epoch, group.primary.as_str()), (1, "a"));
    let forecast = group.forecast.unwrap();
    assert_eq!(forecast.heir, "b");
    assert!(forecast.outage_ms > 0 && forecast.words.contains("b would take over"), "{}", forecast.words);
    assert_eq!(group.troubles, Vec::<String>::new());
    let fences: Vec<_> = group.instances.iter().map(|one| one.fences.join(" ")).collect();
    assert_eq!(fences, ["gate agent"; 3]);
    let status = cluster.nodes[0].status().await.unwrap();
    let mut states: Vec<_> = status.nodes.iter().map(|node| node.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["follower", "follower", "leader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_raft_leader_takes_no_lease_away() {
    let mut cluster = Cluster::start().await;
    let agents = calm(&cluster, CALM).await;
    let leader = cluster.leader().await;
    cluster.node(leader).kill();
    let sent = agents[0].sent();
    for node in (1..=3).filter(|id| *id != leader) {
        agents[0].promised_by(node, 1, sent).await;
    }
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let sent = agents[0].sent();
    for node in cluster.alive() {
        agents[0].promised_by(node.id, 1, sent).await;
        assert_eq!(node.audit("vote"), Vec::<serde_json::Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_primary_is_voted_out_while_nobody_leads_and_the_vote_outlives_a_restart() {
    // So slow an election that the decision is sure to come first.
    let mut cluster = Cluster::with_round_trip(2_000).await;
    let agents = calm(&cluster, QUICK).await;
    let leader = cluster.leader().await;
    cluster.node(leader).kill();
    agents[0].say(|words| words.silent = true);
    let survivors: Vec<u64> = cluster.alive().map(|node| node.id).collect();
    eventually("the certificate at the heir", || async {
        let decided = agents[1].heard(|_, message| match message {
            ToAgent::Decided(certificate) => Some((certificate.epoch().0, certificate.named().clone())),
            _ => None,
        });
        decided.into_iter().find(|(epoch, named)| *epoch >= 2 && named.as_str() != "a")
    })
    .await;
    // Nobody led between the loss and the decision.
    for node in cluster.alive() {
        let decided_at = eventually("the decision at the node", || async {
            let mut decided = node.audit("decided").into_iter();
            decided.find(|event| event["epoch"].as_u64() >= Some(2))?["t_ns"].as_u64()
        })
        .await;
        let elected_after = |event: &serde_json::Value| event["t_ns"].as_u64().unwrap() > decided_at;
        assert!(node.audit("leader").iter().all(elected_after), "node {}", node.id);
    }
    let restarted = survivors[0];
    let floor = cluster.node(restarted).standing().await.unwrap().floor;
    assert!(floor >= 2);
    cluster.node(restarted).kill();
    cluster.node(restarted).start();
    let node = &cluster.nodes[restarted as usize - 1];
    let after = eventually("the restarted witness", || node.standing()).await;
    assert!(after.floor >= floor, "floor {} became {}", floor, after.floor);
    // The old primary comes back and finds its epoch refused.
    agents[0].say(|words| {
        (words.silent, words.takes_office, words.claims) = (false, false, Some(1));
    });
    eventually("a refusal", || async {
        let refused = agents[0].heard(|node, message| match message {
            ToAgent::Heard { refused: Some(Refusal::Stale { floor }), .. } => Some((node, floor.0)),
            _ => None,
        });
        refused.into_iter().find(|(node, at)| *node == restarted && *at >= floor)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_records_what_the_witnesses_decided() {
    let cluster = Cluster::start().await;
    let agents = calm(&cluster, QUICK).await;
    agents[0].say(|words| words.silent = true);
    for node in cluster.alive() {
        let group = eventually("the record", || async {
            node.group().await.filter(|group| group.group.as_ref().is_some_and(|known| known.epoch >= 2))
        })
        .await;
        let history = group.group.unwrap().history;
        assert_eq!((history[0].epoch, history[0].primary.as_str()), (1, "a"));
        assert_ne!(history[1].primary, "a");
        assert!(history[1].voters.len() >= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_goes_where_it_is_asked_to_from_any_node() {
    let cluster = Cluster::start().await;
    let _agents = calm(&cluster, CALM).await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|node| node.id != leader).unwrap();
    let request = SwitchoverRequest { group: "g".into(), to: Some("c".into()), ..Default::default() };
    let moved = follower.admin().await.switchover(request.clone()).await.unwrap().into_inner();
    assert_eq!((moved.epoch, moved.primary.as_str(), moved.region.as_str()), (2, "c", "r3"));
    eventually("the lease of c", || async {
        let group = follower.group().await?;
        (group.leased && group.primary == "c").then_some(())
    })
    .await;
    let refused = follower.admin().await.switchover(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    let stranger = SwitchoverRequest { group: "g".into(), to: Some("x".into()), ..Default::default() };
    let unknown = follower.admin().await.switchover(stranger).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    assert!(unknown.message().contains("a in r1, b in r2, c in r3"), "{unknown}");
}

/// As a standby, or as the primary it is; where that would take too long, by handing over. Each time any node may be asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_restarted_as_what_it_is() {
    let cluster = Cluster::start().await;
    let agents = calm(&cluster, CALM).await;
    let leader = cluster.leader().await;
    let follower = cluster.nodes.iter().find(|node| node.id != leader).unwrap();
    let ask = async |of: &str| {
        let request = RestartRequest { group: "g".into(), instance: of.into(), wait_ms: None };
        follower.admin().await.restart(request).await.map(tonic::Response::into_inner)
    };
    assert_eq!(ask("c").await.unwrap().how(), RestartHow::AsStandby);
    let done = ask("a").await.unwrap();
    assert_eq!((done.how(), done.to), (RestartHow::InPlace, None));
    agents[2].say(|words| words.restarts_not = "it will not stop".into());
    let off = ask("c").await.unwrap_err();
    assert_eq!(off.code(), tonic::Code::FailedPrecondition);
    assert_eq!(off.message(), "the restart of c was called off: it will not stop");
    assert_eq!(ask("x").await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(follower.group().await.unwrap().epoch, 1, "nobody was promoted");

    agents[0].say(|words| words.starts_in = Duration::from_secs(1));
    let done =
        eventually("a is moved", || async { ask("a").await.ok().filter(|done| done.to.is_some()) }).await;
    assert_eq!((done.how(), done.to.as_deref()), (RestartHow::AfterSwitchover, Some("b")));
    let after = follower.group().await.unwrap();
    assert_eq!((after.epoch, after.primary.as_str()), (2, "b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_electorate_shrinks_and_grows_while_the_primary_stays() {
    let cluster = Cluster::start().await;
    let _agents = calm(&cluster, QUICK * 3).await;
    for electorate in [vec![1, 2], vec![1, 2, 3]] {
        let mut request =
            tonic::Request::new(SetElectorateRequest { group: "g".into(), electorate: electorate.clone() });
        request.set_timeout(super::support::PATIENCE);
        let group = cluster.nodes[0].admin().await.set_electorate(request).await.unwrap().into_inner();
        assert_eq!(group.electorate, electorate);
        assert_eq!(group.primary.as_deref(), Some("a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_leadership_moves_where_it_is_asked_to() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let to = 1 + leader % 3;
    for node in &cluster.nodes {
        node.admin().await.transfer_leader(TransferLeaderRequest { to }).await.unwrap();
        assert_eq!(cluster.leader().await, to);
    }
    let unknown =
        cluster.nodes[0].admin().await.transfer_leader(TransferLeaderRequest { to: 9 }).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::NotFound, "no node 9: known are 1, 2, 3"));
}
