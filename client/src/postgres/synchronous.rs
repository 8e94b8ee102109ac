//! Whom a commit waits for.

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

#[cfg(test)]
mod tests {
    use super::*;

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
