//! Where a fault strikes: roles, which are regions only when it happens.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::wrong::Wrong;
use crate::cluster::topology::REGIONS;

/// Part of the cluster, by what it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The primary's region.
    Home,
    /// The region of who would take over.
    Heir,
    /// The first region that is neither.
    Third,
    /// The Raft leader's region.
    Leader,
    /// All regions but the Raft leader's.
    Followers,
    /// All regions but the primary's.
    Others,
    /// Every region.
    All,
    /// One by its place, whatever its role.
    Named(usize),
}

/// One or several roles, or the ways of a link between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These regions; of a link, all ways to and from them.
    Regions(Vec<Role>),
    /// These regions; of a link, the ways between them and all others. Among themselves they are as before.
    Together(Vec<Role>),
    /// The ways from the first to the second alone.
    OneWay(Role, Role),
    /// And back.
    Between(Role, Role),
}

/// Who has which role at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// How many regions there are.
    pub regions: usize,
    /// Region of the primary.
    pub home: usize,
    /// Region of who would take over.
    pub heir: usize,
    /// Region of the Raft leader.
    pub leader: usize,
}

impl Role {
    const ALL: [(&str, Role); 12] = [
        ("home", Role::Home),
        ("heir", Role::Heir),
        ("third", Role::Third),
        ("leader", Role::Leader),
        ("followers", Role::Followers),
        ("others", Role::Others),
        ("all", Role::All),
        (REGIONS[0], Role::Named(0)),
        (REGIONS[1], Role::Named(1)),
        (REGIONS[2], Role::Named(2)),
        (REGIONS[3], Role::Named(3)),
        (REGIONS[4], Role::Named(4)),
    ];
}

impl FromStr for Role {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Role, Wrong> {
        let found = Role::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, role)| *role).ok_or_else(|| {
            let names: Vec<&str> = Role::ALL.iter().map(|(name, _)| *name).collect();
            Wrong::new(format!("one of {}", names.join(", ")), text)
        })
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let found = Role::ALL.iter().find(|(_, role)| role == self);
        f.pad(found.map_or("", |(name, _)| name))
    }
}

impl FromStr for Place {
    type Err = Wrong;

    /// `home`, `home, heir`, `home to heir` (one way), `home and heir` (both ways), `home with heir` (both against all others).
    fn from_str(text: &str) -> Result<Place, Wrong> {
        if let Some((from, to)) = text.split_once(" to ") {
            return Ok(Place::OneWay(from.parse()?, to.parse()?));
        }
        if let Some((a, b)) = text.split_once(" and ") {
            return Ok(Place::Between(a.parse()?, b.parse()?));
        }
        if text.contains(" with ") {
            return Ok(Place::Together(text.split(" with ").map(str::parse).collect::<Result<_, _>>()?));
        }
        let roles: Result<Vec<Role>, Wrong> = text.split(',').map(|role| role.trim().parse()).collect();
        Ok(Place::Regions(roles?))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = match self {
            Place::Regions(roles) => listed(roles, ", "),
            Place::Together(roles) => listed(roles, " with "),
            Place::OneWay(from, to) => format!("{from} to {to}"),
            Place::Between(a, b) => format!("{a} and {b}"),
        };
        f.pad(&text)
    }
}

fn listed(roles: &[Role], between: &str) -> String {
    roles.iter().map(Role::to_string).collect::<Vec<_>>().join(between)
}

impl Roles {
    /// The regions of a role, in order.
    pub fn of(&self, role: Role) -> Vec<usize> {
        let but = |one: usize| (0..self.regions).filter(|region| *region != one).collect::<Vec<_>>();
        match role {
            Role::Home => vec![self.home],
            Role::Heir => vec![self.heir],
            Role::Third => but(self.home).into_iter().filter(|region| *region != self.heir).take(1).collect(),
            Role::Leader => vec![self.leader],
            Role::Followers => but(self.leader),
            Role::Others => but(self.home),
            Role::All => (0..self.regions).collect(),
            Role::Named(region) => Some(region).filter(|region| *region < self.regions).into_iter().collect(),
        }
    }

    /// The regions that a place means, each once; of a link its ends.
    pub fn regions(&self, place: &Place) -> Vec<usize> {
        let roles = match place {
            Place::Regions(roles) | Place::Together(roles) => roles.clone(),
            Place::OneWay(a, b) | Place::Between(a, b) => vec![*a, *b],
        };
        let mut regions: Vec<usize> = roles.into_iter().flat_map(|role| self.of(role)).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The ways between two different regions that a place means, from and to.
    pub fn ways(&self, place: &Place) -> Vec<(usize, usize)> {
        let across = |from: Role, to: Role| {
            let to = self.of(to);
            let pairs =
                self.of(from).into_iter().flat_map(|a| to.iter().map(move |b| (a, *b)).collect::<Vec<_>>());
            pairs.collect::<Vec<_>>()
        };
        let mut ways = match place {
            Place::OneWay(from, to) => across(*from, *to),
            Place::Between(a, b) => [across(*a, *b), across(*b, *a)].concat(),
            Place::Regions(_) => self.among(place, |a, b| a || b),
            Place::Together(_) => self.among(place, |a, b| a != b),
        };
        ways.retain(|(a, b)| a != b);
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    /// The ways whose ends are in the place, or are not, as is wanted.
    fn among(&self, place: &Place, wanted: fn(bool, bool) -> bool) -> Vec<(usize, usize)> {
        let regions = self.regions(place);
        let inside = |region: usize| regions.contains(&region);
        let all = (0..self.regions).flat_map(|a| (0..self.regions).map(move |b| (a, b)));
        all.filter(|(a, b)| wanted(inside(*a), inside(*b))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: Roles = Roles { regions: 3, home: 0, heir: 2, leader: 1 };

    #[test]
    fn roles_are_regions_when_it_happens() {
        for (place, regions) in [
            ("home", vec![0]),
            ("heir", vec![2]),
            ("third", vec![1]),
            ("leader", vec![1]),
            ("followers", vec![0, 2]),
            ("others", vec![1, 2]),
            ("heir, home, third", vec![0, 1, 2]),
            ("home and heir", vec![0, 2]),
        ] {
            let parsed: Place = place.parse().unwrap();
            assert_eq!(ROLES.regions(&parsed), regions, "{place}");
            assert_eq!(parsed.to_string(), place);
        }
    }

    #[test]
    fn ways_of_a_link_go_where_the_words_say() {
        let ways = |place: &str| ROLES.ways(&place.parse().unwrap());
        assert_eq!(ways("home to heir"), [(0, 2)]);
        assert_eq!(ways("home and heir"), [(0, 2), (2, 0)]);
        assert_eq!(ways("others to home"), [(1, 0), (2, 0)]);
        assert_eq!(ways("home"), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(ways("all").len(), 6);
        assert_eq!(ways("home with third"), [(0, 2), (1, 2), (2, 0), (2, 1)]);
    }

    #[test]
    fn a_role_that_is_none_is_refused_with_what_there_is() {
        let said = "nobody to heir".parse::<Place>().unwrap_err().to_string();
        let roles = "home, heir, third, leader, followers, others, all";
        let regions = "us-east, us-west, eu-west, eu-north, ap-south";
        assert_eq!(said, format!("expected one of {roles}, {regions}, got `nobody`"));
    }
}
