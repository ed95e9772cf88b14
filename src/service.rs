//! The six calls: request, validate, log, apply, reply. No gRPC types.

use std::sync::Arc;

use crate::storage::{State, StorageError, writer::Writer};

/// What a request may hold. Exceeding one is INVALID_ARGUMENT, naming the limit and its flag.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Longest region border, in bytes (`--max-key-bytes`).
    pub key_bytes_max: usize,
    /// Most peers of a region (`--max-peers`).
    pub peers_max: usize,
    /// Most ids or timestamps in one call (`--max-count`).
    pub count_max: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { key_bytes_max: 4096, peers_max: 64, count_max: 1 << 20 }
    }
}

/// A placement driver without a network.
pub struct Pd {
    _private: (),
}

impl Pd {
    /// A placement driver that keeps everything in memory.
    pub fn in_memory(_state: Arc<State>, _limits: RequestLimits) -> Self {
        unimplemented!()
    }
    /// A placement driver whose changes go through a writer; until `attach` every change is refused as UNAVAILABLE.
    pub fn durable(_state: Arc<State>, _limits: RequestLimits) -> Self {
        unimplemented!()
    }
    /// Gives a durable placement driver its writer, once, before it serves.
    pub fn attach(&self, _writer: Writer) {
        unimplemented!()
    }
    /// Refuses every later call, and ends the writer (exact allocator values on disk).
    ///
    /// # Errors
    ///
    /// What `Writer::stop` meets.
    pub fn stop(&self) -> Result<(), StorageError> {
        unimplemented!()
    }
}
