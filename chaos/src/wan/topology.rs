//! Which regions there are and how far apart: a file in TOML.
//!
//! ```toml
//! regions = ["us-east", "us-west", "eu-west"]   # a host can be one as well
//!
//! [default]                                     # what every link is like, one way
//! delay = "40ms"
//!
//! [[link]]                                      # both ways
//! between = ["us-east", "us-west"]
//! delay = "30ms"
//! jitter = "2ms"
//! loss = "0.1%"
//!
//! [[link]]                                      # one way
//! from = "eu-west"
//! to = "us-west"
//! rate = "100mbit"
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::terms::{Change, Rate, Share, Size, Span, Terms, Toggle};

/// The third part of an address tells the region.
const MOST_REGIONS: usize = 64;
const LONGEST_NAME: usize = 24;

/// Words of commands.
const RESERVED: [&str; 1] = ["both"];

/// One way of a link, by the places of its regions in [`Topology::regions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Sender's region.
    pub from: usize,
    /// Receiver's region.
    pub to: usize,
}

/// Regions, and the terms of every ordered pair of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    regions: Vec<String>,
    links: BTreeMap<Way, Terms>,
}

/// Why a topology is none.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The file cannot be read.
    #[error("cannot read the topology {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has other fields.
    #[error("the topology: {0}")]
    Text(#[from] toml::de::Error),
    /// Too few or too many.
    #[error("the topology has {got} regions: expected 2 to {MOST_REGIONS}")]
    Number {
        /// How many.
        got: usize,
    },
    /// It becomes part of a namespace's name.
    #[error(
        "region `{got}`: expected 1 to {LONGEST_NAME} of a-z, 0-9 and -, beginning with a letter, and not the word both"
    )]
    Name {
        /// As written.
        got: String,
    },
    /// A region's name stands there twice.
    #[error("region `{name}` is there twice: expected each once")]
    Twice {
        /// Which.
        name: String,
    },
    /// Nobody has this name.
    #[error(transparent)]
    NoRegion(#[from] NoRegion),
    /// Neither one way nor both.
    #[error("link {number}: expected `between = [A, B]` for both ways, or `from = A` and `to = B` for one")]
    Ends {
        /// From 1, as in the file.
        number: usize,
    },
    /// A region has no link to itself.
    #[error("link {number} is from `{name}` to itself: expected two regions")]
    Itself {
        /// From 1, as in the file.
        number: usize,
        /// Which.
        name: String,
    },
    /// Two descriptions of one way.
    #[error("link {number} describes the way from `{from}` to `{to}` again: expected each way once")]
    Again {
        /// From 1, as in the file.
        number: usize,
        /// Sender's region.
        from: String,
        /// Receiver's region.
        to: String,
    },
}

/// There is no such region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no region `{got}`: expected one of {}", known.join(", "))]
pub struct NoRegion {
    got: String,
    known: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    regions: Vec<String>,
    #[serde(default)]
    default: Change,
    #[serde(default)]
    link: Vec<Entry>,
}

/// The fields of [`Change`] are repeated: serde cannot flatten them and refuse unknown ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    from: Option<String>,
    to: Option<String>,
    between: Option<[String; 2]>,
    delay: Option<Span>,
    jitter: Option<Span>,
    reorder: Option<Toggle>,
    loss: Option<Share>,
    duplicate: Option<Share>,
    rate: Option<Rate>,
    queue: Option<Size>,
}

impl Topology {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Topology, Wrong> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Wrong::Unreadable { path: path.to_owned(), source })?;
        Topology::parse(&text)
    }

    /// From a file's text.
    pub fn parse(text: &str) -> Result<Topology, Wrong> {
        let file: File = toml::from_str(text)?;
        check_names(&file.regions)?;
        let terms = file.default.of(Terms::default());
        let mut topology = Topology { links: every_way(file.regions.len(), terms), regions: file.regions };
        let mut described = BTreeMap::new();
        for (entry, number) in file.link.iter().zip(1..) {
            for way in topology.ways(entry, number)? {
                if described.insert(way, entry.change().of(terms)).is_some() {
                    let [from, to] = [way.from, way.to].map(|place| topology.regions[place].clone());
                    return Err(Wrong::Again { number, from, to });
                }
            }
        }
        topology.links.extend(described);
        Ok(topology)
    }

    /// Of these regions, each way as `terms` says.
    pub fn of(regions: Vec<String>, terms: impl Fn(Way) -> Terms) -> Result<Topology, Wrong> {
        check_names(&regions)?;
        let mut links = every_way(regions.len(), Terms::default());
        links.iter_mut().for_each(|(way, of_way)| *of_way = terms(*way));
        Ok(Topology { regions, links })
    }

    /// Names, in the order of the file.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Every ordered pair with its terms.
    pub fn links(&self) -> impl Iterator<Item = (Way, Terms)> {
        self.links.iter().map(|(way, terms)| (*way, *terms))
    }

    /// Its place among the regions.
    pub fn place(&self, name: &str) -> Result<usize, NoRegion> {
        let place = self.regions.iter().position(|region| region == name);
        place.ok_or_else(|| NoRegion { got: name.to_owned(), known: self.regions.clone() })
    }

    fn ways(&self, entry: &Entry, number: usize) -> Result<Vec<Way>, Wrong> {
        let (from, to, both) = match (&entry.from, &entry.to, &entry.between) {
            (Some(from), Some(to), None) => (from, to, false),
            (None, None, Some([from, to])) => (from, to, true),
            _ => return Err(Wrong::Ends { number }),
        };
        let way = Way { from: self.place(from)?, to: self.place(to)? };
        if way.from == way.to {
            return Err(Wrong::Itself { number, name: from.clone() });
        }
        Ok(if both { vec![way, way.back()] } else { vec![way] })
    }
}

