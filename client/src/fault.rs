//! What a failed attempt means: try elsewhere, or tell the caller.

use crate::error::Error;
use crate::wire::Fault;
use std::error::Error as _;
use tonic::{Code, Status};

/// What to make of a failed attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The node itself says that it cannot now, and did nothing: another may.
    Unable(String),
    /// The connection failed while the request was under way.
    Broken(String),
    /// The node ran out of the time it was given.
    Late,
    /// The group is between two primaries.
    InTransition(String),
    /// What was asked to be resumed is no longer kept.
    Compacted,
    /// Every node would say the same.
    Final(Error),
}

/// Reads a fault of the node at that endpoint.
pub(crate) fn judge(endpoint: &str, fault: Fault) -> Verdict {
    let endpoint = endpoint.to_owned();
    match fault {
        Fault::Malformed(error) => Verdict::Final(Error::Malformed { endpoint, problem: error.to_string() }),
        Fault::Status(status) => judge_status(endpoint, &status),
    }
}

fn judge_status(endpoint: String, status: &Status) -> Verdict {
    let message = status.message().to_owned();
    // Whose clock it was, the node's or the one of this side, makes no difference.
    if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
        return Verdict::Late;
    }
    // Only the transport leaves a source behind; a status that came over the wire has none.
    if status.source().is_some() {
        return Verdict::Broken(root(status));
    }
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted => Verdict::Unable(message),
        Code::Aborted => Verdict::InTransition(message),
        Code::OutOfRange => Verdict::Compacted,
        Code::NotFound => Verdict::Final(Error::NotFound { message }),
        Code::AlreadyExists => Verdict::Final(Error::AlreadyExists { message }),
        Code::InvalidArgument => Verdict::Final(Error::Invalid { message }),
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
            Verdict::Final(Error::Refused { message })
        }
        code => {
            Verdict::Final(Error::Failed { endpoint, problem: format!("{}: {message}", code.description()) })
        }
    }
}

/// The innermost reason: "connection refused" rather than "transport error".
pub(crate) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
