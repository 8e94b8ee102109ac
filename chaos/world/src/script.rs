//! Scripts: lines beginning with `>` are commands, with `#` comments; all else is what happened.

use crate::clock::{Clock, MS};
use crate::invariants::HostId;
use crate::links::End;
use crate::postgres::Postgres;
use crate::words::node_id;
use crate::world::{NodeIndex, Proc, World};
use regent_core::command::{Command, Terms};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId};
use regent_core::replication::{Mode, Offer, Policy};
use regent_core::tags::Tags;
use std::time::Duration;

/// Plays a script. Returns the transcript, and what was broken.
pub fn play(text: &str) -> (String, Vec<String>) {
    let mut world = World::plain();
    let mut transcript = String::new();
    let mut was_output = false;
    for line in text.lines() {
        let kept = line.starts_with('#') || line.starts_with('>') || (line.is_empty() && !was_output);
        was_output = !kept && !line.is_empty() || (line.is_empty() && was_output);
        if !kept {
            continue;
        }
        transcript.push_str(line);
        transcript.push('\n');
        if let Some(command) = line.strip_prefix('>') {
            let words: Vec<&str> = command.split_whitespace().collect();
            world.command(&words);
            for line in world.lines.drain(..) {
                transcript.push_str(&line);
                transcript.push('\n');
            }
        }
        if !world.invariants.found.violations.is_empty() {
            break;
        }
    }
    let broken = world.invariants.found.violations;
    (transcript, broken.into_iter().map(|violation| violation.sentence).collect())
}

fn number(text: &str, unit: &str) -> u64 {
    let digits =
        text.strip_suffix(unit).unwrap_or_else(|| panic!("expected a number of {unit}, got {text:?}"));
    digits.parse().unwrap_or_else(|_| panic!("expected a number of {unit}, got {text:?}"))
}

fn span(text: &str) -> u64 {
    number(text, "ms") * MS
}

fn name(text: &str) -> InstanceName {
    InstanceName::new(text.to_lowercase()).expect("an instance's name")
}

fn at(text: &str) -> NodeIndex {
    World::node_index(id(text))
}

fn id(text: &str) -> NodeId {
    node_id(text).unwrap_or_else(|| panic!("expected a node, got {text:?}"))
}

fn group(text: &str) -> GroupName {
    GroupName::new(text).expect("a group's name")
}

fn region(text: &str) -> usize {
    let letter = text.bytes().next().filter(u8::is_ascii_lowercase);
    usize::from(letter.expect("a region") - b'a')
}

fn mode(how: &[&str]) -> (Mode, Policy) {
    match *how {
        ["async"] => (Mode::Async, Policy::Block),
        ["sync", count] => (Mode::Sync { count: count.parse().expect("a small number") }, Policy::Block),
        ["quorum", count] => (Mode::Quorum { count: count.parse().expect("a small number") }, Policy::Block),
        ["bounded", rpo, count] => {
            let (rpo, count) = (Duration::from_nanos(span(rpo)), count.parse().expect("a small number"));
            (Mode::Bounded { rpo, count }, Policy::Block)
        }
        ["bounded", rpo, count, "degrade"] => (mode(&["bounded", rpo, count]).0, Policy::Degrade),
        [word, count, "degrade"] => (mode(&[word, count]).0, Policy::Degrade),
        _ => panic!("no such mode: {how:?}"),
    }
}

fn read_tags(words: &[&str]) -> Tags {
    let mut tags = Tags::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value behind the tag");
        match *word {
            "no_promote" => tags.no_promote = true,
            "priority" => tags.priority = value().parse().expect("a number"),
            "replicate_from" => tags.replicate_from = Some(name(value())),
            _ => panic!("no such tag: {word}"),
        }
    }
    tags
}

