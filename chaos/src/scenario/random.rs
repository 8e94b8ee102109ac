//! Scenarios that chance draws: faults of all classes that overlap, from one seed. The same seed draws the same scenario.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use regent_core::replication::Mode;

use super::fault::{Fault, Kind, Needs, Row, TABLE, Wants};
use super::place::{Place, Role};
use super::{Begins, Class, Client, Ends, Planned, Promotions, Scenario, Setting};
use crate::wan::terms::Change;

/// How long faults begin for.
const UNTIL: Duration = Duration::from_secs(25);
const LONGEST: Duration = Duration::from_secs(12);
const HEALS_WITHIN: Duration = Duration::from_secs(90);
/// How far from its planned time a fault may happen.
const SHIFT: Duration = Duration::from_millis(400);

/// Small times by chance: so that each trial of a scenario strikes at another moment.
pub struct Shift(StdRng);

impl Shift {
    /// From a seed.
    pub fn new(seed: u64) -> Shift {
        Shift(StdRng::seed_from_u64(seed))
    }

    /// One of them.
    pub fn draw(&mut self) -> Duration {
        self.0.random_range(Duration::ZERO..SHIFT)
    }
}

/// Draws one.
pub fn draw(seed: u64) -> Scenario {
    let mut chance = StdRng::seed_from_u64(seed);
    let rpo = Duration::from_millis(100);
    let modes =
        [Mode::Async, Mode::Bounded { rpo, count: 1 }, Mode::Sync { count: 1 }, Mode::Quorum { count: 1 }];
    let mode = modes[chance.random_range(0..modes.len())];
    let rows: Vec<&Row> = TABLE.iter().filter(|row| drawn(row)).collect();
    let number = chance.random_range(3..=6);
    let mut schedule: Vec<Planned> = (0..number).map(|_| planned(&mut chance, &rows)).collect();
    schedule.sort_by_key(|planned| planned.begins);
    let what = schedule.iter().map(|one| one.fault.row().name).collect::<Vec<_>>().join(", ");
    Scenario {
        name: "random".to_owned(),
        class: Class::Process,
        what: format!("By chance: {what}"),
        ci: false,
        setting: Setting { mode, ..Setting::default() },
        clients: Client::ALL.into(),
        lasts: UNTIL,
        exact: false,
        by_chance: true,
        schedule,
        // Each fault may move it once, and once more when the next finds it there.
        promotions: Promotions { least: 0, most: 2 * number },
        heals_within: HEALS_WITHIN,
        gap_within: None,
    }
}

/// Faults that can be laid over any others. Who brings thousands needs the machine for itself, votes of old epochs need an
/// epoch that is over, what is done to the files of a process needs one that nothing else has ended, and whose WAL is lost has
/// what it acknowledged nowhere else.
fn drawn(row: &Row) -> bool {
    row.needs == Needs::Nothing
        && !matches!(row.class, Class::Disk | Class::Resources)
        && !matches!(row.kind, Kind::Watchers | Kind::Replay | Kind::Electorate | Kind::LoseWal)
}

fn planned(chance: &mut StdRng, rows: &[&Row]) -> Planned {
    let row = rows[chance.random_range(0..rows.len())];
    let roles = [Role::Home, Role::Home, Role::Heir, Role::Third, Role::Leader];
    let place = Place::Regions(vec![roles[chance.random_range(0..roles.len())]]);
    let fault = Fault {
        by: Duration::from_millis(chance.random_range(200..=3000)),
        count: chance.random_range(5..=50),
        link: if row.wants == Wants::Link { link(chance) } else { Change::default() },
        ..Fault::plain(row.kind)
    };
    let lasts = Duration::from_millis(chance.random_range(100..LONGEST.as_millis() as u64));
    let ends = if row.lasts { Ends::After(lasts) } else { Ends::AtOnce };
    let begins = Begins::At(chance.random_range(Duration::from_secs(1)..UNTIL));
    Planned { begins, fault, place, ends }
}

fn link(chance: &mut StdRng) -> Change {
    let all = [
        Change { loss: "5%".parse().ok(), ..Change::default() },
        Change { loss: "30%".parse().ok(), ..Change::default() },
        Change { jitter: "50ms".parse().ok(), ..Change::default() },
        Change { jitter: "50ms".parse().ok(), reorder: "on".parse().ok(), ..Change::default() },
        Change { duplicate: "10%".parse().ok(), ..Change::default() },
        Change { rate: "1mbit".parse().ok(), ..Change::default() },
        Change { delay: "300ms".parse().ok(), ..Change::default() },
    ];
    all[chance.random_range(0..all.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_another() {
        let drawn = |seed| format!("{:?}", draw(seed));
        assert_eq!(drawn(5), drawn(5));
        assert_ne!(drawn(5), drawn(6));
    }

    /// A new fault is one of them only when somebody has thought of what it does beside the others.
    #[test]
    fn these_are_drawn_and_no_others() {
        let names: Vec<&str> = TABLE.iter().filter(|row| drawn(row)).map(|row| row.name).collect();
        let expected = "kill-region kill-postgres kill-postmaster kill-backend kill-agent kill-node freeze-region \
            freeze-postmaster freeze-backend freeze-backends freeze-agent freeze-node restart cut link flap reset \
            freeze-postgres crash-loop pause-replay freeze-startup transfer-leader switchover silent-watchers slow-senders garbage malformed oversized";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn what_is_drawn_overlaps_and_ends() {
        let all: Vec<Scenario> = (0..50).map(draw).collect();
        let lasting = |planned: &&Planned| matches!(planned.ends, Ends::After(_));
        assert!(all.iter().any(|one| one.schedule.iter().filter(lasting).count() > 2));
        assert!(all.iter().all(|one| one.planned_for() <= UNTIL + LONGEST));
    }
}
