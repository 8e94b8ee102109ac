//! What agents do to their Postgres, and what Postgres does by itself.

use crate::clock::MS;
use crate::host::LOOK_EVERY;
use crate::invariants::HostId;
use crate::postgres::{Postgres, Shipped, duration};
use crate::world::{Happening, Mail, Proc, World};
use regent_core::agent::{Task, Words};
use regent_core::ids::{Epoch, InstanceName, Lsn};
use regent_core::message::Role;
use regent_core::replication::Mode;
use std::collections::BTreeSet;

/// How long it is tried to stop what does not die.
const UNKILLABLE: u64 = 500 * MS;

impl World {
    pub(crate) fn start_task(&mut self, who: HostId, task: Task) {
        self.tasks += 1;
        let run = self.tasks;
        let postgres = &mut self.hosts[who].postgres;
        let alone = postgres.task.as_ref().is_none_or(|(other, _)| matches!(other, Task::Checkpoint { .. }));
        assert!(alone, "{who} begins {task:?} beside {:?}", postgres.task);
        let dies = task != Task::StopImmediately || !postgres.disk_stuck;
        let takes = if dies { duration(&task) } else { UNKILLABLE };
        if matches!(task, Task::Clone(_) | Task::Rewind(_)) {
            postgres.role_before = Some(std::mem::replace(&mut postgres.role, Role::Preparing));
        }
        postgres.task = Some((task, run));
        self.at(self.now + takes, Happening::TaskEnds(who, run));
    }

    /// A task has run its time.
    pub(crate) fn task_ends(&mut self, who: HostId, run: u64) {
        let postgres = &self.hosts[who].postgres;
        let Some((task, _)) = postgres.task.clone().filter(|(_, number)| *number == run) else { return };
        if postgres.hung && task != Task::StopImmediately {
            return self.at(self.now + 2 * LOOK_EVERY, Happening::TaskEnds(who, run));
        }
        let source = match &task {
            Task::Clone(from) | Task::Rewind(from) | Task::Keep { from, .. } => {
                self.reachable(who, self.host_index(&from.instance))
            }
            _ => None,
        };
        let standby = matches!(task, Task::Clone(_)); // a standby can be copied, nobody be rewound to one
        let source = source.filter(|source| standby || source.role == Role::Primary).cloned();
        let upstream = match &task {
            Task::Follow(upstream) | Task::StartStandby(Some(upstream)) => {
                Some((upstream.clone(), self.host_index(&upstream.instance)))
            }
            _ => None,
        };
        match &task {
            Task::StopCleanly => self.send_all_wal(who, &BTreeSet::new()),
            Task::StopFor { without } => self.send_all_wal(who, without),
            _ => {}
        }
        let gone = source.as_ref().and_then(|source| self.hosts[who].postgres.beyond(source));
        let host = &mut self.hosts[who];
        let office = host.durable.as_ref().map_or(Epoch(0), |kept| kept.acted);
        host.postgres.task = None;
        let ran = host.postgres.runs();
        let result = host.postgres.finish(&task, source.clone(), upstream, office);
        host.postgres.give_up_replacing(result.is_err());
        let stopped = ran && !host.postgres.runs();
        if stopped {
            self.mail_host(who, Mail::Exited);
        }
        self.mail_host(who, Mail::Observed);
        match &task {
            Task::Keep { epoch, .. } if result.is_ok() => self.keep(who, *epoch, source.as_ref()),
            Task::Clone(_) | Task::Rewind(_) if result.is_ok() => self.judge_replaced(who, gone),
            Task::Initialise | Task::Promote { .. } if result.is_ok() => self.judge_timeline(who, office),
            _ => {}
        }
        self.mail_host(who, Mail::Done(task, result));
    }

    fn judge_timeline(&mut self, who: HostId, office: Epoch) {
        let timeline = self.hosts[who].postgres.timeline();
        let (judged, found) = self.invariants.of(self.hosts[who].group);
        judged.epochs.began(timeline, office, who, found);
    }

    /// A clean stop writes its checkpoint and waits until every standby that still receives has everything; a stream that
    /// breaks in the last moment, or is ended on purpose, makes it no less clean.
    fn send_all_wal(&mut self, who: HostId, without: &BTreeSet<InstanceName>) {
        let postgres = &mut self.hosts[who].postgres;
        if postgres.role != Role::Primary || postgres.broken {
            return postgres.flush();
        }
        postgres.lsn += 100;
        postgres.flush();
        let upstream = postgres.clone();
        for standby in self.members[self.hosts[who].group].clone() {
            let breaks = self.settings.unsynced && self.chance.once_in(8);
            let host = &self.hosts[standby];
            let receives = host.postgres.following.as_ref().is_some_and(|(_, of)| *of == who)
                && !(without.contains(&host.me.instance) || host.postgres.deaf || breaks)
                && self.links.joined(self.hosts[who].end, host.end);
            let postgres = &mut self.hosts[standby].postgres;
            if receives && postgres.streaming && postgres.agrees_with(&upstream) {
                postgres.receive(&upstream, upstream.flushed);
                postgres.flush();
            }
        }
    }

    /// Who is asked how far it has flushed says so: of the moment in which the question reaches it.
    fn asks(&mut self, who: HostId) {
        let Some(of) = self.hosts[who].asks else { return };
        let (here, there) = (self.hosts[who].end, self.hosts[of].end);
        let name = self.hosts[of].me.instance.clone();
        let answers = self.reachable(who, of).filter(|postgres| !postgres.hung);
        if let Some(flushed) = answers.map(|postgres| Lsn(postgres.flushed)) {
            let way = self.links.delay(there, here);
            self.at(self.now + way, Happening::Mail(Proc::Host(who), Mail::Reached(name, flushed)));
        }
    }

