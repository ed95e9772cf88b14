//! A request as it arrives: its length is looked at first, then its bytes.
//!
//! gRPC core has a filter for the length, but each of its filters costs every call, and [`super::settings`] leaves it out.

use grpcio::{GrpcSlice, Marshaller, MessageReader, Method, RpcStatus, RpcStatusCode};

/// Reads the requests of one method.
pub(super) struct Reader<Q> {
    de: fn(MessageReader) -> grpcio::Result<Q>,
    bytes_max: usize,
}

impl<Q> Clone for Reader<Q> {
    fn clone(&self) -> Self {
        Self { de: self.de, bytes_max: self.bytes_max }
    }
}

impl<Q> Reader<Q> {
    /// For requests of at most `bytes_max` bytes.
    pub(super) fn new<A>(method: &Method<Q, A>, bytes_max: usize) -> Self {
        Self { de: method.req_mar.de, bytes_max }
    }

    /// The request, or the status of a call whose request is none: RESOURCE_EXHAUSTED when it is too long, INTERNAL when it is
    /// not protobuf.
    pub(super) fn read(&self, bytes: MessageReader) -> Result<Q, RpcStatus> {
        let (len, max) = (bytes.len(), self.bytes_max);
        if len > max {
            let message = format!("a message of {len} bytes is longer than {max} (of a PD: --max-request-bytes)");
            return Err(RpcStatus::with_message(RpcStatusCode::RESOURCE_EXHAUSTED, message));
        }
        (self.de)(bytes).map_err(|error| RpcStatus::with_message(RpcStatusCode::INTERNAL, error.to_string()))
    }
}

/// The same method with its requests unread.
pub(super) fn unread<Q, A>(method: &Method<Q, A>) -> Method<MessageReader, A> {
    Method {
        ty: method.ty,
        name: method.name,
        req_mar: Marshaller { ser: never_sent, de: Ok },
        resp_mar: Marshaller { ser: method.resp_mar.ser, de: method.resp_mar.de },
    }
}

fn never_sent(_: &MessageReader, _: &mut GrpcSlice) -> grpcio::Result<()> {
    unreachable!("a server sends no requests")
}
