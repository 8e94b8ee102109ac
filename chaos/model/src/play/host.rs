//! An instance in an action: its agent takes events in, its effects are carried out, its Postgres obeys at once.

use super::Play;
use crate::mail::Letter;
use crate::oath::Opening;
use crate::words::{group, inst, instance, node as id_of};
use regent_core::agent::{Agent, Durable, Effect, Event, Identity, Note, Task};
use regent_core::command::Instance;
use regent_core::ids::{Epoch, InstanceName, Lsn, NodeId, RegionName};
use regent_core::message::{ToAgent, ToWitness};
use regent_core::tags::Tags;
use regent_core::time::Time;
use std::time::Duration;

/// No Postgres of the model hangs, and none is probed: longer than anything here lasts.
pub const NEVER_HANGS: Duration = Duration::from_secs(3_600);

/// Who the agent of that number is.
pub fn identity(at: usize) -> Identity {
    let name = instance(at);
    let region = RegionName::new(name.as_str()).expect("a letter is a valid name");
    let place = Instance { region, address: format!("{name}:5432"), tags: Tags::default() };
    Identity { group: group(), instance: name, at: place }
}

impl Play<'_> {
    /// An agent takes an event in, and whatever its Postgres does about it.
    pub fn host_steps(&mut self, at: usize, event: Event) {
        if self.lost(at) {
            return;
        }
        let now = self.host_clock(at).read(self.world.now);
        let effects = self.world.hosts[at].change().agent.step(event, now);
        self.host_does(at, effects);
    }

    fn host_does(&mut self, at: usize, effects: Vec<Effect>) {
        let mut begun = None;
        for effect in effects {
            match effect {
                Effect::Persist(durable) => self.host_persists(at, *durable),
                Effect::Open { epoch, deadline, .. } => self.open_gate(at, epoch, deadline),
                Effect::Close => self.close_gate(at),
                Effect::Send(to, message) => self.host_tells(at, to, message),
                Effect::Start(task) => begun = Some(task),
                // All others have everything: see `Postgres::standbys`.
                Effect::Ask(Some(of)) => {
                    self.host_steps(at, Event::Reached { instance: of.instance, flushed: Lsn(0) });
                }
                Effect::Ask(None) => {}
                Effect::Note(note) => self.host_notes(at, &note),
            }
        }
        if let Some(task) = begun {
            self.postgres_does(at, task);
        }
    }

    fn postgres_does(&mut self, at: usize, task: Task) {
        let host = self.world.hosts[at].change();
        let office = host.agent.durable().acted;
        host.postgres.does(&task, office);
        let seen = host.postgres.observe();
        self.host_steps(at, Event::Observed(seen));
        self.host_steps(at, Event::Done(task, Ok(())));
        // What it says of whom it follows counts when it is looked at the next time.
        let seen = self.world.hosts[at].postgres.observe();
        self.host_steps(at, Event::Observed(seen));
    }

    fn host_persists(&mut self, at: usize, durable: Durable) {
        let host = self.world.hosts[at].change();
        let released = durable.released;
        let before = host.durable.replace(durable).map(|before| before.released).unwrap_or_default();
        if released > before {
            let now = self.world.now;
            self.world.oath.change().released(&instance(at), released, now);
        }
    }

    fn open_gate(&mut self, at: usize, epoch: Epoch, deadline: Time) {
        let clock = self.host_clock(at);
        let (now, until) = (self.world.now, clock.when(deadline));
        let host = self.world.hosts[at].change();
        host.gate = Some((epoch, deadline));
        let opening = Opening { who: &instance(at), epoch, now, until, stint: host.postgres.stint };
        self.world.oath.change().opened(&opening);
        self.tell(|| {
            let rest = Duration::from_nanos(until - now);
            format!(
                "{}'s gate is open in {epoch} for {:.2} ms",
                inst(&instance(at)),
                rest.as_secs_f64() * 1e3
            )
        });
    }

    fn close_gate(&mut self, at: usize) {
        self.world.hosts[at].change().gate = None;
        self.world.oath.change().closed(&instance(at));
        self.tell(|| format!("{}'s gate is closed", inst(&instance(at))));
    }

    fn host_tells(&mut self, at: usize, to: NodeId, message: ToWitness) {
        let kept = self.world.hosts[at].durable.as_ref();
        let durable = match &message {
            ToWitness::Report(report) => kept.is_some_and(|kept| {
                kept.incarnation >= report.seq.incarnation
                    && report.claims.is_none_or(|epoch| kept.acted >= epoch)
                    && kept.declined >= report.declined
            }),
            ToWitness::Release(release) => kept.is_some_and(|kept| kept.released >= release.epoch),
            ToWitness::Hello { .. } | ToWitness::Show(_) | ToWitness::Tail { .. } => true,
        };
        let who = instance(at);
        if !durable {
            self.world.oath.change().said_too_early(&inst(&who), "a claim or a release");
        }
        self.send(Letter::Witness(who, to, message));
    }

    fn host_notes(&mut self, at: usize, note: &Note) {
        let who = inst(&instance(at));
        match note {
            Note::Certificate(certificate) => self.holds(certificate),
            Note::Acted(epoch, _) => {
                self.world.oath.change().owned(*epoch, &instance(at));
                self.tell(|| format!("{who} acts as primary of {epoch}"));
            }
            Note::Released(epoch, reason) => self.tell(|| format!("{who} releases {epoch}: {reason}")),
            _ => {}
        }
    }

    /// A stream to a node stands: the node's first word on it is the log's, as it has applied it.
    pub fn link(&mut self, at: usize, node: usize) {
        let id = id_of(node);
        self.host_steps(at, Event::Unlinked(id));
        self.host_steps(at, Event::Linked(id));
        let word = self.world.nodes[node].witness.group(&group()).cloned();
        if let Some(word) = word.filter(|_| !self.lost(node)) {
            self.send(Letter::Agent(id, instance(at), ToAgent::Known(Box::new(word))));
        }
    }

    /// An agent is killed and comes back at once, beside a Postgres and a gate that went on.
    pub fn restart_agent(&mut self, at: usize) {
        let now = self.host_clock(at).read(self.world.now);
        let durable = self.world.hosts[at].durable.clone();
        let (mut agent, effects) = Agent::new(identity(at), durable, now);
        agent.set_probe_timeout(NEVER_HANGS);
        self.world.hosts[at].change().agent = agent;
        self.host_does(at, effects);
        for node in 0..self.world.nodes.len() {
            self.link(at, node);
        }
        let seen = self.world.hosts[at].postgres.observe();
        self.host_steps(at, Event::Observed(seen));
        self.settle();
    }

    /// A Postgres dies.
    pub fn postgres_dies(&mut self, at: usize) {
        self.world.hosts[at].change().postgres.stop();
        self.host_steps(at, Event::Exited);
        let seen = self.world.hosts[at].postgres.observe();
        self.host_steps(at, Event::Observed(seen));
        self.settle();
    }

    /// Whether that instance's gate is open now, and in which epoch.
    pub fn open_in(&self, at: usize) -> Option<Epoch> {
        let now = self.host_clock(at).read(self.world.now);
        self.world.hosts[at].gate.filter(|(_, end)| now < *end).map(|(epoch, _)| epoch)
    }

    /// Asks an agent, as a leader would.
    pub fn ask(&mut self, who: &InstanceName, by: NodeId, message: ToAgent) {
        self.deliver(&Letter::Agent(by, who.clone(), message));
        self.settle();
    }
}
