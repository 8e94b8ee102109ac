//! What an heir has to know, and have, before it is promoted where commits are at some of the standbys only: the rules are
//! those of [`crate::replication`], for `quorum`. And what the others say, for it to know.
//!
//! The heir holds its office meanwhile, so nobody else is named: who would be could be promoted no sooner. It waits for as
//! long as it takes for enough of the others to answer, and says for whom. When enough have, it receives from the furthest
//! what it lacks. Only if that leads nowhere does it give its office up, to that one if it may.

use super::postgres::{Task, Upstream};
use super::{Agent, Effect, Note};
use crate::ids::{Epoch, InstanceName, Lsn, Position};
use crate::message::Role;
use crate::mutant::{self, Mutant};
use crate::replication::{Configuration, Mode};
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long what the furthest has is fetched although it need not be: who has it would have to be rewound.
const COURTESY: Duration = Duration::from_secs(1);

/// What was heard of the others' positions.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Gathered {
    /// Of each the epoch below which it receives from no primary, and where it was since.
    heard: BTreeMap<InstanceName, (Epoch, Position)>,
    /// Since when enough of them are known, in the office of which epoch.
    enough_since: Option<(Epoch, Time)>,
    /// The highest epoch whose primary is known to have been promoted, if it had to be.
    promoted: Epoch,
    /// What was last said that it waits for.
    told: String,
    /// Since which epoch this instance itself was last said to be detached.
    said: Epoch,
}

/// Orders positions: by the timeline, for a later epoch's has the higher number, then by place.
fn far(position: Position) -> (u32, Lsn) {
    (position.timeline, position.flushed)
}

impl Agent {
    /// Another instance says where it is.
    pub(super) fn heard_position(&mut self, instance: InstanceName, epoch: Epoch, position: Position) {
        let known = self.gathered.heard.get(&instance).map_or(Epoch(0), |(known, _)| *known);
        if epoch >= known {
            self.gathered.heard.insert(instance, (epoch, position));
        }
    }

    /// Below which epoch this standby surely receives from no primary any more; 0 if it may receive from any.
    pub(super) fn detached(&self) -> Epoch {
        let seen = &self.postgres.seen;
        let follows = seen.following.is_some() && seen.following == self.upstream();
        let turned = seen.role == Role::Standby && seen.turned && follows;
        if turned || mutant::on(Mutant::AttachedAnswers) { self.durable.seen() } else { Epoch(0) }
    }

    /// Says at once that it is detached: an heir may wait for that.
    pub(super) fn hasten_report(&mut self, now: Time) {
        let detached = self.detached();
        if detached > self.gathered.said && self.asks_others() {
            self.report_at = now;
        }
        self.gathered.said = detached;
    }

    /// A witness has heard the primary of that epoch say that it is one.
    pub(super) fn heard_promoted(&mut self, epoch: Epoch) {
        self.gathered.promoted = epoch.max(self.gathered.promoted);
    }

    /// Whether whoever is decided to be primary asks others where they are, or did.
    fn asks_others(&self) -> bool {
        self.durable.decided.as_ref().is_some_and(|decided| decided.gathers)
    }

    /// Whether the primary that is decided may still lack what others have: nobody becomes like it before it is known to
    /// have been promoted.
    pub(super) fn heir_may_lack(&self) -> bool {
        let promoted = self.gathered.promoted >= self.durable.seen();
        self.asks_others() && !promoted && !mutant::on(Mutant::BecomesLikeWhoLacks)
    }

    /// By which configuration it goes: the latest that the voters or the log here know.
    fn to_go_by(&self) -> Option<&Configuration> {
        let epoch = self.office()?;
        let certificate = self.durable.certificate.as_ref().filter(|held| held.epoch() == epoch);
        let (revision, voted) = certificate.map(|held| held.configuration()).unwrap_or_default();
        match &self.group {
            Some(group) if group.revision >= revision => group.configuration.as_ref(),
            _ => voted,
        }
        .filter(|configuration| configuration.must_gather() && !mutant::on(Mutant::HeirGathersNobody))
    }

    /// How many of the members have answered, and how many of those have no more than this instance has; itself counts.
    fn answers(&self, of: &Configuration) -> (usize, usize) {
        let epoch = self.durable.acted;
        let own = far(self.postgres.seen.position);
        let known = of.members.iter().filter_map(|name| match self.gathered.heard.get(name) {
            _ if *name == self.me.instance => Some(true),
            Some((detached, position)) if *detached >= epoch => Some(far(*position) <= own),
            _ => None,
        });
        let known: Vec<bool> = known.collect();
        (known.len(), known.iter().filter(|passed| **passed).count())
    }

    fn needed(of: &Configuration) -> usize {
        of.to_gather() - usize::from(mutant::on(Mutant::GathersOneTooFew))
    }

