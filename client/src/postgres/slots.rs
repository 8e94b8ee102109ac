//! Physical slots: WAL is kept for every instance of the group on every other, so that whoever is primary next has it.
//!
//! The agent makes them on primary and standby alike, and moves them itself, to what the owner was last heard to have
//! flushed *on the timeline of this server*, never beyond what is replayed here. A standby does not stream by its slot: a
//! slot that is not there yet, or that a dead connection still holds, would keep it from receiving, and nothing may stand
//! between a promotion and its standbys. (The server's own failover slots, from PostgreSQL 17 on, need it: see `config`.)
//!
//! How much they may keep is bounded by `max_slot_wal_keep_size`. Neither `pg_basebackup` nor `pg_rewind` copies slots: they
//! are made again. A slot of another name is somebody else's, and never touched.

use tokio_postgres::types::PgLsn;

use super::error::PostgresError;
use super::lsn::Lsn;
use super::{Server, session};

/// What the names of the agent's slots begin with.
pub(super) const PREFIX: &str = "regent_";
/// The longest name of a slot.
const MOST: usize = 63;
/// A slot is moved when this much more can go: WAL is kept by the segment, which is as long.
const STEP: u64 = 16 << 20;

/// For whom WAL is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The instance.
    pub instance: String,
    /// The timeline it was last heard to be on, and how far it had flushed of it.
    pub flushed: Option<(u32, Lsn)>,
    /// Whether it was heard of late: a slot that lost its WAL is made anew only for one that can use it.
    pub heard: bool,
}

/// One of the agent's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// A standby streams by it, and moves it.
    pub active: bool,
    /// Its WAL is gone.
    pub lost: bool,
    /// From where on it keeps WAL; none when it keeps none.
    pub from: Option<Lsn>,
}

/// The slots as they are, and how much they may keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// The agent's own.
    pub slots: Vec<Slot>,
    /// How far this server is.
    pub end: Lsn,
    /// `max_slot_wal_keep_size` in bytes; none for no limit.
    pub limit: Option<u64>,
    /// What could not be done, in the server's words.
    pub troubles: Vec<String>,
}

/// The name of an instance's slot. Different instances have different ones: `-`, which a slot's name may not have, becomes
/// `_`; a name with a `_` of its own is told apart by a second `_` in front, where no instance's name has one, and its `_`
/// are doubled; one that would be too long ends with a hash of the whole.
pub fn slot_name(instance: &str) -> String {
    let name = if instance.contains('_') {
        format!("{PREFIX}_{}", instance.replace('_', "__").replace('-', "_m"))
    } else {
        format!("{PREFIX}{}", instance.replace('-', "_"))
    };
    if name.len() <= MOST {
        return name;
    }
    // FNV-1a.
    let hash = instance.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let start: String = instance.replace('-', "_").chars().take(30).collect();
    format!("{PREFIX}__{start}_{hash:016x}")
}

/// Something to do about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Create(String),
    Drop(String),
    Advance(String, Lsn),
}

/// What is to be done, of a server that is on that timeline and has replayed as far as `end`.
fn steps(owners: &[Owner], slots: &[Slot], timeline: u32, end: Lsn) -> Vec<Step> {
    let mut steps = Vec::new();
    let named: Vec<(String, &Owner)> =
        owners.iter().map(|owner| (slot_name(&owner.instance), owner)).collect();
    for slot in slots.iter().filter(|slot| !slot.active) {
        match named.iter().find(|(name, _)| *name == slot.name) {
            None => steps.push(Step::Drop(slot.name.clone())),
            Some((_, owner)) if slot.lost && owner.heard => {
                steps.extend([Step::Drop(slot.name.clone()), Step::Create(slot.name.clone())]);
            }
            Some((_, owner)) => {
                let flushed = owner.flushed.filter(|(on, _)| *on == timeline && !slot.lost);
                let to = flushed.map(|(_, flushed)| flushed.min(end));
                let far = |to: &Lsn| slot.from.is_some_and(|from| to.0 >= from.0.saturating_add(STEP));
                steps.extend(to.filter(far).map(|to| Step::Advance(slot.name.clone(), to)));
            }
        }
    }
    let missing = |name: &String| slots.iter().all(|slot| slot.name != *name);
    steps.extend(named.into_iter().map(|(name, _)| name).filter(missing).map(Step::Create));
    steps
}

