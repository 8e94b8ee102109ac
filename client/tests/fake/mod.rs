//! A node that says what the test tells it to, on a real port.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part of it

use futures::stream::BoxStream;
use regent_proto::v1;
use regent_proto::v1::admin_server::{Admin, AdminServer};
use regent_proto::v1::leadership_server::{Leadership, LeadershipServer};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status};

/// What a call is answered with.
pub enum Script {
    /// This.
    Say(Status),
    /// Nothing, ever.
    Hang,
}

#[derive(Default)]
pub struct Inner {
    /// Consumed first, one a call; then the answers below.
    pub script: VecDeque<Script>,
    pub primary: v1::Assignment,
    pub status: v1::Status,
    pub groups: Vec<v1::Group>,
    pub changes: Vec<v1::Change>,
    /// The calls that came, as words.
    pub calls: Vec<String>,
    /// The `from` of each watch that came.
    pub watched: Vec<BTreeMap<String, u64>>,
    /// The open watches.
    pub watchers: Vec<mpsc::UnboundedSender<Result<v1::WatchEvent, Status>>>,
    /// Sent first on every watch.
    pub greeting: Vec<v1::WatchEvent>,
    /// How far a switchover is, one more with every look at the status once it was asked for; it is decided at the last.
    pub steps: VecDeque<v1::Switching>,
    pub switching: bool,
}

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    pub inner: Arc<Mutex<Inner>>,
    runtime: Option<Runtime>,
}

/// Dropped, it is gone as if killed.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<Inner>>);

impl Node {
    /// Starts one on any free port.
    pub async fn start(inner: Inner) -> Node {
        Node::start_at("127.0.0.1:0".parse().unwrap(), inner).await
    }

    /// Starts one there, as soon as the port is free.
    pub async fn start_at(address: SocketAddr, inner: Inner) -> Node {
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
            }
            tokio::task::yield_now().await;
        };
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(inner));
        let service = Service(Arc::clone(&inner));
        // A runtime of its own: when it ends, its connections break as those of a killed process do.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let serving = tonic::transport::Server::builder()
                .add_service(LeadershipServer::new(service.clone()))
                .add_service(AdminServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.unwrap();
        });
        Node { address, inner, runtime: Some(runtime) }
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn tell(&self, event: Result<v1::WatchEvent, Status>) {
        for watcher in &self.inner.lock().unwrap().watchers {
            let _ = watcher.send(event.clone());
        }
    }

    pub fn calls(&self) -> Vec<String> {
        self.inner.lock().unwrap().calls.clone()
    }
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn assignment(epoch: u64, primary: &str) -> v1::Assignment {
    v1::Assignment {
        group: "orders".into(),
        epoch,
        primary: primary.into(),
        region: format!("region-of-{primary}"),
        address: format!("{primary}.example:5432"),
        revision: epoch * 10,
        age_ms: 0,
    }
}

pub fn event(epoch: u64, primary: &str, present: bool) -> v1::WatchEvent {
    let reason = if present { String::new() } else { "primary silent".to_owned() };
    v1::WatchEvent { assignment: Some(assignment(epoch, primary)), present, jumped: vec![], reason }
}

