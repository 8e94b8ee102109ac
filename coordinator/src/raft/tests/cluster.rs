//! Clusters of nodes in this process, on loopback ports of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regent_core::command::{Command, Node};
use regent_core::ids::{NodeId, RegionName};
use regent_core::state::Applied;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::raft::error::{MembersError, ProposeError, StartError};
use crate::raft::{Change, Member, Raft, RaftConfig};

/// The longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the callback was told, as one line a change.
type Told = Arc<Mutex<Vec<String>>>;

struct Site {
    config: RaftConfig,
    told: Told,
    running: Option<Running>,
    _dir: TempDir,
}

struct Running {
    raft: Raft,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

struct Cluster {
    sites: BTreeMap<u64, Site>,
}

impl Cluster {
    /// Nodes 1 to `n`, founded, running, and of one mind who leads. So far apart that a machine with much else to do
    /// deposes nobody.
    async fn of(n: u64) -> Self {
        let cluster = Self::apart(n, Duration::from_millis(300)).await;
        cluster.agreed().await;
        cluster
    }

    /// The same, with the times for nodes that far apart.
    async fn apart(n: u64, max_round_trip: Duration) -> Self {
        let mut listeners = BTreeMap::new();
        let mut members = BTreeMap::new();
        for id in 1..=n {
            let (listener, member) = door(id).await;
            listeners.insert(id, listener);
            members.insert(id, member);
        }
        let sites = (1..=n).map(|id| (id, Site::new(id, members.clone(), max_round_trip))).collect();
        let mut cluster = Self { sites };
        for (id, listener) in listeners {
            cluster.start_on(id, listener).await.initialize().await.unwrap();
        }
        cluster
    }

    async fn start_on(&mut self, id: u64, listener: TcpListener) -> Raft {
        let site = self.sites.get_mut(&id).unwrap();
        let running = site.start(listener).await.unwrap();
        let raft = running.raft.clone();
        site.running = Some(running);
        raft
    }

    /// Starts a stopped node again, on the address it had.
    async fn restart(&mut self, id: u64) -> Raft {
        let addr = self.sites[&id].config.members[&id].addr.clone();
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(&addr).await {
                Ok(listener) => break listener,
                Err(e) => assert!(Instant::now() < deadline, "{addr}: {e}"),
            }
            tokio::task::yield_now().await;
        };
        self.start_on(id, listener).await
    }

    async fn stop(&mut self, id: u64) {
        let Running { raft, stop, server } = self.sites.get_mut(&id).unwrap().running.take().unwrap();
        raft.shutdown().await;
        // Gracefully, so that the connections are closed too, as they are when a process ends.
        stop.send(()).unwrap();
        server.await.unwrap();
    }

    fn node(&self, id: u64) -> &Raft {
        &self.sites[&id].running.as_ref().unwrap().raft
    }

    fn running(&self) -> impl Iterator<Item = (u64, &Raft)> {
        self.sites.iter().filter_map(|(id, site)| Some((*id, &site.running.as_ref()?.raft)))
    }

    /// The node that is ready to lead, as soon as there is one that is not `except`.
    async fn leader(&self, except: Option<u64>) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = |(id, raft): (u64, &Raft)| {
                (raft.leadership().borrow().ready && Some(id) != except).then_some(id)
            };
            if let Some(id) = self.running().find_map(ready) {
                return id;
            }
            assert!(Instant::now() < deadline, "no leader");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The leader, when all know it in the same term: the founders all stand for election at once, and that may take
    /// more than one term.
    async fn agreed(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader(None).await;
            let views: Vec<_> = self.running().map(|(_, raft)| raft.leadership().borrow().clone()).collect();
            if views.iter().all(|v| v.leader == Some(leader) && v.term == views[0].term) {
                return leader;
            }
            assert!(Instant::now() < deadline, "{views:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Until `id` has applied all that the leader has.
    async fn caught_up(&self, id: u64, index: u64) {
        let mut state = self.node(id).state();
        let reached = state.wait_for(|r| r.applied >= Some(index));
        let reached = tokio::time::timeout(PATIENCE, reached).await.map(|r| r.map(drop));
        assert!(reached.is_ok(), "node {id} did not reach {index}: {:?}", self.node(id).leadership());
    }

    fn told(&self, id: u64) -> Vec<String> {
        self.sites[&id].told.lock().unwrap().clone()
    }
}

impl Site {
    fn new(id: u64, members: BTreeMap<u64, Member>, max_round_trip: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = RaftConfig {
            cluster_id: "test".to_owned(),
            node_id: id,
            data_dir: dir.path().join("data"),
            members,
            max_round_trip,
        };
        Self { config, told: Told::default(), running: None, _dir: dir }
    }

    async fn start(&self, listener: TcpListener) -> Result<Running, StartError> {
        let told = self.told.clone();
        told.lock().unwrap().clear();
        let on_change = move |change: Change<'_>| {
            told.lock().unwrap().push(match change {
                Change::Applied { index, state, .. } => {
                    format!("{index} applied, {} nodes", state.nodes.len())
                }
                Change::Installed { index, state } => {
                    format!("{index} installed, {} nodes", state.nodes.len())
                }
            });
        };
        let raft = Raft::start(self.config.clone(), Box::new(on_change)).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = tonic::transport::Server::builder()
            .add_service(raft.service())
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                async move { drop(stopped.await) },
            );
        let server = tokio::spawn(async move { serve.await.unwrap() });
        Ok(Running { raft, stop, server })
    }
}

