//! With the faults over, all is well again within the bound: one gate is open in each group, the log says whose, writes
//! and reads are served; and a while later every standby streams from it.

use super::{Found, Theorem};

/// What a group still lacks; nothing when it is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// No gate is open, or more than one.
    Primary,
    /// The log does not say whose gate is open.
    Record,
    /// No write was acknowledged since.
    Writes,
    /// No read was answered since.
    Reads,
    /// A standby does not stream.
    Streaming,
}

impl Lack {
    fn sentence(self) -> &'static str {
        match self {
            Lack::Primary => "has not exactly one open gate",
            Lack::Record => "has a primary that the log does not know of",
            Lack::Writes => "acknowledges no write",
            Lack::Reads => "answers no linearizable read",
            Lack::Streaming => "has a standby that does not stream",
        }
    }
}

/// When the bound is over.
pub fn settle(group: &str, lack: Option<Lack>, seconds: u64, found: &mut Found) {
    found.demand(Theorem::Heals, lack.is_none(), |_| {
        let what = lack.map_or("", Lack::sentence);
        format!("group {group} {what}, {seconds} s after the faults were over")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_lacking_is_found() {
        let mut found = Found::default();
        settle("g", None, 10, &mut found);
        assert_eq!(found.violations, []);
        for lack in [Lack::Primary, Lack::Record, Lack::Writes, Lack::Reads, Lack::Streaming] {
            settle("g", Some(lack), 10, &mut found);
        }
        assert_eq!(found.violations.len(), 5);
    }
}
