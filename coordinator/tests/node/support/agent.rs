//! An agent that says what the test wants: one stream to each node, a report every 20 ms on each.

use super::cluster::Cluster;
use super::eventually;
use regent_core::command::Instance;
use regent_core::ids::{Epoch, GroupName, InstanceName, Lsn, Position, Seq};
use regent_core::message::{KernelFence, Progress, Release, Report, Role, Step, ToAgent, ToWitness};
use regent_core::vote::Reason;
use regent_proto::convert::agent_message;
use regent_proto::v1;
use regent_proto::v1::witness_client::WitnessClient;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

/// What the agent says.
#[derive(Clone)]
pub struct Words {
    pub claims: Option<u64>,
    /// The highest epoch decided for it is claimed without being told to.
    pub takes_office: bool,
    /// A hand-over that is asked for is granted.
    pub hands_over: bool,
    pub role: Role,
    /// How long it says that its Postgres takes to start.
    pub starts_in: Duration,
    /// Why it calls off a restart that is asked for; empty: it is done at once.
    pub restarts_not: String,
    /// Says nothing.
    pub silent: bool,
}

struct Shared {
    words: Words,
    heard: Vec<(u64, ToAgent)>,
    sent: u64,
    releases: Vec<(u64, InstanceName)>,
    restarted: Option<Progress>,
    followed: u64,
}

impl Default for Words {
    fn default() -> Words {
        Words {
            claims: None,
            takes_office: false,
            hands_over: false,
            role: Role::Standby,
            starts_in: Duration::from_millis(100),
            restarts_not: String::new(),
            silent: false,
        }
    }
}

/// See above. Dropping it ends its streams.
pub struct Agent {
    shared: Arc<Mutex<Shared>>,
    name: InstanceName,
    _streams: Vec<AbortOnDropHandle<()>>,
}

impl Agent {
    /// The instance `name`, in the region of the same place as its letter.
    pub fn start(cluster: &Cluster, name: &str, words: Words) -> Agent {
        let (heard, releases, restarted) = (Vec::new(), Vec::new(), None);
        let shared = Arc::new(Mutex::new(Shared { words, heard, sent: 0, releases, restarted, followed: 0 }));
        let instance = InstanceName::new(name).unwrap();
        let streams = cluster.nodes.iter().map(|node| {
            let (address, shared) = (node.address.clone(), shared.clone());
            let stream = attend(node.id, address, instance.clone(), shared);
            AbortOnDropHandle::new(tokio::spawn(stream))
        });
        Agent { _streams: streams.collect(), shared, name: instance }
    }

    /// One that follows whatever is decided, as primary or standby.
    pub fn faithful(cluster: &Cluster, name: &str) -> Agent {
        let words = Words { takes_office: true, hands_over: true, ..Words::default() };
        Agent::start(cluster, name, words)
    }

    pub fn say(&self, change: impl FnOnce(&mut Words)) {
        change(&mut self.shared.lock().unwrap().words);
    }

    /// Everything heard that passes.
    pub fn heard<T>(&self, pick: impl Fn(u64, &ToAgent) -> Option<T>) -> Vec<T> {
        let shared = self.shared.lock().unwrap();
        shared.heard.iter().filter_map(|(node, message)| pick(*node, message)).collect()
    }

    /// The number of the last report sent.
    pub fn sent(&self) -> u64 {
        self.shared.lock().unwrap().sent
    }

    /// Waits until that node has promised in answer to a report after the one numbered `after`.
    pub async fn promised_by(&self, node: u64, epoch: u64, after: u64) {
        let what = format!("a promise of node {node} to {} in epoch {epoch}", self.name);
        eventually(&what, || async {
            let promised = self.heard(|from, message| match message {
                ToAgent::Promised { epoch: of, seq, .. } => {
                    (from == node && of.0 == epoch && seq.number > after).then_some(())
                }
                _ => None,
            });
            promised.first().copied()
        })
        .await;
    }
}

