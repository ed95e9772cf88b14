//! The only code that touches the disk: the workdir in the reference's own format, and the thread that writes it.

pub mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::channel::oneshot;

use crate::core::{AllocError, Allocators, Cluster, Limits, Refusal, Region, RegionId};

/// The answer to a parked allocation: the first value given.
pub type AllocReply = oneshot::Sender<Result<u64, AllocError>>;

/// What the service and the writer share. Lock order: neither lock is taken while the other is held.
pub struct State {
    pub cluster: Mutex<Cluster>,
    pub allocators: Mutex<Allocators<AllocReply>>,
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
    /// The disk is full; nothing changed, and the same edit may succeed later.
    NoSpace,
    /// Too many edits are queued already; nothing changed.
    QueueFull,
    /// The disk failed while this edit was written: whether it is durable is unknown.
    Unknown,
    /// The server stops, or its disk has failed; nothing changed.
    Stopped,
}

/// The answer to an edit.
pub type EditReply = oneshot::Sender<Result<EditOutcome, EditError>>;

/// Why a workdir cannot be used, or stopped being usable. `Display` is one line: what, where, why, what next.
#[derive(Debug)]
pub enum StorageError {
    /// Another process holds the lock; `holder` says which, where known.
    InUse { workdir: PathBuf, holder: Option<String> },
    /// The workdir is not a placement driver's (a store's, or not a directory).
    NotOurs { workdir: PathBuf, reason: String },
    /// A file holds what no crash explains.
    Damaged { file: PathBuf, offset: u64, reason: String },
    /// Another process wrote to the manifest while this one had it open.
    ChangedUnderUs { file: PathBuf, expected: u64, found: u64 },
    /// An operation of the file system failed.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// A workdir that is locked, read and checked. Nothing but the lock has been written yet.
pub struct Opened {
    _private: (),
}

/// What a workdir held.
pub struct Snapshot {
    /// By ascending id, each id once.
    pub regions: Vec<Arc<Region>>,
    /// The highest values that may have been given out (0: none).
    pub issued: Limits,
}

impl Opened {
    /// Locks `workdir` (created with its parents when missing), reads and checks it. Writes nothing but the lock file.
    ///
    /// # Errors
    ///
    /// Any [`StorageError`] but `ChangedUnderUs`.
    pub fn open(_workdir: &Path) -> Result<Self, StorageError> {
        unimplemented!()
    }

    /// What the workdir held, once: the regions move out.
    pub fn take_snapshot(&mut self) -> Snapshot {
        unimplemented!()
    }

    /// Makes the workdir ready for writing (creation, truncation of a torn tail, conversion into our form) and starts the
    /// persistence thread over `state`. `fatal` gets the error that ends the thread, if one does.
    ///
    /// # Errors
    ///
    /// `Io` when the files cannot be written.
    pub fn start(
        self,
        _state: Arc<State>,
        _fatal: crossbeam_channel::Sender<StorageError>,
    ) -> Result<writer::Writer, StorageError> {
        unimplemented!()
    }
}
