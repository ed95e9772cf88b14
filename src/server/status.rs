//! From the service's errors to gRPC statuses.

use grpcio::{RpcStatus, RpcStatusCode};

use crate::service::Error;

/// The status of a refused or failed call; its message is the error's own.
pub(super) fn status(error: &Error) -> RpcStatus {
    RpcStatus::with_message(RpcStatusCode::from(i32::from(error.code())), error.to_string())
}
