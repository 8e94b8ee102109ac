//! Whom a commit waits for: the value of `synchronous_standby_names`, and what it says of places.

use regent_core::agent::Waits;
use regent_core::ids::InstanceName;
use std::fmt;

/// The value of `synchronous_standby_names`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Nobody.
    #[default]
    Off,
    /// The first `count` that are connected, in this order.
    First {
        /// How many.
        count: usize,
        /// The instances.
        names: Vec<String>,
    },
    /// Any `count` of these.
    Any {
        /// How many.
        count: usize,
        /// The instances.
        names: Vec<String>,
    },
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, count, names) = match self {
            Synchronous::Off => return Ok(()),
            Synchronous::First { count, names } => ("FIRST", count, names),
            Synchronous::Any { count, names } => ("ANY", count, names),
        };
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        write!(f, "{word} {count} ({})", quoted.join(", "))
    }
}

/// Stands in a place that nobody has; no instance can be called so.
const NOBODY: &str = "regent: nobody";

/// The value that makes commits wait for the instances at these places. A place that nobody has keeps the others in theirs.
pub fn at_places(waits: &Waits) -> Synchronous {
    if waits.places.is_empty() {
        return Synchronous::Off;
    }
    let name = |at: &Option<InstanceName>| at.as_ref().map_or(NOBODY, InstanceName::as_str).to_owned();
    let names = waits.places.iter().map(name).collect();
    match waits.any {
        Some(count) => Synchronous::Any { count, names },
        None => Synchronous::First { count: waits.places.iter().flatten().count().max(1), names },
    }
}

/// The places that a value stands for; none if it is not one of ours.
pub fn places(value: &str) -> Option<Waits> {
    let place = |name: &str| match name {
        NOBODY => Some(None),
        name => InstanceName::new(name).ok().map(Some),
    };
    let any = value.starts_with("ANY ");
    let list = value.strip_prefix(if any { "ANY " } else { "FIRST " });
    let list = list.and_then(|rest| rest.strip_suffix("\")")).and_then(|rest| rest.split_once(" (\""));
    let waits = match list {
        Some((count, list)) => Waits {
            places: list.split("\", \"").map(place).collect::<Option<_>>()?,
            any: any.then(|| count.parse().ok()).flatten(),
        },
        None => Waits::default(),
    };
    (at_places(&waits).to_string() == value).then_some(waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let name = |text: &str| InstanceName::new(text).ok();
        let list = vec![name("a"), None, name("c-1")];
        let any = Waits { places: list.clone(), any: Some(1) };
        assert_eq!(at_places(&any).to_string(), "ANY 1 (\"a\", \"regent: nobody\", \"c-1\")");
        let some = Waits { places: list, any: None };
        let value = at_places(&some).to_string();
        assert_eq!(value, "FIRST 2 (\"a\", \"regent: nobody\", \"c-1\")");
        for waits in [Waits::default(), Waits { places: vec![None], any: None }, some, any] {
            assert_eq!(places(&at_places(&waits).to_string()), Some(waits));
        }
        for strange in
            ["*", "a, b", "ANY x (\"a\")", "ANY 01 (\"a\")", "FIRST 1 (\"a\", \"b\")", "FIRST 1 (\"A b\")"]
        {
            assert_eq!(places(strange), None, "{strange}");
        }
    }

    #[test]
    fn names_are_quoted() {
        let names = vec!["eu-1".to_owned(), "us\"2".to_owned()];
        assert_eq!(Synchronous::Off.to_string(), "");
        assert_eq!(
            Synchronous::First { count: 1, names: names.clone() }.to_string(),
            "FIRST 1 (\"eu-1\", \"us\"\"2\")"
        );
        assert_eq!(Synchronous::Any { count: 2, names }.to_string(), "ANY 2 (\"eu-1\", \"us\"\"2\")");
    }
}