impl Way {
    /// The other way of the same link.
    pub fn back(self) -> Way {
        Way { from: self.to, to: self.from }
    }
}

impl Entry {
    fn change(&self) -> Change {
        let Entry { delay, jitter, reorder, loss, duplicate, rate, queue, .. } = *self;
        Change { delay, jitter, reorder, loss, duplicate, rate, queue }
    }
}

fn every_way(regions: usize, terms: Terms) -> BTreeMap<Way, Terms> {
    let pairs = (0..regions).flat_map(|from| (0..regions).map(move |to| Way { from, to }));
    pairs.filter(|way| way.from != way.to).map(|way| (way, terms)).collect()
}

fn check_names(names: &[String]) -> Result<(), Wrong> {
    if !(2..=MOST_REGIONS).contains(&names.len()) {
        return Err(Wrong::Number { got: names.len() });
    }
    for (place, name) in names.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || name.len() > LONGEST_NAME || !name.chars().all(fits) || RESERVED.contains(&&**name) {
            return Err(Wrong::Name { got: name.clone() });
        }
        if names[..place].contains(name) {
            return Err(Wrong::Twice { name: name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(topology: &Topology, from: usize, to: usize) -> String {
        let Terms { delay, loss, rate, .. } = topology.links[&Way { from, to }];
        format!("{delay} {loss} {rate}")
    }

    #[test]
    fn a_link_is_what_its_own_entry_says_and_else_the_default() {
        let topology = Topology::parse(
            r#"
            regions = ["a", "b", "c"]
            [default]
            delay = "40ms"
            [[link]]
            between = ["a", "b"]
            loss = "1%"
            [[link]]
            from = "c"
            to = "a"
            delay = "1ms"
            rate = "8mbit"
            "#,
        )
        .unwrap();
        assert_eq!(topology.links().count(), 6);
        assert_eq!(terms(&topology, 0, 1), "40ms 1% unlimited");
        assert_eq!(terms(&topology, 1, 0), "40ms 1% unlimited");
        assert_eq!(terms(&topology, 2, 0), "1ms 0% 8mbit");
        assert_eq!(terms(&topology, 0, 2), "40ms 0% unlimited");
    }

    #[test]
    fn what_is_no_topology_is_refused_with_what_was_expected() {
        let cases = [
            (r#"regions = ["a"]"#, "has 1 regions: expected 2 to 64"),
            (r#"regions = ["a", "B"]"#, "region `B`: expected 1 to 24 of a-z"),
            (r#"regions = ["a", "both"]"#, "region `both`: expected"),
            (r#"regions = ["a", "a"]"#, "region `a` is there twice"),
            ("regions = [\"a\", \"b\"]\n[[link]]\nfrom = \"a\"", "link 1: expected `between = [A, B]`"),
            ("regions = [\"a\", \"b\"]\n[[link]]\nfrom = \"a\"\nto = \"a\"", "link 1 is from `a` to itself"),
            (
                "regions = [\"a\", \"b\"]\n[[link]]\nbetween = [\"a\", \"x\"]",
                "there is no region `x`: expected one of a, b",
            ),
            (
                "regions = [\"a\", \"b\"]\n[[link]]\nbetween = [\"a\", \"b\"]\n[[link]]\nfrom = \"b\"\nto = \"a\"",
                "link 2 describes the way from `b` to `a` again",
            ),
            (
                "regions = [\"a\", \"b\"]\n[default]\ndealy = \"1ms\"",
                "unknown field `dealy`, expected one of",
            ),
            (
                "regions = [\"a\", \"b\"]\n[default]\ndelay = \"1\"",
                "expected a time of at most 60s, as in 40ms, got `1`",
            ),
            ("regions = 1", "invalid type"),
        ];
        for (text, says) in cases {
            let said = Topology::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}:\nexpected {says}, got {said}");
        }
    }
}
