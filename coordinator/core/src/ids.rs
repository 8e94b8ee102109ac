//! Names and numbers of the domain, each validated when it is built. No text parsing beyond that may enter here.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A name was refused; says which, and what a name may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} name {got:?} is not valid: expected 1 to 63 characters of a-z, 0-9, '-' or '_', beginning with a letter or digit"
)]
pub struct BadName {
    /// What the name was for.
    pub kind: &'static str,
    /// The text that was refused.
    pub got: String,
}

fn valid(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && plain(bytes[0])
        && bytes.iter().all(|&c| plain(c) || c == b'-' || c == b'_')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the text and makes a name of it.
            pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
                let got = name.into();
                if valid(&got) { Ok(Self(got)) } else { Err(BadName { kind: $kind, got }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// One replicated Postgres: one primary and its standbys.
    GroupName,
    "group"
);
name!(
    /// One Postgres server of a group, with its agent.
    InstanceName,
    "instance"
);
name!(
    /// A failure domain.
    RegionName,
    "region"
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A node: one coordinator process, and the witness in it.
    NodeId
);
number!(
    /// The fencing token of a group; grows with every change of it, never reused. 0: no primary yet.
    Epoch
);
number!(
    /// Grows with every change of a group's facts in the log, across epochs.
    Revision
);

impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl Revision {
    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

/// Orders the reports of one instance, across restarts of its agent: an answer counts only for the incarnation
/// that asked, else an old answer would be matched with a new send time (finding F5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Seq {
    /// Grows durably with every start of the agent.
    pub incarnation: u64,
    /// Grows with every report of that incarnation.
    pub number: u64,
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.number)
    }
}

/// A byte position in the write-ahead log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    /// As Postgres writes it: `16/B374D848`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff))
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Lsn {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let part = |t| u64::from_str_radix(t, 16).ok().filter(|&n| n <= u64::from(u32::MAX));
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(part(high)? << 32 | part(low)?)))
            .ok_or_else(|| BadName { kind: "LSN", got: text.to_owned() })
    }
}

/// How far an instance is: its timeline and what it received (or wrote), flushed and replayed of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Postgres timeline; grows with every promotion.
    pub timeline: u32,
    /// Last byte received (standby) or written (primary).
    pub received: Lsn,
    /// Last byte known to be on disk.
    pub flushed: Lsn,
    /// Last byte replayed; a primary's own is what it wrote.
    pub replayed: Lsn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_built() {
        for good in ["a", "orders-us_east-1", "0x", &"a".repeat(63)] {
            assert_eq!(GroupName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
            let error = GroupName::new(bad).unwrap_err();
            assert!(error.to_string().contains("group name"), "{error}");
        }
    }

    #[test]
    fn an_lsn_is_written_as_postgres_writes_it() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn.to_string(), "16/B374D848");
        for bad in ["", "16", "16/", "x/1", "1/100000000"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
