//! An instance of the world: its agent, what the agent made durable, its gate. Its Postgres is beside this file.

use crate::clock::{Clock, MS};
use crate::invariants::{HostId, Theorem, epochs, handed_over_whole, persist_before_send};
use crate::links::End;
use crate::postgres::{Branch, Postgres};
use crate::process::Process;
use crate::words::{inst, insts, node, task as words_of};
use crate::world::{Happening, Mail, NodeIndex, Proc, World};
use regent_core::agent::{Agent, Durable, Effect, Event, Identity, MOST_PLACES, Note, Words, satisfied};
use regent_core::ids::{Epoch, InstanceName, Lsn, NodeId};
use regent_core::message::{Role, ToWitness};
use regent_core::time::Time;
use regent_core::vote::Reason;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the witnesses may take to know of a better heir, beyond the distances: looks, reports, flushes.
const KNOWN_BY_ALL: u64 = 300 * MS;

/// How often Postgres writes, streams and is looked at.
pub const LOOK_EVERY: u64 = 10 * MS;

/// An instance.
pub struct Host {
    /// Who it is.
    pub me: Identity,
    /// Its place.
    pub end: End,
    /// Its group.
    pub group: usize,
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
    /// What else it says: the places of those who must have flushed what is acknowledged.
    pub confirm: Words,
    /// And the bound, under which what is older must have been flushed by those.
    pub rpo: Option<Duration>,
    /// Whether somebody was told that the gate is open.
    pub said_open: bool,
    /// The last timeline it has received as a standby that every witness hears, and since when without a break.
    pub receives: Option<(Branch, u64)>,
    /// When the write probe that is under way began, by the world's time.
    pub probing: Option<u64>,
    /// When the next one is to begin.
    pub probe_due: u64,
    /// Whom its agent asks how far it has flushed.
    pub asks: Option<HostId>,
    /// Timeline and end of each tail of the log that its agent made durable that it has kept.
    pub kept: BTreeSet<(u32, u64)>,
}

impl Host {
    /// Up to where as many have flushed as the gate was told to ask for.
    fn confirmed(&self) -> u64 {
        let places = self.durable.as_ref().map_or(&[][..], |kept| &kept.places);
        let said: Vec<u64> =
            places.iter().map(|name| self.postgres.said.get(name).copied().unwrap_or(0)).collect();
        let enough = |end: &u64| {
            let there = said.iter().take(MOST_PLACES).enumerate().filter(|(_, said)| **said >= *end);
            let confirmed = there.fold(0, |confirmed, (place, _)| confirmed | 1 << place);
            self.confirm.0.into_iter().all(|word| satisfied(word, confirmed))
        };
        [u64::MAX].iter().chain(&said).copied().filter(enough).max().unwrap_or(0)
    }

    /// The gate's second look at a commit that ends there, under a lease of that epoch. If it passes, it is acknowledged.
    pub fn acknowledges(&mut self, end: u64, epoch: Epoch, now: u64) -> bool {
        let (confirmed, now) = (self.confirmed(), self.clock.read(now));
        let Some(rpo) = self.rpo else { return confirmed >= end };
        let Postgres { bound, flushed, .. } = &mut self.postgres;
        let allowed = confirmed >= bound.must_have(epoch, rpo, Lsn(*flushed), now).0;
        if allowed {
            bound.acknowledged(Lsn(end), now);
        }
        allowed
    }

    /// Whether who may take over is among those that commits wait for.
    pub fn in_force(&self) -> bool {
        self.durable.as_ref().and_then(|kept| kept.confirmers.as_ref()).is_some_and(|of| of.in_force)
    }

    /// The epoch under which commits pass now, by the clock of its machine.
    pub fn open(&self, now: u64) -> Option<Epoch> {
        self.gate.filter(|(_, end)| self.clock.read(now) < *end).map(|(epoch, _)| epoch)
    }
}

impl World {
    /// An agent takes one message in.
    pub(crate) fn host_steps(&mut self, who: HostId, mail: Mail) -> Vec<Effect> {
        let host = &mut self.hosts[who];
        let now = host.clock.read(self.now);
        let event = match mail {
            Mail::ToAgent(id, message) => Event::Heard(id, message),
            Mail::Linked(id) => Event::Linked(id),
            Mail::Unlinked(id) => Event::Unlinked(id),
            Mail::Observed => return self.host_looks(who),
            Mail::Exited => Event::Exited,
            Mail::Kept(tail) => Event::Kept(tail),
            Mail::Done(task, result) => Event::Done(task, result),
            Mail::Reached(instance, flushed) => Event::Reached { instance, flushed },
            Mail::Probed(began, probe) => Event::Probed { began, probe },
            Mail::Wake => Event::Wake,
            other => panic!("an agent got {other:?}"),
        };
        host.agent.step(event, now)
    }