    /// The furthest of those that have answered and have more.
    fn furthest(&self, of: &Configuration) -> Option<Upstream> {
        let epoch = self.durable.acted;
        let own = far(self.postgres.seen.position);
        let answered = self.gathered.heard.iter().filter(|(name, (detached, position))| {
            of.members.contains(*name) && *detached >= epoch && far(*position) > own
        });
        let (name, _) = answered.max_by_key(|(_, (_, position))| far(*position))?;
        self.located(name)
    }

    /// Whether an heir still has to hear from others.
    pub(super) fn lacks_answers(&self) -> bool {
        let standby = self.postgres.seen.role == Role::Standby;
        standby && self.to_go_by().is_some_and(|of| self.answers(of).0 < Agent::needed(of))
    }

    /// What an heir whose Postgres is a standby has to do next.
    pub(super) fn task_of_heir(&self, office: Epoch, now: Time) -> Option<(Task, &'static str)> {
        let promote = self.promotion(office).map(|task| (task, "decided to be primary, and leased"));
        let Some(of) = self.to_go_by() else { return promote };
        let (known, passed) = self.answers(of);
        if known < Agent::needed(of) {
            return None;
        }
        let Some(ahead) = self.furthest(of) else { return promote };
        let late = self.enough_since().is_some_and(|since| now >= since + COURTESY);
        if late && passed >= Agent::needed(of) {
            return promote;
        }
        let follows = self.postgres.seen.following.as_ref() == Some(&ahead);
        (!follows).then_some((Task::Follow(ahead), "has what may have been acknowledged"))
    }

    fn enough_since(&self) -> Option<Time> {
        let (epoch, since) = self.gathered.enough_since?;
        (epoch == self.durable.acted).then_some(since)
    }

    /// Keeps track of since when enough have answered, and says what it waits for.
    pub(super) fn watch_gathering(&mut self, now: Time, out: &mut Vec<Effect>) {
        let waits = self.gathering_trouble();
        if !waits.is_empty() && waits != self.gathered.told {
            out.push(Effect::Note(Note::Gathers(waits.clone())));
        }
        self.gathered.told = waits;
        if self.office().is_none() || self.lacks_answers() {
            self.gathered.enough_since = None;
        } else if self.enough_since().is_none() {
            self.gathered.enough_since = Some((self.durable.acted, now));
        }
    }

    /// From when on an heir has had all it needs to be promoted, but for the WAL of another.
    pub(super) fn could_be_promoted_since(&self) -> Option<Time> {
        match self.to_go_by() {
            Some(_) => self.enough_since(),
            None => Some(self.office_since),
        }
    }

    /// Who should rather take over than an heir that could not fetch what that one has.
    pub(super) fn better_heir(&self) -> Option<InstanceName> {
        let standby = self.postgres.seen.role == Role::Standby;
        let of = self.to_go_by().filter(|_| standby)?;
        self.furthest(of).map(|ahead| ahead.instance)
    }

    /// What an heir waits for, in words; empty when for nothing.
    pub(super) fn gathering_trouble(&self) -> String {
        let standby = self.office().is_some() && self.postgres.seen.role == Role::Standby;
        let Some(of) = self.to_go_by().filter(|_| standby) else { return String::new() };
        let (known, needed) = (self.answers(of).0, Agent::needed(of));
        let epoch = self.durable.acted;
        if known < needed {
            let silent = |name: &&InstanceName| {
                let heard = self.gathered.heard.get(*name).is_some_and(|(detached, _)| *detached >= epoch);
                !heard && **name != self.me.instance
            };
            let silent: Vec<&str> = of.members.iter().filter(silent).map(InstanceName::as_str).collect();
            let (missing, silent) = (needed - known, silent.join(", "));
            return format!(
                "waits for the positions of {missing} of {silent}: one may have commits it lacks"
            );
        }
        match self.furthest(of) {
            Some(ahead) => format!("fetches from {} what it lacks", ahead.instance),
            None => String::new(),
        }
    }

    /// Whom to copy: where who has confirmed commits may lack others, the primary alone.
    pub(super) fn source(&self, primary: Upstream) -> Upstream {
        let here = self.group.as_ref().and_then(|group| group.configuration.as_ref());
        let gathers = self.asks_others() || here.is_some_and(Configuration::must_gather);
        if gathers { primary } else { self.nearest(primary) }
    }

    /// Which database this instance may be restored from a backup of. None where a commit may have been acknowledged because this
    /// instance had it: a backup may lack that, and nobody would know. What the primary has now does not.
    pub fn restorable(&self) -> Option<u64> {
        self.group.as_ref().filter(|group| group.terms.mode == Mode::Async)?.system_id
    }
}
