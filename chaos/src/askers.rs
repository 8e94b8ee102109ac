//! Clients that ask who leads: for each region one that asks again and again for the latest, and one that watches. What
//! they were told is judged by the theorems of the simulation (`regent_world::history`), against what the log holds in the
//! end and the votes that were cast.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use regent_client::{Assignment, Client, Consistency, Epoch, Event, GroupName, InstanceName};
use regent_world::history::{Log, Violation, linearizable_assignment, watch};
use tokio::task::JoinSet;

use crate::clock::now_ns;
use crate::cluster::Cluster;
use crate::timeline;
use linearizable_assignment::Operation;
use watch::What;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(50);

/// All of them; they end when this is dropped. By default there are none.
#[derive(Default)]
pub struct Askers {
    told: Arc<Mutex<Told>>,
    /// Aborted with it.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    operations: Vec<Operation>,
    /// Of each watcher, in its order.
    watched: Vec<Vec<watch::Event>>,
}

impl Askers {
    /// Starts an asker and a watcher of the group in each region, which turn to other nodes when their own is lost.
    pub fn start(cluster: &Cluster, group: &GroupName) -> anyhow::Result<Askers> {
        let told = Arc::new(Mutex::new(Told::default()));
        let mut tasks = JoinSet::new();
        for region in 0..cluster.regions() {
            let runtime = cluster.clients(region);
            let _there = runtime.enter();
            let client = Client::new(cluster.nodes_seen_from(region).iter().map(SocketAddr::to_string))?;
            locked(&told).watched.push(vec![event(What::Begun { from: None })]);
            tasks.spawn(ask(client.clone(), group.clone(), told.clone()));
            tasks.spawn(watch(client, group.clone(), region, told.clone()));
        }
        Ok(Askers { told, _tasks: tasks })
    }

    /// The lowest epoch that a watcher was told last.
    pub fn watched_up_to(&self) -> Epoch {
        let last = |events: &Vec<watch::Event>| events.iter().rev().find_map(|event| epoch(&event.what));
        locked(&self.told)
            .watched
            .iter()
            .map(|events| last(events).unwrap_or(Epoch(0)))
            .min()
            .unwrap_or(Epoch(0))
    }

    /// How many questions were answered.
    pub fn answered(&self) -> usize {
        locked(&self.told).operations.len()
    }

    /// What they were told that may not be. Every watcher must have been told of the log's last epoch.
    pub fn check(&self, log: &Log, votes: &[timeline::Event]) -> Vec<Violation> {
        let told = locked(&self.told);
        let settled = log.last_key_value().map(|(epoch, _)| *epoch);
        judge(&told.operations, &told.watched, log, votes, settled)
    }

    /// What was asked and answered.
    pub fn reads(&self) -> Vec<Operation> {
        locked(&self.told).operations.clone()
    }

    /// Of each watcher, what it was told, in its order.
    pub fn watched(&self) -> Vec<Vec<watch::Event>> {
        locked(&self.told).watched.clone()
    }
}

/// What was told that may not be (S6, S7). Every watcher must have been told of the epoch `settled`.
pub fn judge(
    reads: &[Operation],
    watched: &[Vec<watch::Event>],
    log: &Log,
    votes: &[timeline::Event],
    settled: Option<Epoch>,
) -> Vec<Violation> {
    let operations: Vec<Operation> = reads.iter().cloned().chain(decided(votes)).collect();
    let watched = watched.iter().flat_map(|events| watch::check(events, log, settled));
    linearizable_assignment::check(&operations, log).into_iter().chain(watched).collect()
}

/// Each vote of the nodes' audit files, as the beginning of a decision.
fn decided(events: &[timeline::Event]) -> impl Iterator<Item = Operation> + '_ {
    let votes = events.iter().filter(|event| event.event == "vote");
    votes.filter_map(|vote| {
        let primary = InstanceName::new(vote.instance.clone()?).ok()?;
        Some(Operation::Decide {
            begun: vote.cast_ns.unwrap_or(vote.t_ns),
            epoch: Epoch(vote.epoch?),
            primary,
            known: None,
        })
    })
}

async fn ask(client: Client, group: GroupName, told: Arc<Mutex<Told>>) {
    loop {
        let begun = now_ns();
        // Who gets no answer has learnt nothing.
        if let Ok(assignment) = client.primary(&group, Consistency::Linearizable).await {
            let at = now_ns();
            let epoch = assignment.epoch;
            let answer = primary(assignment).map(|primary| (epoch, primary));
            locked(&told).operations.push(Operation::Read { begun, at, answer });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn watch(client: Client, group: GroupName, watcher: usize, told: Arc<Mutex<Told>>) {
    let mut events = client.watch([group]);
    while let Some(Ok(heard)) = events.next().await {
        let what = match heard {
            Event::Present(assignment) => {
                What::Present { epoch: assignment.epoch, primary: primary(assignment) }
            }
            Event::Changed { assignment, jumped, .. } => {
                let epoch = assignment.epoch;
                let Some(primary) = primary(assignment) else { continue };
                What::Changed { epoch, primary, jumped }
            }
            Event::Compacted => What::Compacted,
            // It goes on where it was: what was missed follows.
            _ => continue,
        };
        locked(&told).watched[watcher].push(event(what));
    }
}

fn event(what: What) -> watch::Event {
    watch::Event { at: now_ns(), what }
}

fn epoch(what: &What) -> Option<Epoch> {
    match what {
        What::Present { epoch, .. } | What::Changed { epoch, .. } => Some(*epoch),
        What::Begun { .. } | What::Compacted => None,
    }
}

fn primary(assignment: Assignment) -> Option<InstanceName> {
    assignment.primary.map(|primary| primary.instance)
}

// Nothing that holds the lock can panic halfway.
fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(begun: u64, at: u64, epoch: u64, primary: &str) -> Operation {
        let primary = InstanceName::new(primary).unwrap();
        Operation::Read { begun, at, answer: Some((Epoch(epoch), primary)) }
    }

    fn vote(t_ns: u64, epoch: u64, instance: &str) -> timeline::Event {
        timeline::Event {
            t_ns,
            proc: "regentd".into(),
            region: "us-east".into(),
            event: "vote".into(),
            epoch: Some(epoch),
            instance: Some(instance.into()),
            ..timeline::Event::default()
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_older_than_one_given_before_it_was_asked_for_is_found() {
        let name = |name: &str| InstanceName::new(name).unwrap();
        let log: Log = [(Epoch(1), name("a")), (Epoch(2), name("b"))].into();
        let verdict = |reads: Vec<Operation>| {
            let told = Arc::new(Mutex::new(Told { operations: reads, watched: Vec::new() }));
            Askers { told, _tasks: JoinSet::new() }.check(&log, &[vote(15, 2, "b")])
        };
        assert_eq!(verdict(vec![read(1, 10, 1, "a"), read(18, 20, 2, "b"), read(19, 30, 1, "a")]), []);
        assert_eq!(verdict(vec![read(18, 20, 2, "b"), read(21, 30, 1, "a")]).len(), 1);
        // Shown before anybody voted for it, and of another than the log says.
        assert_eq!(verdict(vec![read(1, 10, 2, "b")]).len(), 1);
        assert_eq!(verdict(vec![read(18, 20, 2, "a")]).len(), 1);
    }
}
