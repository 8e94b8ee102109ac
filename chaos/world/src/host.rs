//! An instance on the stage: its agent, what the agent made durable, its Postgres, its gate.

use super::checks::Opening;
use super::clock::{Clock, MS};
use super::postgres::{Postgres, duration};
use super::process::Process;
use super::words::{inst, insts, node, task as words_of};
use super::{Happening, Mail, Proc, Stage};
use regent_core::agent::{Agent, Durable, Effect, Event, Identity, Note, Task};
use regent_core::ids::{Epoch, InstanceName, NodeId};
use regent_core::message::{Role, ToAgent, ToWitness};
use regent_core::time::Time;

/// How often Postgres writes, streams and is looked at.
pub const LOOK_EVERY: u64 = 10 * MS;

/// An instance.
pub struct Host {
    /// Who it is.
    pub me: Identity,
    /// Its clock.
    pub clock: Clock,
    /// Its agent's loop.
    pub process: Process<Effect>,
    /// Its agent.
    pub agent: Agent,
    /// What its agent made durable.
    pub durable: Option<Durable>,
    /// Its Postgres.
    pub postgres: Postgres,
    /// The lease file, which outlives the agent: the epoch and the end.
    pub gate: Option<(Epoch, Time)>,
    /// Whether somebody was told that the gate is open.
    pub said_open: bool,
}

impl Stage {
    /// An agent takes one message in.
    pub fn host_steps(&mut self, who: &InstanceName, mail: Mail) -> Vec<Effect> {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        let now = host.clock.read(self.now);
        let event = match mail {
            Mail::ToAgent(id, message) => Event::Heard(id, message),
            Mail::Linked(id) => Event::Linked(id),
            Mail::Unlinked(id) => Event::Unlinked(id),
            Mail::Observed => Event::Observed(host.postgres.observe()),
            Mail::Exited => Event::Exited,
            Mail::Done(task, result) => Event::Done(task, result),
            Mail::Wake => Event::Wake,
            other => panic!("an agent got {other:?}"),
        };
        host.agent.step(event, now)
    }

    /// An agent does one thing.
    pub fn host_acts(&mut self, who: &InstanceName, effect: Effect) {
        match effect {
            Effect::Persist(durable) => {
                let host = self.hosts.get_mut(who).expect("an instance of the stage");
                let released = durable.released;
                let news = host.durable.as_ref().is_none_or(|before| before.released < released);
                host.durable = Some(*durable);
                if news && released > Epoch(0) {
                    let group = host.me.group.clone();
                    self.checks.released(&group, who, released, self.now);
                }
            }
            Effect::Open { epoch, deadline } => self.open_gate(who, epoch, deadline),
            Effect::Close => {
                let host = self.hosts.get_mut(who).expect("an instance of the stage");
                host.gate = None;
                host.said_open = false;
                let group = host.me.group.clone();
                self.checks.closed(&group, who);
            }
            Effect::Send(id, message) => self.tell_witness(who, id, message),
            Effect::Start(task) => self.start_task(who, task),
            Effect::Note(note) => self.say_note(who, &note),
        }
    }

