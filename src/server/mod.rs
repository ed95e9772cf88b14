//! The gRPC server.

use std::sync::Arc;
use std::time::Duration;

use crate::service::Pd;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// As Go users write it: `host:port`, `:2379`, `0.0.0.0:2379`, `[::1]:0`.
    pub addr: String,
    /// Completion queue threads; default: one per two cores, at least 1.
    pub threads: usize,
    /// Longest request, in bytes (`--max-request-bytes`, default 65,536); longer is RESOURCE_EXHAUSTED.
    pub request_bytes_max: usize,
}

/// Why the address cannot be served. `Display` is one line: what, where, why, what next.
#[derive(Debug)]
pub enum BindError {
    /// The address is malformed or cannot be resolved.
    Address { addr: String, reason: String },
    /// Another process listens there; `holder` says which, where known.
    InUse { addr: String, holder: Option<String> },
    /// The system refuses the address (not of this machine, no permission).
    Refused { addr: String, source: std::io::Error },
}

/// A server with a bound port.
pub struct Server {
    _private: (),
}

impl Server {
    /// Binds the port without serving yet.
    ///
    /// # Errors
    ///
    /// Any [`BindError`].
    pub fn bind(_options: &ServerOptions, _pd: Arc<Pd>) -> Result<Self, BindError> {
        unimplemented!()
    }
    /// The address that is served, with the real port: `127.0.0.1:2379` as it was given, `[::1]:41234` for `[::1]:0`.
    pub fn addr(&self) -> &str {
        unimplemented!()
    }
    /// Begins to answer calls.
    pub fn start(&mut self) {
        unimplemented!()
    }
    /// Refuses new calls, waits at most `grace` for those under way, then cancels them. Returns whether all of them ended by themselves.
    pub fn stop(&mut self, _grace: Duration) -> bool {
        unimplemented!()
    }
}