    /// Another instance's Postgres, if it runs and can be reached.
    fn reachable(&self, who: HostId, other: HostId) -> Option<&Postgres> {
        let source = &self.hosts[other].postgres;
        let joined = || self.links.joined(self.hosts[who].end, self.hosts[other].end);
        (source.runs() && joined()).then_some(source)
    }

    /// Every Postgres writes and streams for a moment; every agent looks.
    pub(crate) fn look(&mut self) {
        let looks_now = self.now.is_multiple_of(5 * LOOK_EVERY);
        for who in self.by_name.values().copied().collect::<Vec<_>>() {
            let host = &mut self.hosts[who];
            let open = host.open(self.now).is_some();
            let postgres = &mut host.postgres;
            if postgres.crash_loop && postgres.runs() && postgres.task.is_none() {
                self.postgres_dies(who);
                continue;
            }
            if postgres.role == Role::Primary && open && !postgres.hung {
                postgres.lsn += 1_000;
            }
            let changed = self.stream(who);
            self.look_for_heirs(who);
            let postgres = &mut self.hosts[who].postgres;
            postgres.flush();
            self.says_flushed(who);
            let postgres = &mut self.hosts[who].postgres;
            if (changed || looks_now) && !postgres.hung {
                self.mail_host(who, Mail::Observed);
            }
            self.asks(who);
            self.probe(who);
            self.judge_pulse(who);
        }
    }

    /// A standby receives for a moment. Returns whether it began to, or ceased.
    fn stream(&mut self, who: HostId) -> bool {
        let postgres = &self.hosts[who].postgres;
        let upstream = postgres.following.as_ref().map(|(_, upstream)| *upstream);
        let standby = postgres.role == Role::Standby && !postgres.hung && !postgres.deaf;
        let reached = upstream.filter(|_| standby).and_then(|upstream| self.reachable(who, upstream));
        let Some(source) = reached.filter(|source| postgres.agrees_with(source)) else {
            let postgres = &mut self.hosts[who].postgres;
            postgres.shipped = None;
            return std::mem::take(&mut postgres.streaming);
        };
        let takes_time = self.settings.wal_takes_time;
        let (arrived, end) = match postgres.shipped {
            _ if !takes_time => (true, source.lsn),
            Some(shipped) => (shipped.at <= self.now, shipped.lsn.min(source.flushed)),
            None => (false, 0),
        };
        let received = arrived.then(|| {
            let end = end.max(postgres.lsn);
            let history = (postgres.history != source.history).then(|| source.history_to(end));
            (end, history, source.system_id)
        });
        let delay = self.links.delay(self.hosts[upstream.unwrap_or(who)].end, self.hosts[who].end);
        let sends = takes_time && !source.hung && (arrived || postgres.shipped.is_none());
        let next = Shipped { at: self.now + delay, lsn: source.flushed };
        let postgres = &mut self.hosts[who].postgres;
        if let Some((end, history, system_id)) = received {
            postgres.lsn = end;
            postgres.system_id = system_id;
            if let Some(history) = history {
                postgres.history = history;
            }
        }
        if sends || arrived {
            postgres.shipped = sends.then_some(next);
        }
        !std::mem::replace(&mut postgres.streaming, true)
    }

    /// A standby that receives says how far it has flushed; one that does not is no standby of anybody any more.
    fn says_flushed(&mut self, who: HostId) {
        let host = &self.hosts[who];
        let name = host.me.instance.clone();
        let upstream = host.postgres.following.as_ref().map(|(_, upstream)| *upstream);
        let upstream = upstream.filter(|_| host.postgres.streaming);
        for other in self.members[host.group].clone() {
            if Some(other) != upstream {
                self.hosts[other].postgres.said.remove(&name);
            }
        }
        let Some(to) = upstream.filter(|to| self.confirms_count(*to)) else { return };
        let (life, end) = (self.hosts[to].postgres.life, self.hosts[who].postgres.flushed);
        let way = self.links.delay(self.hosts[who].end, self.hosts[to].end);
        self.at(self.now + way, Happening::Confirms(who, to, life, end));
    }

    /// Whether it matters what the standbys of that one say.
    pub(crate) fn confirms_count(&self, who: HostId) -> bool {
        let host = &self.hosts[who];
        let known = self.raft.state.groups.get(&host.me.group);
        known.is_some_and(|group| group.terms.mode != Mode::Async) || host.confirm != Words::default()
    }

    /// What a standby has flushed is known to who it receives from, if it still does.
    pub(crate) fn confirms(&mut self, who: HostId, to: HostId, life: u64, end: u64) {
        let standby = &self.hosts[who];
        let follows = standby.postgres.following.as_ref().is_some_and(|(_, of)| *of == to);
        let name = standby.me.instance.clone();
        let joined = self.links.joined(standby.end, self.hosts[to].end);
        let primary = &mut self.hosts[to].postgres;
        if follows && joined && primary.life == life && primary.role == Role::Primary {
            let said = primary.said.entry(name).or_default();
            *said = end.max(*said);
        }
    }

    /// Postgres dies.
    pub(crate) fn postgres_dies(&mut self, who: HostId) {
        let host = &mut self.hosts[who];
        if host.postgres.runs() {
            host.postgres.stop();
            self.mail_host(who, Mail::Exited);
        }
    }
}
