//! The exit codes, which scripts rely on: `regent --help` and docs/cli.md list them.

use crate::error::Error;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// The answer is bad news.
    Unwell = 1,
    /// The command line or its input is wrong.
    Usage = 2,
    /// No such group, instance or node.
    NotFound = 3,
    /// No node could be reached, or none was able to; nothing was changed.
    Unreachable = 4,
    /// No answer that can be used: nobody knows whether it takes effect, or the group is between two primaries.
    Open = 5,
    /// It cannot be done as things stand; nothing was changed.
    Refused = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The exit code of an error.
pub fn exit_for(error: &Error) -> Exit {
    match error {
        Error::NoEndpoint | Error::BadEndpoint { .. } | Error::Invalid { .. } => Exit::Usage,
        Error::NotFound { .. } => Exit::NotFound,
        Error::Unavailable { .. } => Exit::Unreachable,
        Error::InTransition { .. }
        | Error::DeadlineExceeded { .. }
        | Error::Interrupted { .. }
        | Error::Malformed { .. }
        | Error::Failed { .. } => Exit::Open,
        Error::AlreadyExists { .. } | Error::Refused { .. } => Exit::Refused,
    }
}
