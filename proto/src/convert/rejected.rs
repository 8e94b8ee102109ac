//! Why the log refused a command, as the caller sees it.

use regent_core::state::Rejected;
use tonic::{Code, Status};

/// The gRPC status of a rejected command: the code says what kind of answer it is, the message what to do.
pub fn rejection(rejected: &Rejected) -> Status {
    let code = match rejected {
        Rejected::UnknownGroup { .. }
        | Rejected::UnknownInstance { .. }
        | Rejected::UnknownNode { .. }
        | Rejected::UnknownRegion { .. } => Code::NotFound,
        Rejected::GroupExists(_) | Rejected::InstanceElsewhere { .. } => Code::AlreadyExists,
        Rejected::BadTerms(_) | Rejected::BadElectorate { .. } | Rejected::BadSuccession { .. } => {
            Code::InvalidArgument
        }
        Rejected::Begun { .. }
        | Rejected::Stale { .. }
        | Rejected::OtherSystem { .. }
        | Rejected::TooMany { .. }
        | Rejected::NotOffered { .. }
        | Rejected::WrongElectorate { .. } => Code::FailedPrecondition,
    };
    Status::new(code, rejected.to_string())
}
