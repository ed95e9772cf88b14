//! What a refusal of the service is for a caller without a network: the same as over one, but that nobody is lost.

use crate::client::{Error, Refusal};
use crate::service;

/// The client's error for `error`; `failure` says why the placement driver serves no longer, unless it was stopped.
pub(super) fn client_error(error: &service::Error, failure: impl FnOnce() -> Option<String>) -> Error {
    use service::Error as E;
    let refusal = match error {
        E::StoreIdZero
        | E::RegionAbsent
        | E::RegionIdZero
        | E::KeyTooLong { .. }
        | E::TooManyPeers { .. }
        | E::EmptyRange { .. }
        | E::EmptyScan { .. }
        | E::TooManyRegions { .. }
        | E::CountTooLarge { .. } => Refusal::InvalidArgument,
        E::Stale { .. } | E::Overlap { .. } => Refusal::FailedPrecondition,
        E::Exhausted { .. } | E::NoSpace | E::Overloaded => Refusal::ResourceExhausted,
        E::OutcomeUnknown => Refusal::Internal,
        E::NotReady | E::Stopped | E::Broken => {
            return failure().map_or(Error::Closed, |reason| Error::Failed { reason });
        }
    };
    Error::Refused { refusal, message: error.to_string() }
}
