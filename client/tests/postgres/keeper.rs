//! The agent keeps the slots of the server beside it for whom a node names, whoever is primary: a whole agent, with a node that
//! says what the test tells it to.

use regent_client::gate::LeaseFile;
use regent_proto::v1;
use std::process::{Child, Command, Stdio};

use super::fake::{Inner, Node};
use super::fixture::*;

/// An agent beside a running server.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// Of instance a. With the lease file that one before it left: it need not wait out what a server may have mapped.
    fn of(
        a: &regent_client::postgres::Server,
        bench: &Bench,
        node: &Node,
        run_dir: &std::path::Path,
    ) -> Agent {
        drop(LeaseFile::open(&run_dir.join("demo.orders.a.lease"), 0).unwrap());
        let settings = a.settings();
        let run_as = ordinary_user_name().map(|name| format!("run_as = \"{name}\"\n")).unwrap_or_default();
        let bin_dir = settings.bin_dir.as_ref().map(|dir| format!("bin_dir = \"{}\"\n", dir.display()));
        let text = format!(
            "cluster = \"demo\"\ngroup = \"orders\"\ninstance = \"a\"\nregion = \"a\"\nstate_dir = \"{state}\"\n\
             nodes = [{{ id = 1, address = \"{node}\" }}]\n[postgres]\ndata_dir = \"{data}\"\nlisten_address = \"127.0.0.1\"\n\
             port = {port}\nrun_dir = \"{run}\"\n{run_as}{bin_dir}",
            state = bench.path("state").display(),
            node = node.endpoint(),
            data = settings.data_dir.display(),
            port = settings.port,
            run = run_dir.display(),
            bin_dir = bin_dir.unwrap_or_default(),
        );
        std::fs::write(bench.path("agent.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_regent-agent"));
        command.arg("--config").arg(bench.path("agent.toml")).stdout(Stdio::null()).stderr(Stdio::null());
        Agent(command.spawn().unwrap())
    }
}

/// What a node knows of the group at that revision.
fn status(revision: u64, instances: &[&str]) -> v1::Status {
    let terms = v1::Terms {
        ttl_us: 250_000,
        suspicion_us: 400_000,
        mode: "async".into(),
        max_promotion_lag: 16 << 20,
        ..Default::default()
    };
    let at = |name: &&str| v1::Instance {
        name: name.to_string(),
        region: name.to_string(),
        address: "127.0.0.1:1".into(),
        ..Default::default()
    };
    let group = v1::Group {
        name: "orders".into(),
        revision,
        epoch: 1,
        since: 1,
        primary: Some("a".into()),
        electorate: vec![1],
        terms: Some(terms),
        instances: instances.iter().map(at).collect(),
        ..Default::default()
    };
    let one = |name: &&str| v1::InstanceStatus {
        name: name.to_string(),
        region: name.to_string(),
        address: "127.0.0.1:1".into(),
        ..Default::default()
    };
    let known = v1::GroupStatus {
        group: Some(group),
        epoch: 1,
        primary: "a".into(),
        instances: instances.iter().map(one).collect(),
        ..Default::default()
    };
    v1::Status { cluster: "demo".into(), node: 1, groups: vec![known], ..Default::default() }
}

/// Tells the node what it knows, and waits until the agent has asked for it and gone by it: it asks for the next then.
async fn knows(node: &Node, status: v1::Status) {
    let asked = || node.calls().iter().filter(|call| *call == "status").count();
    node.inner.lock().unwrap().status = status;
    let before = asked();
    until("the agent has asked twice", || async { asked() >= before + 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_wal_for_whom_the_newest_word_of_a_node_names() {
    let bench = Bench::new();
    let a = bench.primary("a").await;
    sql(&a, "select pg_create_physical_replication_slot('mine')").await;
    let memory = tempfile::Builder::new().prefix("rg").tempdir_in("/dev/shm").unwrap();
    let node = Node::start(Inner { status: status(5, &["a", "b", "c"]), ..Inner::default() }).await;
    let _agent = Agent::of(&a, &bench, &node, memory.path());

    let slots = || async {
        let names =
            "select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots";
        connect(&a).await.query_one(names, &[]).await.unwrap().get::<_, String>(0)
    };
    until("there is a slot for each other", || async { slots().await == "mine regent_b regent_c" }).await;
    knows(&node, status(6, &["a", "b"])).await;
    assert_eq!(slots().await, "mine regent_b", "who left the group is kept nothing for");
    knows(&node, status(5, &["a", "b", "c"])).await;
    assert_eq!(slots().await, "mine regent_b", "an older word than the newest is no news");
    knows(&node, v1::Status { groups: Vec::new(), ..status(7, &[]) }).await;
    assert_eq!(slots().await, "mine regent_b", "no word of the group is no news");
    knows(&node, status(7, &["a", "b", "d"])).await;
    assert_eq!(slots().await, "mine regent_b regent_d");
}
