//! What can go wrong with a call, so that a program can tell the cases apart and a person knows what to do.

use std::fmt;
use std::time::Duration;

/// Why a call gave no answer, or not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint was given.
    #[error("no endpoint given: name at least one node as host:port")]
    NoEndpoint,
    /// An endpoint cannot be an address.
    #[error("endpoint {got:?} is not an address: expected host:port")]
    BadEndpoint {
        /// What was given.
        got: String,
    },
    /// There is no such group, instance or node; the message names those there are.
    #[error("{message}")]
    NotFound {
        /// The node's words.
        message: String,
    },
    /// The name is taken.
    #[error("{message}")]
    AlreadyExists {
        /// The node's words.
        message: String,
    },
    /// An argument makes no sense; the message says which and what is accepted.
    #[error("{message}")]
    Invalid {
        /// The node's words.
        message: String,
    },
    /// What is asked for cannot be done as things stand; the message says why. Nothing was changed.
    #[error("{message}")]
    Refused {
        /// The node's words.
        message: String,
    },
    /// The group is between two primaries, and was so until the deadline. Ask again.
    #[error("{message}")]
    InTransition {
        /// The node's words.
        message: String,
    },
    /// No node answered until the deadline. Nothing was changed.
    #[error("no node answered within {}: {}", in_words(*.after), listed(.tried))]
    Unavailable {
        /// How long it was tried.
        after: Duration,
        /// What became of the last attempt at each endpoint.
        tried: Vec<Tried>,
    },
    /// The request was sent and not answered before the deadline: it may take effect all the same.
    #[error("{endpoint} did not answer within {}: the request may take effect all the same, look at the status before asking again", in_words(*.after))]
    DeadlineExceeded {
        /// The node asked.
        endpoint: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The request was sent and the connection broke: it may have taken effect.
    #[error(
        "the connection to {endpoint} broke ({problem}): the request may have taken effect, look at the status before asking again"
    )]
    Interrupted {
        /// The node asked.
        endpoint: String,
        /// How it broke.
        problem: String,
    },
    /// A node answered something that this release does not understand.
    #[error(
        "{endpoint} answered what this release cannot read ({problem}): check that client and nodes are of releases that go together"
    )]
    Malformed {
        /// The node asked.
        endpoint: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// A node failed in another way.
    #[error("{endpoint} failed: {problem}; see its log")]
    Failed {
        /// The node asked.
        endpoint: String,
        /// Its words.
        problem: String,
    },
}

/// What became of the last attempt at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The endpoint, `host:port`.
    pub endpoint: String,
    /// Why it gave no answer.
    pub problem: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.endpoint, self.problem)
    }
}

pub(crate) fn listed(tried: &[Tried]) -> String {
    tried.iter().map(Tried::to_string).collect::<Vec<_>>().join(", ")
}

/// A span in as few words as it takes: `250 ms`, `1.5 s`.
pub(crate) fn in_words(span: Duration) -> String {
    match span.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100).replace(".0 s", " s"),
        ms @ 60_000..3_600_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}