impl World {
    /// Does what one line says.
    fn command(&mut self, words: &[&str]) {
        match *words {
            ["nodes", ref names @ ..] => names.iter().for_each(|name| self.script_node(name)),
            ["group", group, ref names @ ..] => self.script_group(group, Terms::default(), names),
            ["sync", "group", group, ref names @ ..] => {
                let terms = Terms { mode: Mode::Sync { count: 1 }, ..Terms::default() };
                self.script_group(group, terms, names);
            }
            ["quorum", count, "group", group, ref names @ ..] => {
                let terms = Terms { mode: mode(&["quorum", count]).0, ..Terms::default() };
                self.script_group(group, terms, names);
            }
            ["bounded", "group", group, ref names @ ..] => {
                let (mode, _) = mode(&["bounded", "100ms", "1"]);
                self.script_group(group, Terms { mode, ..Terms::default() }, names);
            }
            ["clock", who, ppm, offset] => self.set_clock(who, ppm, span(offset)),
            ["settle"] => self.settle(),
            ["run", time] => self.run(span(time)),
            ["quietly", time] => self.quietly(span(time)),
            ["leader", "none"] => self.lead(None),
            ["leader", who] => self.lead(Some(at(who))),
            ["elections", "on"] => self.raft.elections = true,
            ["kill", "region", place] => self.each_in(region(place), World::kill),
            ["start", "region", place] => self.each_in(region(place), World::start),
            ["kill", who] => self.kill(self.proc(who)),
            ["start", who] => self.start(self.proc(who)),
            ["kill", "agent", who] => self.kill_agent(self.host(who)),
            ["tag", who, ref tags @ ..] => self.tag(self.host(who), read_tags(tags)),
            ["restart", who] => self.restart(self.proc(who)),
            ["postgres", who, "dies"] => self.postgres_dies(self.host(who)),
            ["postgres", who, "breaks"] => self.script_postgres(who, |postgres| postgres.broken = true),
            ["postgres", who, "hangs"] => self.script_postgres(who, |postgres| postgres.hung = true),
            ["postgres", who, "goes", "on"] => self.script_postgres(who, |postgres| postgres.hung = false),
            ["postgres", who, "commits", "in", time] => {
                self.script_postgres(who, |postgres| postgres.commit_takes = span(time));
            }
            ["stream", "of", who, "breaks"] => self.script_postgres(who, |postgres| postgres.deaf = true),
            ["stream", "of", who, "goes", "on"] => {
                self.script_postgres(who, |postgres| postgres.deaf = false)
            }
            ["disk", "of", who, "sticks"] => self.script_postgres(who, |postgres| postgres.disk_stuck = true),
            ["disk", "of", who, "goes", "on"] => {
                self.script_postgres(who, |postgres| postgres.disk_stuck = false);
            }
            ["freeze", who] => self.freeze(self.proc(who), true),
            ["thaw", who] => self.freeze(self.proc(who), false),
            ["cut", "region", place] => self.cut_region(region(place)),
            ["heal", "all"] => self.heal_all(),
            ["heal", "region", place] => self.heal_region(region(place)),
            ["cut", a, "->", b] => self.links.cut(self.end(a), self.end(b)),
            ["cut", a, b] => self.cut(self.end(a), self.end(b)),
            ["heal", a, b] => self.heal(self.end(a), self.end(b)),
            ["delay", a, b, time] => self.links.set_delay(self.end(a), self.end(b), span(time)),
            ["lag", who, time] => {
                self.raft.lag.insert(at(who), span(time));
            }
            ["switchover", "of", of, "to", who] => self.switchover(self.group_index(&group(of)), &name(who)),
            ["drain", place] => self.drain(place, true),
            ["undrain", place] => self.drain(place, false),
            ["electorate", "of", of, ref names @ ..] => {
                self.wish_electorate(self.group_index(&group(of)), names.iter().map(|name| id(name)));
            }
            ["solicit", by, epoch, who] => self.solicit(at(by), Epoch(number(epoch, "")), &name(who)),
            ["propose", "succession", epoch, revision, ref names @ ..] => {
                let succession = names.iter().map(|text| name(text)).collect();
                self.propose_succession(
                    Epoch(number(epoch, "")),
                    number(revision, "-back"),
                    succession,
                    None,
                );
            }
            ["propose", "offer", version, epoch, revision, ref names @ ..] => {
                let succession: Vec<InstanceName> = names.iter().map(|text| name(text)).collect();
                let members = succession.iter().cloned().collect();
                let tightened =
                    self.raft.state.groups.values().map(|group| group.tightened).next().unwrap_or_default();
                let offer = Some(Offer { version: number(version, ""), members, tightened, count: None });
                let (epoch, back) = (Epoch(number(epoch, "")), number(revision, "-back"));
                self.propose_succession(epoch, back, succession, offer);
            }
            ["mode", "of", of, ref how @ ..] => {
                let (mode, policy) = mode(how);
                self.set_mode(self.group_index(&group(of)), mode, policy);
            }
            ["client", "of", of, "at", place, time] => {
                let group = self.group_index(&group(of));
                self.add_client(group, at(place), self.members[group][0], span(time));
            }
            ["status"] => self.status(),
            ["expect", ref what @ ..] => self.expect(what),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn script_postgres(&mut self, who: &str, act: impl FnOnce(&mut Postgres)) {
        let who = self.host(who);
        act(&mut self.hosts[who].postgres);
    }

    fn host(&self, who: &str) -> HostId {
        *self.by_name.get(&name(who)).unwrap_or_else(|| panic!("no instance {who}"))
    }

    fn proc(&self, who: &str) -> Proc {
        node_id(who).map_or_else(|| Proc::Host(self.host(who)), |id| Proc::Node(World::node_index(id)))
    }

    fn end(&self, who: &str) -> End {
        self.end_of(self.proc(who))
    }

    fn script_node(&mut self, name: &str) {
        assert_eq!(at(name), self.nodes.len(), "nodes are named in order, {name} is not next");
        let clock = self.clocks.get(name).copied();
        self.add_node(clock.unwrap_or(Clock { offset: 1_000_000 * MS * id(name).0, ppm: 0 }));
    }

    /// Creates a group, governed by the first three nodes, with instances in regions of their own or `X@a`.
    fn script_group(&mut self, name_of: &str, terms: Terms, names: &[&str]) {
        if self.raft.leader.is_none() {
            let quiet = std::mem::replace(&mut self.quiet, true);
            self.lead(Some(0));
            self.run(500 * MS);
            self.quiet = quiet;
        }
        let placed = names.iter().map(|text| match text.split_once('@') {
            Some((who, place)) => (name(who), region(place)),
            None => (name(text), region(&text.to_lowercase())),
        });
        let placed: Vec<(InstanceName, usize)> = placed.collect();
        let leader = self.raft.leader.expect("a leader");
        self.propose(
            leader,
            Command::CreateGroup {
                group: group(name_of),
                terms,
                electorate: self.nodes.iter().map(|peer| peer.id).take(3).collect(),
                first: placed.first().map(|(who, _)| who.clone()),
            },
        );
        let index = self.add_group_name(group(name_of));
        for (who, place) in placed {
            let clock = self.clocks.get(who.as_str()).copied();
            let usual = Clock { offset: 77_000 * MS * (self.hosts.len() as u64 + 1), ppm: 0 };
            self.add_host(index, who, Tags::default(), place, clock.unwrap_or(usual));
        }
    }

    /// The clock of an end that comes later.
    fn set_clock(&mut self, who: &str, ppm: &str, offset: u64) {
        let who = who.to_lowercase();
        let clock = Clock { offset, ppm: ppm.strip_suffix("ppm").and_then(|n| n.parse().ok()).expect("ppm") };
        assert!(self.links.find(&who).is_none(), "the clock of {who} is set before it runs");
        self.clocks.insert(who, clock);
    }

    fn quietly(&mut self, span: u64) {
        self.quiet = true;
        self.run(span);
        self.quiet = false;
    }

    /// Runs until all is in order, without a word, and counts time from there.
    fn settle(&mut self) {
        self.quietly(8_000 * MS);
        self.origin = self.now;
        self.tally.changes.iter_mut().for_each(|changes| *changes = 0);
    }
}