async fn attend(node: u64, address: String, instance: InstanceName, shared: Arc<Mutex<Shared>>) {
    loop {
        if let Ok(client) = WitnessClient::connect(format!("http://{address}")).await {
            speak(client, node, &instance, &shared).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn speak(
    mut client: WitnessClient<tonic::transport::Channel>,
    node: u64,
    instance: &InstanceName,
    shared: &Arc<Mutex<Shared>>,
) {
    let (say, said) = mpsc::channel::<v1::AgentMessage>(16);
    let Ok(answer) = client.attend(ReceiverStream::new(said)).await else { return };
    let mut answers = answer.into_inner();
    let place = 1 + u32::from(instance.as_str().as_bytes()[0] - b'a');
    let at = Instance {
        region: format!("r{place}").parse().unwrap(),
        address: format!("{instance}:5432"),
        tags: Default::default(),
    };
    let hello = ToWitness::Hello { group: group(), instance: instance.clone(), at };
    if say.send(agent_message("test", hello)).await.is_err() {
        return;
    }
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            answer = answers.message() => {
                let Ok(Some(answer)) = answer else { return };
                hear(node, ToAgent::try_from(answer).unwrap(), instance, shared);
            }
            _ = beat.tick() => {
                for message in due(instance, shared) {
                    if say.send(agent_message("test", message)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn hear(node: u64, message: ToAgent, instance: &InstanceName, shared: &Mutex<Shared>) {
    let mut shared = shared.lock().unwrap();
    let decided = match &message {
        ToAgent::Known(group) => group.primary.clone().map(|primary| (group.epoch, primary)),
        ToAgent::Decided(certificate) => Some((certificate.epoch(), certificate.named().clone())),
        _ => None,
    };
    if let Some((epoch, primary)) = decided.filter(|(epoch, _)| epoch.0 > shared.followed) {
        shared.followed = epoch.0;
        if shared.words.takes_office {
            shared.words.claims = (primary == *instance).then_some(epoch.0);
            shared.words.role = if primary == *instance { Role::Primary } else { Role::Standby };
        }
    }
    if let ToAgent::HandOver { wish, .. } = &message
        && wish.restart
    {
        let why = shared.words.restarts_not.clone();
        let step = if why.is_empty() { Step::Restarted } else { Step::CalledOff };
        shared.restarted = Some(Progress { ticket: wish.ticket, to: wish.to.clone(), step, why });
    } else if let ToAgent::HandOver { wish, .. } = &message
        && shared.words.hands_over
    {
        let release = (wish.epoch.0, wish.to.clone());
        shared.releases.retain(|known| *known != release);
        shared.releases.push(release);
        shared.words.claims = None;
    }
    shared.heard.push((node, message));
}

fn due(instance: &InstanceName, shared: &Mutex<Shared>) -> Vec<ToWitness> {
    let mut shared = shared.lock().unwrap();
    if shared.words.silent {
        return Vec::new();
    }
    shared.sent += 1;
    let epoch = shared.followed;
    let releases = shared.releases.iter().filter(|(of, _)| *of == epoch);
    let mut messages: Vec<ToWitness> = releases.map(|(of, to)| release(instance, *of, to)).collect();
    messages.push(ToWitness::Report(Box::new(report(instance, &shared))));
    messages
}

fn release(instance: &InstanceName, epoch: u64, to: &InstanceName) -> ToWitness {
    ToWitness::Release(Release {
        group: group(),
        instance: instance.clone(),
        epoch: Epoch(epoch),
        to: Some(to.clone()),
        reason: Reason::Switchover,
    })
}

fn report(instance: &InstanceName, shared: &Shared) -> Report {
    let words = &shared.words;
    let claims = words.claims.map(Epoch);
    let at = Lsn(0x0300_0000);
    Report {
        group: group(),
        instance: instance.clone(),
        seq: Seq { incarnation: 1, number: shared.sent },
        claims,
        leased: claims.is_some(),
        ready: words.role == Role::Standby,
        seen: Epoch(shared.followed),
        acted: claims.unwrap_or_default(),
        declined: Epoch(0),
        followed: Epoch(shared.followed),
        role: words.role,
        streaming: words.role == Role::Standby,
        position: Position { timeline: 1, received: at, flushed: at, replayed: at },
        system_id: Some(7),
        gate_armed: true,
        offer: None,
        detached: Epoch(0),
        rtt_us: 500,
        trouble: String::new(),
        hand_over: shared.restarted.clone(),
        progress: String::new(),
        started_in: Some(words.starts_in),
        pending_restart: Vec::new(),
        through: None,
        warning: String::new(),
        kernel_fence: KernelFence::Off,
    }
}

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}