    /// An agent is told what its Postgres is doing, and who streams from it.
    fn host_looks(&mut self, who: HostId) -> Vec<Effect> {
        let host = &self.hosts[who];
        let now = host.clock.read(self.now);
        let mut seen = host.postgres.observe(now);
        // Where commits wait for standbys, what those have said counts, and when it has come; else it is not kept.
        if seen.role == Role::Primary && !self.confirms_count(who) {
            let group = &self.members[self.hosts[who].group];
            let streams = |standby: &&HostId| {
                let postgres = &self.hosts[**standby].postgres;
                postgres.streaming && postgres.following.as_ref().is_some_and(|(_, of)| *of == who)
            };
            let at = |standby: &HostId| {
                let host = &self.hosts[*standby];
                (host.me.instance.clone(), Lsn(host.postgres.flushed))
            };
            seen.standbys = group.iter().filter(streams).map(at).collect();
        }
        self.hosts[who].agent.step(Event::Observed(seen), now)
    }

    /// An agent does one thing.
    pub(crate) fn host_acts(&mut self, who: HostId, effect: Effect) {
        match effect {
            Effect::Persist(durable) => self.host_persists(who, *durable),
            Effect::Open { epoch, deadline, confirm, rpo } => {
                (self.hosts[who].confirm, self.hosts[who].rpo) = (confirm, rpo);
                self.open_gate(who, epoch, deadline);
            }
            Effect::Close => self.close_gate(who),
            Effect::Send(id, message) => self.tell_witness(who, id, message),
            Effect::Start(task) => self.start_task(who, task),
            Effect::Ask(of) => self.hosts[who].asks = of.map(|of| self.host_index(&of.instance)),
            Effect::Note(note) => self.say_note(who, &note),
        }
    }

    fn host_persists(&mut self, who: HostId, durable: Durable) {
        let host = &mut self.hosts[who];
        let (released, group) = (durable.released, host.group);
        let handed = durable.release.clone().filter(|(_, reason)| *reason == Reason::Switchover);
        host.kept.extend(durable.tails.iter().map(|tail| (tail.timeline, tail.to.0)));
        let before = host.durable.replace(durable);
        let (judged, found) = self.invariants.of(group);
        let after = host.durable.as_ref().expect("put there a moment ago");
        epochs::agent_persists(who, before.as_ref(), after, found);
        if released > before.map_or(Epoch(0), |before| before.released) {
            let open = judged.writable.is_open(who, self.now);
            judged.votes.released(who, released, open, found);
            if let Some((Some(to), _)) = handed {
                let to = self.host_index(&to);
                let (here, there) = (&self.hosts[who].postgres, &self.hosts[to].postgres);
                handed_over_whole::handed_over((who, here), (to, there), &mut self.invariants.found);
            }
        }
    }

    fn close_gate(&mut self, who: HostId) {
        let host = &mut self.hosts[who];
        host.gate = None;
        host.said_open = false;
        self.invariants.groups[host.group].writable.closed(who);
    }

    fn open_gate(&mut self, who: HostId, epoch: Epoch, deadline: Time) {
        let host = &mut self.hosts[who];
        let until = host.clock.when(deadline);
        let before = host.gate.replace((epoch, deadline));
        let lapsed = before.is_some_and(|(_, end)| host.clock.when(end) <= self.now);
        let again = lapsed && !std::mem::replace(&mut host.said_open, true);
        host.said_open = true;
        self.judge_opening(who, epoch, until);
        self.at(until, Happening::Lapse(who, deadline));
        if again {
            self.say(|world| {
                format!("{} opens its gate again in {epoch}", inst(&world.hosts[who].me.instance))
            });
        }
    }