const QUESTION: &str = "select s.slot_name::text, s.active, s.wal_status = 'lost' as lost, s.restart_lsn
from pg_replication_slots s where s.slot_type = 'physical' and starts_with(s.slot_name::text, 'regent_')";

const LIMIT: &str = "select pg_size_bytes(current_setting('max_slot_wal_keep_size'))";

impl Server {
    /// Makes, moves and drops this server's slots so that WAL is kept for these instances and nobody else. What one of
    /// them cannot have keeps the others from nothing.
    pub async fn keep_slots(&self, owners: &[Owner]) -> Result<Slots, PostgresError> {
        self.expect_running()?;
        let seen = self.observe().await;
        let (Some(timeline), Some(end), true) = (seen.timeline, seen.replayed, seen.accepting) else {
            return Err(session::sql(
                &self.settings,
                seen.trouble.unwrap_or_else(|| "it says nothing".into()),
            ));
        };
        let before = self.slots().await?;
        let mut troubles = Vec::new();
        for step in steps(owners, &before, timeline, end) {
            if let Err(error) = self.take_step(&step).await? {
                troubles.push(session::failed(&self.settings, &error).to_string());
            }
        }
        let limit: i64 = self
            .query(|session| async move { Ok(session.client.query_one(LIMIT, &[]).await?.get(0)) })
            .await?;
        Ok(Slots { slots: self.slots().await?, end, limit: u64::try_from(limit).ok(), troubles })
    }

    /// Drops all slots of the agent's own: the server is given back.
    pub async fn drop_slots(&self) -> Result<usize, PostgresError> {
        let own = self.slots().await?;
        for slot in &own {
            if let Err(error) = self.take_step(&Step::Drop(slot.name.clone())).await? {
                return Err(session::failed(&self.settings, &error));
            }
        }
        Ok(own.len())
    }

    async fn slots(&self) -> Result<Vec<Slot>, PostgresError> {
        let rows = self.query(|session| async move { session.client.query(QUESTION, &[]).await }).await?;
        let slot = |row: &tokio_postgres::Row| Slot {
            name: row.get(0),
            active: row.get(1),
            lost: row.get::<_, Option<bool>>(2).unwrap_or(false),
            from: row.get::<_, Option<PgLsn>>(3).map(|lsn| Lsn(lsn.into())),
        };
        Ok(rows.iter().map(slot).collect())
    }

    /// An error of the statement is no trouble of the connection, which is the observations' as well.
    async fn take_step(&self, step: &Step) -> Result<Result<u64, tokio_postgres::Error>, PostgresError> {
        let step = step.clone();
        self.query(|session| async move {
            let client = &session.client;
            Ok(match &step {
                Step::Create(name) => {
                    client
                        .execute("select pg_create_physical_replication_slot($1::text::name, true)", &[name])
                        .await
                }
                Step::Drop(name) => {
                    client.execute("select pg_drop_replication_slot($1::text::name)", &[name]).await
                }
                Step::Advance(name, to) => {
                    let to = PgLsn::from(to.0);
                    let statement = "select pg_replication_slot_advance($1::text::name, $2::pg_lsn)";
                    client.execute(statement, &[name, &to]).await
                }
            })
        })
        .await
    }
}