async fn door(id: u64) -> (TcpListener, Member) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let member = Member { region: format!("region-{id}"), addr: listener.local_addr().unwrap().to_string() };
    (listener, member)
}

fn set_node(id: u64) -> Command {
    let region = "north".parse::<RegionName>().unwrap();
    Command::SetNode { id: NodeId(id), node: Node { region, address: "10.0.0.1:1".to_owned() } }
}

async fn propose(raft: &Raft, id: u64) {
    let outcome = raft.propose(set_node(id), PATIENCE).await.unwrap();
    assert_eq!(outcome, Ok(Applied::Node(NodeId(id))));
}

fn applied(raft: &Raft) -> u64 {
    raft.state().borrow().applied.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_elect_propose_and_survive_the_stop_of_their_leader() {
    let mut cluster = Cluster::of(3).await;
    let first = cluster.leader(None).await;
    for i in 0..10 {
        propose(cluster.node(first), i).await;
    }
    assert_eq!(cluster.node(first).state().borrow().state.nodes.len(), 10);
    let follower = cluster.running().map(|(id, _)| id).find(|id| *id != first).unwrap();
    let error = cluster.node(follower).propose(set_node(99), PATIENCE).await.unwrap_err();
    assert_eq!(error, ProposeError::NotLeader { leader: Some(first) });

    let stopped = Instant::now();
    cluster.stop(first).await;
    let second = cluster.leader(Some(first)).await;
    propose(cluster.node(second), 10).await;
    println!("leader stopped to first proposal committed by the next: {:?}", stopped.elapsed());

    cluster.restart(first).await;
    cluster.caught_up(first, applied(cluster.node(second))).await;
    assert_eq!(cluster.node(first).state().borrow().state.nodes.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_by_snapshot_and_is_told_so() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(None).await;
    let away = if leader == 3 { 1 } else { 3 };
    propose(cluster.node(leader), 0).await;
    cluster.caught_up(away, applied(cluster.node(leader))).await;
    cluster.stop(away).await;
    // Enough that the log it needs is purged.
    for i in 1..200 {
        propose(cluster.node(leader), i).await;
    }
    cluster.restart(away).await;
    cluster.caught_up(away, applied(cluster.node(leader))).await;
    assert_eq!(cluster.node(away).state().borrow().state.nodes.len(), 200);
    let told = cluster.told(away);
    assert!(told.iter().any(|line| line.contains("installed")), "{told:?}");
    // And again from its own disk.
    cluster.stop(away).await;
    cluster.restart(away).await;
    cluster.caught_up(away, applied(cluster.node(leader))).await;
    assert!(cluster.told(away)[0].contains("installed"), "{:?}", cluster.told(away));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_applied_change_is_kept_from_the_callback() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader(None).await;
    for i in 0..50 {
        propose(cluster.node(leader), i).await;
    }
    for id in 1..=3 {
        cluster.caught_up(id, applied(cluster.node(leader))).await;
        let told = cluster.told(id);
        let nodes: Vec<_> = told.iter().map(|line| line.split(", ").nth(1).unwrap().to_owned()).collect();
        assert_eq!(nodes, (1..=50).map(|n| format!("{n} nodes")).collect::<Vec<_>>(), "node {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_and_returns_deposes_nobody() {
    let cluster = Cluster::apart(3, Duration::from_millis(150)).await;
    let leader = cluster.agreed().await;
    let cut = if leader == 3 { 1 } else { 3 };
    let term = cluster.node(leader).leadership().borrow().term;
    let mut next = 0..;
    for _ in 0..3 {
        cluster.node(cut).cut.set(true);
        // Long enough for many elections, had it been allowed to hold them.
        let mut seen = cluster.node(leader).state();
        let until = Instant::now() + cluster.node(cut).settings().election_max * 6;
        while Instant::now() < until {
            propose(cluster.node(leader), next.next().unwrap()).await;
            let _ = tokio::time::timeout(Duration::from_millis(20), seen.changed()).await;
        }
        cluster.node(cut).cut.set(false);
        propose(cluster.node(leader), next.next().unwrap()).await;
        cluster.caught_up(cut, applied(cluster.node(leader))).await;
    }
    let now = cluster.node(leader).leadership().borrow().clone();
    assert_eq!((now.leader, now.term), (Some(leader), term));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_soon_knows_and_another_leads() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader(None).await;
    propose(cluster.node(old), 1).await;
    cluster.node(old).cut.set(true);
    let mut leadership = cluster.node(old).leadership();
    tokio::time::timeout(PATIENCE, leadership.wait_for(|l| !l.ready)).await.unwrap().unwrap();
    let new = cluster.leader(Some(old)).await;
    propose(cluster.node(new), 2).await;
    let error = cluster.node(old).propose(set_node(3), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { .. } | ProposeError::Undecided { .. }), "{error}");
    cluster.node(old).cut.set(false);
    cluster.caught_up(old, applied(cluster.node(new))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_before_a_stop() {
    let mut cluster = Cluster::of(3).await;
    let old = cluster.leader(None).await;
    propose(cluster.node(old), 1).await;
    for id in 1..=3 {
        cluster.caught_up(id, applied(cluster.node(old))).await;
    }
    let started = Instant::now();
    cluster.node(old).step_down().await.unwrap();
    let new = cluster.leader(Some(old)).await;
    propose(cluster.node(new), 2).await;
    println!("handed over and committed in {:?}", started.elapsed());
    cluster.stop(old).await;
    propose(cluster.node(new), 3).await;
    assert_eq!(cluster.leader(None).await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_added_and_removed_one_node_at_a_time() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(None).await;
    for i in 0..60 {
        propose(cluster.node(leader), i).await;
    }
    let (listener, member) = door(4).await;
    cluster.sites.insert(4, Site::new(4, [(4, member.clone())].into(), Duration::from_millis(20)));
    let fourth = cluster.start_on(4, listener).await;
    cluster.node(leader).add_member(4, member.clone(), PATIENCE).await.unwrap();
    cluster.node(leader).add_member(4, member.clone(), PATIENCE).await.unwrap();
    let members = cluster.node(leader).members();
    assert_eq!(members.voters.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(members.learners.is_empty() && !members.changing, "{members:?}");
    cluster.caught_up(4, applied(cluster.node(leader))).await;
    assert_eq!(fourth.state().borrow().state.nodes.len(), 60);

    let elsewhere = Member { addr: "127.0.0.1:1".to_owned(), ..member };
    let error = cluster.node(leader).add_member(4, elsewhere, PATIENCE).await.unwrap_err();
    assert!(matches!(error, MembersError::Refused(_)), "{error}");
    let gone = if leader == 2 { 1 } else { 2 };
    cluster.node(leader).remove_member(gone, PATIENCE).await.unwrap();
    assert!(!cluster.node(leader).members().voters.contains_key(&gone));
    propose(cluster.node(leader), 60).await;
    let error = cluster.node(gone).propose(set_node(61), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_too_large_is_refused_and_harms_nothing() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader(None).await;
    let node = Node { region: "north".parse().unwrap(), address: "x".repeat(100_000) };
    let error =
        cluster.node(leader).propose(Command::SetNode { id: NodeId(1), node }, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { got: 100_000.., .. }), "{error}");
    let node = Node { region: "north".parse().unwrap(), address: "x".repeat(80_000) };
    cluster.node(leader).propose(Command::SetNode { id: NodeId(1), node }, PATIENCE).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_is_refused_by_its_peers() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader(None).await;
    propose(cluster.node(leader), 1).await;
    let wiped = if leader == 3 { 1 } else { 3 };
    cluster.caught_up(wiped, applied(cluster.node(leader))).await;
    cluster.stop(wiped).await;
    std::fs::remove_dir_all(&cluster.sites[&wiped].config.data_dir).unwrap();
    cluster.restart(wiped).await;
    cluster.node(wiped).initialize().await.unwrap();
    let term = cluster.node(leader).leadership().borrow().term;
    let before = applied(cluster.node(leader));
    for i in 2..20 {
        propose(cluster.node(leader), i).await;
    }
    // It asks for votes and gets none, and what the leader sends it is not counted.
    assert!(applied(cluster.node(leader)) > before);
    assert_eq!(cluster.node(leader).leadership().borrow().term, term);
    assert_eq!(cluster.node(wiped).state().borrow().state.nodes.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_cluster_and_a_wrong_node_are_refused_on_the_wire() {
    use regent_proto::raft::Envelope;
    use regent_proto::raft::raft_client::RaftClient;
    let cluster = Cluster::of(1).await;
    let addr = cluster.sites[&1].config.members[&1].addr.clone();
    let mut client = RaftClient::connect(format!("http://{addr}")).await.unwrap();
    let envelope = |cluster: &str, to| Envelope {
        cluster: cluster.into(),
        from: 9,
        to,
        incarnation: 1,
        payload: b"{}".into(),
    };
    for (envelope, says) in
        [(envelope("other", 1), "expected cluster \"test\""), (envelope("test", 2), "this is node 1")]
    {
        let status = client.vote(envelope).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains(says), "{}", status.message());
    }
    let status = client.vote(envelope("test", 1)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{}", status.message());
}