    fn judge_opening(&mut self, who: HostId, epoch: Epoch, until: u64) {
        let host = &self.hosts[who];
        let group = host.group;
        let (judged, found) = self.invariants.of(group);
        if until <= self.now {
            // The agent was kept from writing it until it was over: nothing passes such a gate.
            return judged.writable.closed(who);
        }
        judged.writable.opened(who, epoch, until, found);
        let logged = judged.epochs.logged_for(epoch) == Some(who);
        judged.votes.opened(who, epoch, until, logged, &judged.electorates, found);
        if judged.epochs.was_opened(epoch) {
            judged.epochs.owned(epoch, who, found);
            return self.is_over(who); // it came back before anybody took over
        }
        let lineage = judged.loss.lineage().to_vec();
        let returned = judged.loss.opened(who, &host.postgres.history, host.postgres.lsn, found);
        let (others, stint) = (judged.epochs.others_last(who), host.postgres.stint);
        found.demand(Theorem::Epochs, others < stint, |names| {
            format!("{} goes on as the primary of {stint} though another was primary in {others}", names[who])
        });
        let first = judged.epochs.last_logged() <= Epoch(1) && others == Epoch(0);
        if judged.epochs.opened(epoch, who, found) && !first {
            self.tally.changes[group] += 1;
        }
        let chosen = judged.votes.chosen(epoch, who).map(|(at, rest)| (at, rest.to_vec()));
        if let Some((at, rest)) = chosen.filter(|_| returned) {
            self.judge_choice(who, at, &rest, &lineage);
        }
        self.is_over(who);
    }

    /// The outage of a group, if it had one.
    fn is_over(&mut self, who: HostId) {
        if let Some((struck, _)) = self.tally.struck[self.hosts[who].group].take() {
            self.tally.outages.push((who, self.now - struck));
        }
    }

    /// An heir takes over that had not followed the last primary, whose timelines were `lineage`, by votes that nobody asked
    /// for: nobody better was in the succession, or it was not known yet for better.
    fn judge_choice(&mut self, heir: HostId, chosen_at: u64, rest: &[InstanceName], lineage: &[Branch]) {
        let long_before = chosen_at.saturating_sub(KNOWN_BY_ALL + 2 * self.links.longest());
        let better = self.members[self.hosts[heir].group].iter().copied().find(|who| {
            let receives = self.hosts[*who].receives;
            rest.contains(&self.hosts[*who].me.instance)
                && receives.is_some_and(|(last, since)| Some(&last) == lineage.last() && since < long_before)
        });
        self.invariants.found.demand(Theorem::LossIsAccounted, better.is_none(), |names| {
            let better = &names[better.unwrap_or_default()];
            format!(
                "{} takes over, which had not followed the last primary, though {better} had",
                names[heir]
            )
        });
    }

    /// Keeps account of how long each standby has been one that every witness hears.
    pub(crate) fn look_for_heirs(&mut self, who: HostId) {
        let host = &self.hosts[who];
        let well = host.process.goes_on() && host.postgres.role == Role::Standby && !host.postgres.hung;
        let heard = |at: usize| {
            let peer = &self.nodes[at];
            !peer.process.up || (peer.process.goes_on() && self.links.calm(host.end, peer.end))
        };
        let heard = well && (0..self.nodes.len()).all(heard);
        let last = host.postgres.history.last().copied().filter(|_| heard);
        let before = host.receives;
        self.hosts[who].receives = last.map(|last| match before {
            Some((same, since)) if same == last => (last, since),
            _ => (last, self.now),
        });
    }

    /// A deadline has come: if nothing later was written, the gate is closed by itself.
    pub(crate) fn lapse(&mut self, who: HostId, deadline: Time) {
        let host = &mut self.hosts[who];
        if let Some((epoch, end)) = host.gate
            && end == deadline
        {
            host.said_open = false;
            self.tally.lapses[host.group] += 1;
            self.tally.lapsed.push(who);
            self.say(|world| {
                let who = inst(&world.hosts[who].me.instance);
                format!("{who}'s gate closes by itself: the lease of {epoch} is over")
            });
        }
    }

    fn tell_witness(&mut self, who: HostId, id: NodeId, message: ToWitness) {
        let kept = self.hosts[who].durable.as_ref();
        persist_before_send::agent_says(who, kept, &message, &mut self.invariants.found);
        let to = Proc::Node(World::node_index(id));
        self.send(Proc::Host(who), to, Mail::ToWitness(message));
    }