    fn open_gate(&mut self, who: &InstanceName, epoch: Epoch, deadline: Time) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        let until = host.clock.when(deadline);
        let before = host.gate.replace((epoch, deadline));
        let lapsed = before.is_some_and(|(_, end)| host.clock.when(end) <= self.now);
        let group = host.me.group.clone();
        let opening = Opening { who, epoch, until, stint: host.postgres.stint };
        self.checks.opened(&group, &opening, self.now);
        self.at(until, Happening::Lapse(who.clone(), deadline));
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        if lapsed && !host.said_open {
            self.say(&format!("{} opens its gate again in {epoch}", inst(who)));
        }
        self.hosts.get_mut(who).expect("an instance of the stage").said_open = true;
    }

    /// A deadline has come: if nothing later was written, the gate is closed by itself.
    pub fn lapse(&mut self, who: &InstanceName, deadline: Time) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        if let Some((epoch, end)) = host.gate
            && end == deadline
        {
            host.said_open = false;
            self.say(&format!("{}'s gate closes by itself: the lease of {epoch} is over", inst(who)));
        }
    }

    fn tell_witness(&mut self, who: &InstanceName, id: NodeId, message: ToWitness) {
        let kept = self.hosts[who].durable.as_ref();
        let durable = match &message {
            ToWitness::Report(report) => kept.is_some_and(|kept| {
                kept.incarnation >= report.seq.incarnation
                    && report.claims.is_none_or(|epoch| kept.acted >= epoch)
                    && kept.declined >= report.declined
            }),
            ToWitness::Release(release) => kept.is_some_and(|kept| kept.released >= release.epoch),
            ToWitness::Hello { .. } | ToWitness::Show(_) => true,
        };
        self.checks.durable(durable, &inst(who), "a claim or a release");
        let mail = Mail::ToWitness(message);
        self.send(who.as_str(), &node(id), Proc::Node(id), mail);
    }

    fn say_note(&mut self, who: &InstanceName, note: &Note) {
        let group = self.hosts[who].me.group.clone();
        let text = match note {
            Note::Certificate(certificate) => {
                let voters: Vec<String> = certificate.votes().iter().map(|vote| node(vote.witness)).collect();
                let (epoch, rest) = (certificate.epoch(), insts(&certificate.rest()));
                format!("holds the votes of {} for {epoch}, then {rest}", voters.join(" "))
            }
            Note::Acted(epoch, reason) => {
                self.checks.owned(&group, *epoch, who);
                format!("takes office in {epoch}: {reason}")
            }
            Note::Promoted(epoch) => format!("is promoted in {epoch}"),
            Note::Opened(epoch) => format!("opens its gate in {epoch}"),
            Note::Closed(epoch, why) => format!("closes its gate of {epoch}: {why}"),
            Note::Released(epoch, reason) => format!("releases {epoch}: {reason}"),
            Note::HandingOver(epoch, to) => format!("hands {epoch} over to {}", inst(to)),
            Note::Begins(task, why) => format!("{}: {why}", words_of(task)),
            Note::Failed(task, why) => format!("fails ({}): {why}", words_of(task)),
        };
        self.say(&format!("{} {text}", inst(who)));
    }

    fn start_task(&mut self, who: &InstanceName, task: Task) {
        self.tasks += 1;
        let run = self.tasks;
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        assert!(host.postgres.task.is_none(), "{who} begins {task:?} beside {:?}", host.postgres.task);
        host.postgres.task = Some((task.clone(), run));
        if matches!(task, Task::Clone(_) | Task::Rewind(_)) {
            host.postgres.role_before = Some(std::mem::replace(&mut host.postgres.role, Role::Preparing));
        }
        self.at(self.now + duration(&task), Happening::TaskEnds(who.clone(), run));
    }

    /// A task has run its time.
    pub fn task_ends(&mut self, who: &InstanceName, run: u64) {
        let Some((task, _)) = self.hosts[who].postgres.task.clone().filter(|(_, number)| *number == run)
        else {
            return;
        };
        let source = match &task {
            Task::Clone(from) | Task::Rewind(from) => self.reachable(who, &from.instance),
            _ => None,
        };
        let source = source.filter(|source| source.role == Role::Primary);
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        let office = host.durable.as_ref().map_or(Epoch(0), |kept| kept.acted);
        host.postgres.task = None;
        let ran = host.postgres.runs();
        let result = host.postgres.finish(&task, source, office);
        host.postgres.give_up_replacing(result.is_err());
        let stopped = ran && !host.postgres.runs();
        if stopped {
            self.mail_host(who, Mail::Exited);
        }
        self.mail_host(who, Mail::Observed);
        self.mail_host(who, Mail::Done(task, result));
    }

    /// Another instance's Postgres, if it runs and can be reached.
    fn reachable(&self, who: &InstanceName, other: &InstanceName) -> Option<Postgres> {
        let source = &self.hosts.get(other)?.postgres;
        (source.runs() && self.links.joined(who.as_str(), other.as_str())).then(|| source.clone())
    }

    /// Puts something into an agent's inbox, if it runs.
    pub fn mail_host(&mut self, who: &InstanceName, mail: Mail) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        if host.process.up {
            host.process.inbox.push_back(mail);
            self.pump(&Proc::Host(who.clone()));
        }
    }

    /// Every Postgres writes and streams for a moment; every agent looks.
    pub fn look(&mut self) {
        let names: Vec<InstanceName> = self.hosts.keys().cloned().collect();
        let looks_now = self.now.is_multiple_of(5 * LOOK_EVERY);
        for who in names {
            let following = self.hosts[&who].postgres.following.clone();
            let upstream = following.and_then(|upstream| self.reachable(&who, &upstream.instance));
            let host = self.hosts.get_mut(&who).expect("an instance of the stage");
            let open = host.gate.is_some_and(|(_, end)| host.clock.read(self.now) < end);
            let postgres = &mut host.postgres;
            if postgres.role == Role::Primary && open {
                postgres.lsn += 1_000;
            }
            let streams = postgres.role == Role::Standby
                && upstream.as_ref().is_some_and(|upstream| postgres.agrees_with(upstream));
            let changed = std::mem::replace(&mut postgres.streaming, streams) != streams;
            if let Some(upstream) = upstream.filter(|_| streams) {
                postgres.catch_up(&upstream);
            }
            if changed || looks_now {
                self.mail_host(&who, Mail::Observed);
            }
        }
    }

    /// Kills an agent; its Postgres goes on, what it was doing to it does not.
    pub fn kill_agent(&mut self, who: &InstanceName) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        host.process.kill();
        host.postgres.task = None;
        host.postgres.give_up_replacing(true);
    }

    /// Kills an agent and its Postgres with the machine: the lease file is gone too.
    pub fn kill_host(&mut self, who: &InstanceName) {
        self.kill_agent(who);
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        host.postgres.stop();
        host.gate = None;
        host.said_open = false;
        let group = host.me.group.clone();
        self.checks.closed(&group, who);
    }

    /// Starts an agent, with what it had made durable and nothing else.
    pub fn start_agent(&mut self, who: &InstanceName) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        if host.process.up {
            return;
        }
        host.process.up = true;
        let text = serde_json::to_string(&host.durable).expect("writes");
        let kept = serde_json::from_str(&text).expect("reads back");
        let (agent, first) = Agent::new(host.me.clone(), kept, host.clock.read(self.now));
        host.agent = agent;
        host.process.to_do = first.into();
        self.pump(&Proc::Host(who.clone()));
        self.mail_host(who, Mail::Observed);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.link(who, id);
        }
    }

    /// Postgres dies.
    pub fn postgres_dies(&mut self, who: &InstanceName) {
        let host = self.hosts.get_mut(who).expect("an instance of the stage");
        if host.postgres.runs() {
            host.postgres.stop();
            self.mail_host(who, Mail::Exited);
        }
    }

    /// The stream between an agent and a node stands, after a round trip: both say what they have to say first.
    pub fn link(&mut self, who: &InstanceName, id: NodeId) {
        let (a, w) = (who.as_str().to_owned(), node(id));
        let up = self.hosts[who].process.up && self.nodes[&id].process.up;
        if up && self.links.joined(&a, &w) {
            let trip = self.links.delay(&a, &w) + self.links.delay(&w, &a);
            self.at(self.now + trip, Happening::Linked(who.clone(), id));
        }
    }

    /// That stream stands now.
    pub fn linked(&mut self, who: &InstanceName, id: NodeId) {
        if !(self.hosts[who].process.up && self.nodes[&id].process.up) {
            return;
        }
        self.mail_host(who, Mail::Unlinked(id));
        self.mail_host(who, Mail::Linked(id));
        let witness = &self.nodes[&id].witness;
        let group = &self.hosts[who].me.group;
        let known = witness.group(group).cloned();
        let decided = witness.decided(group).cloned();
        if let Some(group) = known {
            // What the witness applied last may not be flushed yet: it will tell when it is.
            let flushed = self.nodes[&id].durable.get(&group.name);
            if flushed.is_some_and(|kept| kept.group.revision >= group.revision) {
                self.tell_agent(id, who, ToAgent::Known(Box::new(group)));
            }
        }
        if let Some(certificate) = decided {
            self.tell_agent(id, who, ToAgent::Decided(certificate));
        }
    }

    /// A node came back: every agent's stream to it is made anew.
    pub fn relink_node(&mut self, id: NodeId) {
        for who in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.link(&who, id);
        }
    }
}
