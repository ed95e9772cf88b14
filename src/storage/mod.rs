//! The only code that touches the disk: the workdir in the reference's own format, and the thread that writes it.

mod batch;
mod bootstrap;
mod checkpoint;
pub mod decode;
mod dir;
pub mod error;
pub mod fs;
pub mod leads;
mod lock;
mod manifest;
pub mod offline;
mod open;
mod persist;
mod queue;
pub mod record;
pub mod replay;
mod rewrite;
mod scan;
mod start;
pub mod state;
pub(crate) mod sync;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) mod tests;
pub mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use futures::channel::oneshot;

use self::fs::Fs;
use self::lock::Lock;
use self::state::Checkpoint;
use self::sync::{Mutex, MutexGuard};

pub use self::error::StorageError;

use crate::core::{AllocError, Allocators, Cluster, Limits, Refusal, Region, RegionId, Regions};

/// The answer to a parked allocation: the first value given.
pub type AllocReply = oneshot::Sender<Result<u64, AllocError>>;

/// What the service and the writer share. Lock order: neither lock is taken while the other is held.
pub struct State {
    pub cluster: Mutex<Cluster>,
    pub allocators: Mutex<Allocators<AllocReply>>,
}

/// Takes a lock of [`State`].
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().expect("a panic that left the state half changed ends this thread as well")
}

/// A change of the catalog.
#[derive(Clone, Debug)]
pub enum Edit {
    Put(Arc<Region>),
    Delete(RegionId),
}

impl Edit {
    #[must_use]
    pub fn region_id(&self) -> RegionId {
        match self {
            Self::Put(region) => region.id(),
            Self::Delete(id) => *id,
        }
    }
}

/// What became of an edit that was not refused. It is durable and visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The region is stored as it was sent.
    Stored,
    /// The region is gone; with `existed` false it was unknown and nothing was written.
    Removed { existed: bool },
}

/// Why an edit did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The catalog's rules forbid it; nothing changed.
    Refused(Refusal),
    /// No space on the disk, or no file descriptor free; nothing changed, and the same edit may succeed later.
    NoSpace,
    /// Too many edits, or too many bytes of them, are queued already; nothing changed.
    QueueFull,
    /// The disk failed while this edit was written: whether it is durable is unknown.
    Unknown,
    /// The server stops, or its disk has failed; nothing changed.
    Stopped,
}

/// The answer to an edit.
pub type EditReply = oneshot::Sender<Result<EditOutcome, EditError>>;

/// A workdir that is locked, read and checked. Nothing but the lock has been written yet.
pub struct Opened {
    fs: Arc<dyn Fs>,
    workdir: PathBuf,
    /// Held as long as the workdir is in use.
    lock: Lock,
    found: Found,
    snapshot: Option<Snapshot>,
}

/// What stood in the workdir, and so what has to be done before the first append.
#[derive(Debug)]
enum Found {
    /// Nothing, or an unfinished creation: create state file, manifest and `CURRENT`.
    Nothing { checkpoint: Limits },
    /// A manifest of ours: go on at `end`. A torn tail stands behind it when `file_len` is more: keep a copy of the damaged
    /// file as `*.broken`, then truncate to `end`.
    Ours { name: String, salt: u64, next_batch: u64, end: u64, file_len: u64, checkpoint: Checkpoint },
    /// To be rewritten in our form under a new number: the reference's manifest, or one of ours that the reference appended
    /// to. It is deleted after the switch. With a torn tail behind `end` a copy of it is kept as `*.broken`.
    Rewrite { name: String, end: u64, file_len: u64, checkpoint: Limits },
}

/// What a workdir held.
pub struct Snapshot {
    pub regions: Regions,
    /// The highest values that may have been given out (0: none).
    pub issued: Limits,
}