    fn say_note(&mut self, who: HostId, note: &Note) {
        if let Note::Acted(epoch, _) = note {
            let (judged, found) = self.invariants.of(self.hosts[who].group);
            judged.epochs.owned(*epoch, who, found);
        }
        self.say(|world| {
            let text = match note {
                Note::Certificate(certificate) => {
                    let voters: Vec<String> =
                        certificate.votes().iter().map(|vote| node(vote.witness)).collect();
                    let (epoch, rest) = (certificate.epoch(), insts(&certificate.rest()));
                    format!("holds the votes of {} for {epoch}, then {rest}", voters.join(" "))
                }
                Note::Acted(epoch, reason) => format!("takes office in {epoch}: {reason}"),
                Note::Promoted(epoch) => format!("is promoted in {epoch}"),
                Note::Opened(epoch) => format!("opens its gate in {epoch}"),
                Note::Closed(epoch, why) => format!("closes its gate of {epoch}: {why}"),
                Note::Released(epoch, reason) => format!("releases {epoch}: {reason}"),
                Note::HandingOver(epoch, to) => format!("hands {epoch} over to {}", inst(to)),
                Note::CalledOff(to, why) => format!("calls off handing over to {}: {why}", inst(to)),
                Note::Restarting(epoch) => format!("is to be restarted in {epoch}"),
                Note::Restarted(epoch) => format!("is restarted in {epoch}"),
                Note::NotRestarted(why) => format!("is not restarted: {why}"),
                Note::Kept(tail) => format!("keeps timeline {} from {}", tail.timeline, tail.from.0),
                Note::WaitsFor(names) => format!("has commits wait for {}", insts(names)),
                Note::Gathers(what) => what.clone(),
                Note::Begins(task, why) => format!("{}: {why}", words_of(task)),
                Note::Failed(task, why) => format!("fails ({}): {why}", words_of(task)),
            };
            format!("{} {text}", inst(&world.hosts[who].me.instance))
        });
    }

    /// Puts something into an agent's inbox, if it runs.
    pub(crate) fn mail_host(&mut self, who: HostId, mail: Mail) {
        let process = &mut self.hosts[who].process;
        if process.up {
            process.inbox.push_back(mail);
            self.pump(Proc::Host(who));
        }
    }

    /// Kills an agent; its Postgres goes on, what it was doing to it does not.
    pub(crate) fn kill_agent(&mut self, who: HostId) {
        let host = &mut self.hosts[who];
        let unsynced = host.process.kill();
        host.postgres.task = None;
        (host.probing, host.asks) = (None, None);
        host.postgres.give_up_replacing(true);
        if let Some(Effect::Persist(durable)) = unsynced
            && self.settings.unsynced
            && self.chance.once_in(2)
        {
            self.host_persists(who, *durable); // it had reached the disk, and nobody was told
        }
    }

    /// Kills an agent and its Postgres with the machine: the lease file is gone too.
    pub(crate) fn kill_host(&mut self, who: HostId) {
        self.kill_agent(who);
        self.hosts[who].postgres.stop();
        (self.hosts[who].confirm, self.hosts[who].rpo) = (Words::default(), None);
        self.close_gate(who);
    }

    /// Starts an agent, with what it had made durable and nothing else.
    pub(crate) fn start_agent(&mut self, who: HostId) {
        let host = &mut self.hosts[who];
        if host.process.up {
            return;
        }
        host.process.up = true;
        let kept = if self.settings.as_text {
            let text = serde_json::to_string(&host.durable).expect("writes");
            serde_json::from_str(&text).expect("reads back")
        } else {
            host.durable.clone()
        };
        let (agent, first) = Agent::new(host.me.clone(), kept, host.clock.read(self.now));
        host.agent = agent;
        host.process.to_do = first.into();
        self.pump(Proc::Host(who));
        self.mail_host(who, Mail::Observed);
        for at in 0..self.nodes.len() {
            self.link(who, at);
        }
    }

    /// The stream between an agent and a node stands, after a round trip: both say what they have to say first.
    pub(crate) fn link(&mut self, who: HostId, at: NodeIndex) {
        let (a, w) = (self.hosts[who].end, self.nodes[at].end);
        let up = self.hosts[who].process.up && self.nodes[at].process.up;
        if up && self.links.joined(a, w) {
            let trip = self.links.delay(a, w) + self.links.delay(w, a);
            self.at(self.now + trip, Happening::Linked(who, at));
        }
    }

    /// That stream stands now.
    pub(crate) fn linked(&mut self, who: HostId, at: NodeIndex) {
        if !(self.hosts[who].process.up && self.nodes[at].process.up) {
            return;
        }
        let id = self.nodes[at].id;
        self.mail_host(who, Mail::Unlinked(id));
        self.mail_host(who, Mail::Linked(id));
        self.nodes[at].process.inbox.push_back(Mail::Attach(who));
        self.pump(Proc::Node(at));
    }

    /// A node came back: every agent's stream to it is made anew.
    pub(crate) fn relink_node(&mut self, at: NodeIndex) {
        for who in self.by_name.values().copied().collect::<Vec<_>>() {
            self.link(who, at);
        }
    }
}
