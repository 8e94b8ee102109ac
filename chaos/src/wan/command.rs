//! What a person or a script says to a running network, one line each.

use super::terms::{self, Change};
use super::topology::{NoRegion, Topology, Way};

/// What the words are, shown to whoever asks.
pub(super) const HELP: &str = "\
link A B delay 40ms loss 1%   the way from A to B; also: jitter 5ms, reorder on, duplicate 1%, rate 10mbit, queue 256KiB
cut A B                       nothing passes from A to B, and what is under way is lost
cut A                         nor to and from A
heal A B, heal A              the opposite
                              `both A B` stands for both ways, as in: cut both A B
show                          the links, what has passed, and how late the emulator was
quit                          ends it, as do the end of the input, Ctrl-C and SIGTERM";

/// Some ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// From one to another.
    OneWay(String, String),
    /// And back.
    Both(String, String),
    /// To and from one.
    All(String),
    /// Each from one to another.
    Each(Vec<(String, String)>),
}

impl Which {
    /// The ways that are meant.
    pub fn ways(&self, topology: &Topology) -> Result<Vec<Way>, NoRegion> {
        let way = |from, to| Ok(Way { from: topology.place(from)?, to: topology.place(to)? });
        Ok(match self {
            Which::OneWay(from, to) => vec![way(from, to)?],
            Which::Both(a, b) => vec![way(a, b)?, way(b, a)?],
            Which::Each(ways) => ways.iter().map(|(from, to)| way(from, to)).collect::<Result<_, _>>()?,
            Which::All(name) => {
                let place = topology.place(name)?;
                topology
                    .links()
                    .map(|(way, _)| way)
                    .filter(|way| way.from == place || way.to == place)
                    .collect()
            }
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Link(Which, Change),
    Cut(Which),
    Heal(Which),
    Show,
    Help,
    Quit,
    /// An empty line.
    Nothing,
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// An unknown first word.
    #[error("expected link, cut, heal, show, help or quit, got `{0}`")]
    Word(String),
    /// No regions, or too many.
    #[error("expected {expected}, got `{got}`")]
    Ends {
        /// The shape of the line.
        expected: &'static str,
        /// As written.
        got: String,
    },
    /// A link's terms.
    #[error(transparent)]
    Terms(#[from] terms::Wrong),
}

impl Command {
    pub fn parse(line: &str) -> Result<Command, Wrong> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else { return Ok(Command::Nothing) };
        let ends = |expected| {
            let got = line.trim().to_owned();
            which(rest).ok_or(Wrong::Ends { expected, got })
        };
        match *first {
            "link" => link(rest, line),
            "cut" => Ok(Command::Cut(ends("cut A, cut A B or cut both A B")?)),
            "heal" => Ok(Command::Heal(ends("heal A, heal A B or heal both A B")?)),
            "show" => Ok(Command::Show),
            "help" => Ok(Command::Help),
            "quit" => Ok(Command::Quit),
            other => Err(Wrong::Word(other.to_owned())),
        }
    }
}

fn which(words: &[&str]) -> Option<Which> {
    match words {
        ["both", a, b] if a != b => Some(Which::Both((*a).to_owned(), (*b).to_owned())),
        ["both", ..] => None,
        [from, to] if from != to => Some(Which::OneWay((*from).to_owned(), (*to).to_owned())),
        [name] => Some(Which::All((*name).to_owned())),
        _ => None,
    }
}

fn link(words: &[&str], line: &str) -> Result<Command, Wrong> {
    let ends = if words.first() == Some(&"both") { 3 } else { 2 };
    let parts = words.split_at_checked(ends).filter(|(_, terms)| !terms.is_empty());
    let found = parts.and_then(|(ends, terms)| Some((which(ends)?, terms)));
    let expected = "link A B or link both A B, and then terms as in delay 40ms";
    let (which, terms) = found.ok_or_else(|| Wrong::Ends { expected, got: line.trim().to_owned() })?;
    Ok(Command::Link(which, Change::parse(terms)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_means_ways_and_terms() {
        let one = |a: &str, b: &str| Which::OneWay(a.into(), b.into());
        let terms = Change::parse(&["delay", "40ms", "loss", "1%"]).unwrap();
        let cases = [
            ("link a b delay 40ms loss 1%", Command::Link(one("a", "b"), terms)),
            ("link both a b delay 40ms loss 1%", Command::Link(Which::Both("a".into(), "b".into()), terms)),
            ("  cut  a b ", Command::Cut(one("a", "b"))),
            ("cut a", Command::Cut(Which::All("a".into()))),
            ("heal both a b", Command::Heal(Which::Both("a".into(), "b".into()))),
            ("show", Command::Show),
            ("", Command::Nothing),
        ];
        for (line, meant) in cases {
            assert_eq!(Command::parse(line), Ok(meant), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_was_expected() {
        let cases = [
            ("cutt a", "expected link, cut, heal, show, help or quit, got `cutt`"),
            ("cut", "expected cut A, cut A B or cut both A B, got `cut`"),
            ("cut a a", "expected cut A, cut A B or cut both A B, got `cut a a`"),
            ("cut a b c", "expected cut A, cut A B or cut both A B, got `cut a b c`"),
            ("heal both a", "expected heal A, heal A B or heal both A B, got `heal both a`"),
            (
                "link a b",
                "expected link A B or link both A B, and then terms as in delay 40ms, got `link a b`",
            ),
            ("link a", "expected link A B or link both A B, and then terms as in delay 40ms, got `link a`"),
            ("link a b delay", "expected a time of at most 60s, as in 40ms, got `nothing`"),
        ];
        for (line, says) in cases {
            assert_eq!(Command::parse(line).unwrap_err().to_string(), says, "{line}");
        }
    }

    #[test]
    fn all_of_a_region_is_to_and_from_it() {
        let topology = Topology::parse(r#"regions = ["a", "b", "c"]"#).unwrap();
        let ways = |which: Which| which.ways(&topology).map(|ways| ways.len());
        assert_eq!(ways(Which::All("b".into())), Ok(4));
        assert_eq!(ways(Which::Both("a".into(), "b".into())), Ok(2));
        assert_eq!(ways(Which::Each(vec![("a".into(), "b".into())])), Ok(1));
        let said = ways(Which::All("x".into())).unwrap_err().to_string();
        assert_eq!(said, "there is no region `x`: expected one of a, b, c");
    }
}
