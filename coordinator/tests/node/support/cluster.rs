//! Nodes as processes.

use super::{PATIENCE, eventually};
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::leadership_client::LeadershipClient;
use regent_proto::v1::witness_client::WitnessClient;
use regent_proto::v1::{
    CreateGroupRequest, GetStandingRequest, GetStatusRequest, GroupStatus, Standing, Status,
};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// One process, or the place of one.
pub struct Node {
    pub id: u64,
    pub address: String,
    config: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
}

/// Some nodes. Dropping it kills them.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub dir: TempDir,
}

/// An address that nothing else uses: loopback is large, and each has one of its own.
pub fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let [_, b, c, d] = n.to_be_bytes();
    let ip = format!("127.{}.{}.{}", 100 + b % 100, c, d.max(1));
    let port = TcpListener::bind((ip.as_str(), 0)).unwrap().local_addr().unwrap().port();
    format!("{ip}:{port}")
}

pub fn config_text(id: u64, dir: &Path, addresses: &[String], max_round_trip_ms: u64) -> String {
    let mut text = format!(
        "cluster = \"test\"\nnode = {id}\nregion = \"r{id}\"\nlisten = \"{}\"\ndata_dir = \"{}\"\naudit = \"{}\"\n\
         max_round_trip_ms = {max_round_trip_ms}\n",
        addresses[id as usize - 1],
        dir.join(format!("data{id}")).display(),
        dir.join(format!("audit{id}")).display(),
    );
    for (index, address) in addresses.iter().enumerate() {
        let id = index + 1;
        text += &format!("\n[[peers]]\nid = {id}\nregion = \"r{id}\"\naddress = \"{address}\"\n");
    }
    text
}

impl Cluster {
    /// Starts three nodes and waits until one leads.
    pub async fn start() -> Cluster {
        Cluster::with_round_trip(50).await
    }

    /// The longer the round trip allowed for, the longer an election takes.
    pub async fn with_round_trip(ms: u64) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let addresses: Vec<String> = (0..3).map(|_| free_address()).collect();
        let node = |id: u64| {
            let config = dir.path().join(format!("node{id}.toml"));
            fs::write(&config, config_text(id, dir.path(), &addresses, ms)).unwrap();
            let address = addresses[id as usize - 1].clone();
            Node { id, address, config, dir: dir.path().to_owned(), child: None }
        };
        let mut cluster = Cluster { nodes: (1..=3).map(node).collect(), dir };
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster.leader().await;
        cluster
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    pub fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.child.is_some())
    }

    /// Who leads, as soon as all that are alive agree.
    pub async fn leader(&self) -> u64 {
        eventually("a Raft leader", || async {
            let mut leaders = Vec::new();
            for node in self.alive() {
                leaders.push(node.status().await.ok()?.leader?);
            }
            leaders.dedup();
            let leads = |id: &u64| self.alive().any(|node| node.id == *id);
            (leaders.len() == 1).then(|| leaders[0]).filter(leads)
        })
        .await
    }

    /// Creates group `g` with `a` as its first primary, and waits until every node knows it.
    pub async fn create_group(&self, ttl_ms: u64) {
        let request = CreateGroupRequest {
            group: "g".into(),
            ttl_ms: Some(ttl_ms),
            first: Some("a".into()),
            max_promotion_lag: Some(u64::MAX),
            ..Default::default()
        };
        eventually("the group", || async {
            let answer = self.alive().next()?.admin().await.create_group(request.clone()).await;
            match answer {
                Err(status) if status.code() != tonic::Code::AlreadyExists => None,
                _ => Some(()),
            }
        })
        .await;
        for node in self.alive() {
            eventually("the group everywhere", || async { node.group().await.map(drop) }).await;
        }
    }
}

impl Node {
    pub fn start(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.dir.join(format!("log{}", self.id)));
        let child = Command::new(env!("CARGO_BIN_EXE_regentd"))
            .args(["--config".as_ref(), self.config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "node {} does not end", self.id);
            std::thread::yield_now();
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_lazy()
    }

    pub async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel().await)
    }

    pub async fn leadership(&self) -> LeadershipClient<Channel> {
        LeadershipClient::new(self.channel().await)
    }

    pub async fn witness(&self) -> WitnessClient<Channel> {
        WitnessClient::new(self.channel().await)
    }

    pub async fn status(&self) -> Result<Status, tonic::Status> {
        let status = self.admin().await.get_status(GetStatusRequest::default()).await?;
        Ok(status.into_inner())
    }

    /// Group `g` as this node sees it.
    pub async fn group(&self) -> Option<GroupStatus> {
        self.status().await.ok()?.groups.into_iter().next()
    }

    pub async fn standing(&self) -> Option<Standing> {
        let request = GetStandingRequest { cluster: "test".into(), group: "g".into() };
        Some(self.witness().await.get_standing(request).await.ok()?.into_inner())
    }

    /// The events of a kind in its audit file.
    pub fn audit(&self, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join(format!("audit{}", self.id))).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["event"] == event).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join(format!("log{}", self.id))).unwrap_or_default();
            eprintln!("--- log of node {}:\n{log}", self.id);
        }
    }
}
