//! The one table from the service's errors to gRPC statuses.

use grpcio::{RpcStatus, RpcStatusCode};

use crate::service::Error;

/// The status of a refused or failed call; its message is the error's own.
pub(super) fn status(error: &Error) -> RpcStatus {
    RpcStatus::with_message(code(error), error.to_string())
}

fn code(error: &Error) -> RpcStatusCode {
    match error {
        Error::StoreIdZero
        | Error::RegionAbsent
        | Error::RegionIdZero
        | Error::KeyTooLong { .. }
        | Error::TooManyPeers { .. }
        | Error::EmptyRange { .. }
        | Error::CountTooLarge { .. } => RpcStatusCode::INVALID_ARGUMENT,
        Error::Stale { .. } | Error::Overlap { .. } => RpcStatusCode::FAILED_PRECONDITION,
        Error::Exhausted { .. } | Error::NoSpace | Error::Overloaded => RpcStatusCode::RESOURCE_EXHAUSTED,
        Error::OutcomeUnknown => RpcStatusCode::INTERNAL,
        Error::NotReady | Error::Stopped | Error::Broken => RpcStatusCode::UNAVAILABLE,
    }
}