impl Service {
    /// Notes the call and follows the script.
    async fn called(&self, call: &str) -> Result<(), Status> {
        let script = {
            let mut inner = self.0.lock().unwrap();
            inner.calls.push(call.to_owned());
            inner.script.pop_front()
        };
        match script {
            None => Ok(()),
            Some(Script::Say(status)) => Err(status),
            Some(Script::Hang) => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Leadership for Service {
    async fn get_primary(
        &self,
        request: Request<v1::GetPrimaryRequest>,
    ) -> Result<Response<v1::Assignment>, Status> {
        let local = request.get_ref().consistency == v1::Consistency::Local as i32;
        self.called(if local { "primary, local" } else { "primary" }).await?;
        Ok(Response::new(self.0.lock().unwrap().primary.clone()))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchEvent, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let from = request.into_inner().from.into_iter().collect();
        self.0.lock().unwrap().watched.push(from);
        self.called("watch").await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.0.lock().unwrap();
        for event in &inner.greeting {
            sender.send(Ok(event.clone())).unwrap();
        }
        inner.watchers.push(sender);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let new = request.into_inner();
        self.called(&format!("create {} ttl {:?} nodes {:?}", new.group, new.ttl_ms, new.electorate)).await?;
        let terms = v1::Terms {
            ttl_us: new.ttl_ms.unwrap_or(250) * 1_000,
            suspicion_us: new.suspicion_ms.unwrap_or(400) * 1_000,
            mode: "async".into(),
            max_promotion_lag: 16 << 20,
            ..Default::default()
        };
        Ok(Response::new(v1::Group {
            name: new.group,
            revision: 1,
            electorate: vec![1, 2, 3],
            terms: Some(terms),
            ..Default::default()
        }))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.called("groups").await?;
        Ok(Response::new(v1::ListGroupsResponse { groups: self.0.lock().unwrap().groups.clone() }))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        self.called("status").await?;
        let mut inner = self.0.lock().unwrap();
        let mut status = inner.status.clone();
        if inner.switching
            && let Some(step) = inner.steps.front().cloned()
        {
            status.groups[0].switching = Some(step);
            if inner.steps.len() > 1 {
                inner.steps.pop_front();
            }
        }
        Ok(Response::new(status))
    }

    async fn get_history(
        &self,
        _: Request<v1::GetHistoryRequest>,
    ) -> Result<Response<v1::GetHistoryResponse>, Status> {
        self.called("history").await?;
        Ok(Response::new(v1::GetHistoryResponse { changes: self.0.lock().unwrap().changes.clone() }))
    }

    async fn switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<v1::Assignment>, Status> {
        let wish = request.into_inner();
        let to = wish.to.unwrap_or_default();
        self.called(&format!("switchover to {to}, wait {:?}", wish.wait_ms)).await?;
        self.0.lock().unwrap().switching = true;
        until("the steps are seen", || self.0.lock().unwrap().steps.len() <= 1).await;
        Ok(Response::new(assignment(8, &to)))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartPlan>, Status> {
        let wish = request.into_inner();
        self.called(&format!("restart {}, wait {:?}", wish.instance, wish.wait_ms)).await?;
        self.0.lock().unwrap().switching = true;
        until("the steps are seen", || self.0.lock().unwrap().steps.len() <= 1).await;
        Ok(Response::new(restart(wish)))
    }

    async fn plan_restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartPlan>, Status> {
        let wish = request.into_inner();
        self.called(&format!("plan restart {}", wish.instance)).await?;
        Ok(Response::new(restart(wish)))
    }

    async fn plan_switchover(
        &self,
        request: Request<v1::SwitchoverRequest>,
    ) -> Result<Response<v1::SwitchoverPlan>, Status> {
        let wish = request.into_inner();
        self.called(&format!("plan switchover to {:?}", wish.to)).await?;
        let inner = self.0.lock().unwrap();
        let status = &inner.status.groups[0];
        // A region stands for its instance, nobody for the heir.
        let there = |to: &String| status.instances.iter().find(|one| one.region == *to || one.name == *to);
        let heir = status.instances.iter().find(|one| one.place == 1);
        let to = wish.to.as_ref().map_or(heir, there).expect("somebody to hand over to");
        Ok(Response::new(v1::SwitchoverPlan {
            group: wish.group,
            from: status.primary.clone(),
            to: to.name.clone(),
            lag_bytes: to.lag_bytes,
            pause_ms: Some(265),
        }))
    }

    async fn set_drained(
        &self,
        request: Request<v1::SetDrainedRequest>,
    ) -> Result<Response<v1::SetDrainedResponse>, Status> {
        let wish = request.into_inner();
        self.called(&format!("drained {}: {}", wish.region, wish.drained)).await?;
        let mut inner = self.0.lock().unwrap();
        inner.status.drained.retain(|region| *region != wish.region);
        if wish.drained {
            inner.status.drained.push(wish.region);
        }
        Ok(Response::new(v1::SetDrainedResponse { drained: inner.status.drained.clone() }))
    }

    async fn set_electorate(
        &self,
        request: Request<v1::SetElectorateRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let wish = request.into_inner();
        self.called(&format!("electorate {:?}", wish.electorate)).await?;
        let group = self.0.lock().unwrap().groups[0].clone();
        Ok(Response::new(v1::Group { electorate: wish.electorate, ..group }))
    }

    async fn set_mode(&self, request: Request<v1::SetModeRequest>) -> Result<Response<v1::Group>, Status> {
        let wish = request.into_inner();
        self.called(&format!("mode {} policy {:?}", wish.mode, wish.policy)).await?;
        let mut group = self.0.lock().unwrap().groups[0].clone();
        if let Some(terms) = &mut group.terms {
            terms.mode = wish.mode;
            terms.policy = wish.policy.unwrap_or_default();
        }
        Ok(Response::new(group))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.called(&format!("transfer to {}", request.into_inner().to)).await?;
        Ok(Response::new(v1::TransferLeaderResponse { term: 5 }))
    }
}

/// Of the first, a parameter waits for a restart, which is done in place; the others are standbys.
fn restart(wish: v1::RestartRequest) -> v1::RestartPlan {
    let primary = wish.instance == "orders-us-east";
    let how = if primary { v1::RestartHow::InPlace } else { v1::RestartHow::AsStandby };
    v1::RestartPlan {
        group: wish.group,
        instance: wish.instance,
        how: how.into(),
        to: None,
        pause_ms: primary.then_some(420),
        pending: if primary { vec!["shared_buffers".into()] } else { Vec::new() },
    }
}