impl Slots {
    /// What an operator should know, in words; empty when there is nothing: a slot that has lost its WAL, or holds more than
    /// half of what slots may.
    pub fn warning(&self, owners: &[Owner]) -> String {
        let of = |slot: &Slot| {
            let owner = owners.iter().find(|owner| slot_name(&owner.instance) == slot.name)?;
            let held = self.end.0.saturating_sub(slot.from.map_or(self.end.0, |from| from.0));
            let (name, mib) = (&owner.instance, held >> 20);
            match self.limit {
                _ if slot.lost => Some(format!(
                    "WAL that {name} lacks is no longer kept (max_slot_wal_keep_size): it will be cloned when it comes back"
                )),
                Some(limit) if held > limit / 2 => Some(format!(
                    "{mib} MiB of WAL are kept for {name}, of at most {} (max_slot_wal_keep_size)",
                    limit >> 20
                )),
                None if held > 8 * STEP * 64 => Some(format!(
                    "{mib} MiB of WAL are kept for {name}, without a limit (max_slot_wal_keep_size = -1)"
                )),
                _ => None,
            }
        };
        let kept = self.slots.iter().filter_map(of);
        kept.chain(self.troubles.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_instance_has_a_slot_of_its_own_with_a_legal_name() {
        let long = "a".repeat(60);
        let names = [
            "a",
            "a-b",
            "a_b",
            "a--b",
            "a-_b",
            "a_-b",
            "a__b",
            "a_mb",
            "a_",
            "a-",
            "am",
            "0",
            &long,
            &format!("{long}-b"),
            &format!("{long}_b"),
            &format!("{long}bb"),
        ]
        .map(slot_name);
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        for name in &names {
            assert!(name.starts_with(PREFIX) && name.len() <= MOST && name.chars().all(legal), "{name}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert_eq!(slot_name("orders-us-east"), "regent_orders_us_east");
    }

    fn owner(instance: &str, flushed: Option<(u32, u64)>) -> Owner {
        let flushed = flushed.map(|(timeline, lsn)| (timeline, Lsn(lsn)));
        Owner { instance: instance.into(), flushed, heard: true }
    }

    fn slot(instance: &str, from: u64) -> Slot {
        Slot { name: slot_name(instance), active: false, lost: false, from: Some(Lsn(from)) }
    }

    #[test]
    fn a_slot_goes_as_far_as_its_owner_on_this_timeline_and_as_this_server() {
        let end = Lsn(10 * STEP);
        let cases = [
            (Some((2, 3 * STEP)), Some(3 * STEP)),
            (Some((2, 2 * STEP)), Some(2 * STEP)),
            (Some((2, 2 * STEP - 1)), None),         // not worth a statement
            (Some((2, 20 * STEP)), Some(10 * STEP)), // further than this server
            (Some((1, 9 * STEP)), None),             // of another timeline: it may have to come back
            (Some((3, 9 * STEP)), None),
            (None, None),
        ];
        for (flushed, expected) in cases {
            let expected: Vec<Step> =
                expected.into_iter().map(|to| Step::Advance(slot_name("b"), Lsn(to))).collect();
            assert_eq!(steps(&[owner("b", flushed)], &[slot("b", STEP)], 2, end), expected, "{flushed:?}");
        }
        let active = Slot { active: true, ..slot("b", STEP) };
        assert_eq!(steps(&[owner("b", Some((2, 9 * STEP)))], &[active], 2, end), []);
    }

    #[test]
    fn slots_come_and_go_with_their_instances() {
        let there = [slot("b", 0), slot("gone", 0)];
        let expected = [Step::Drop(slot_name("gone")), Step::Create(slot_name("c"))];
        assert_eq!(steps(&[owner("b", None), owner("c", None)], &there, 1, Lsn(0)), expected);
        // What lost its WAL is made anew, but not for one that stays away.
        let lost = Slot { lost: true, from: None, ..slot("b", 0) };
        let anew = [Step::Drop(lost.name.clone()), Step::Create(lost.name.clone())];
        assert_eq!(steps(&[owner("b", Some((1, 9)))], std::slice::from_ref(&lost), 1, Lsn(0)), anew);
        let away = Owner { heard: false, ..owner("b", Some((1, 9))) };
        assert_eq!(steps(&[away], &[lost], 1, Lsn(0)), []);
    }

    #[test]
    fn what_fills_up_and_what_is_lost_is_said() {
        let slots = |from: u64, lost: bool| Slots {
            slots: vec![Slot { lost, ..slot("b", from) }],
            end: Lsn(10 * STEP),
            limit: Some(8 * STEP),
            troubles: Vec::new(),
        };
        let said = |slots: Slots| slots.warning(&[owner("b", None)]);
        assert_eq!(said(slots(6 * STEP, false)), "");
        assert!(said(slots(5 * STEP, false)).contains("80 MiB of WAL are kept for b, of at most 128"));
        assert!(said(slots(0, true)).contains("no longer kept"));
        let full =
            Slots { troubles: vec!["all replication slots are in use".into()], ..slots(9 * STEP, false) };
        assert_eq!(said(full), "all replication slots are in use");
    }
}
