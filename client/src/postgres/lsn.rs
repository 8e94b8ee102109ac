//! A place in the write-ahead log, as Postgres prints it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A byte position in the write-ahead log; printed `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

/// What was given is not of the form `16/B374D848`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a log position like 16/B374D848, got {0:?}")]
pub struct NotAnLsn(pub String);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = NotAnLsn;

    fn from_str(text: &str) -> Result<Self, NotAnLsn> {
        let parsed = text.split_once('/').and_then(|(high, low)| {
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Lsn(u64::from(high) << 32 | u64::from(low)))
        });
        parsed.ok_or_else(|| NotAnLsn(text.to_owned()))
    }
}

/// The timeline in the name of a log segment (`000000020000000000000003`), if it is one.
pub(super) fn timeline_of_segment(name: &str) -> Option<u32> {
    let is_segment = name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_segment.then(|| u32::from_str_radix(&name[..8], 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_and_read_back() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1/", "x/1", "1/100000000"] {
            assert_eq!(text.parse::<Lsn>(), Err(NotAnLsn(text.to_owned())));
        }
    }

    #[test]
    fn only_segments_have_a_timeline() {
        assert_eq!(timeline_of_segment("0000000A0000000000000003"), Some(10));
        assert_eq!(timeline_of_segment("0000000A.history"), None);
        assert_eq!(timeline_of_segment("0000000A0000000000000003.partial"), None);
    }
}
