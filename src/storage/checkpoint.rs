//! The allocators' checkpoint on the disk.
//!
//! Invariant: `given out <= durable`, for both counters. `durable` is what the state file holds; when it holds anything else,
//! another process gives values out too, and it is not written over.

use super::StorageError;
use super::dir::{Dir, WriteError};
use super::manifest::Manifest;
use super::open::read_state;
use super::state::{Checkpoint, STATE_FILE, Synced};
use crate::core::Limits;

/// The state file, and what it holds.
pub(super) struct CheckpointFile {
    dir: Dir,
    durable: Limits,
}

impl CheckpointFile {
    /// The state file of a workdir, which holds `durable`.
    pub(super) fn new(dir: Dir, durable: Limits) -> Self {
        Self { dir, durable }
    }

    /// Replaces the file by one that holds `limits` and what is durable of `manifest`.
    pub(super) fn write(&mut self, limits: Limits, manifest: &Manifest) -> Result<(), WriteError> {
        self.replace(limits, manifest.synced())
    }

    /// Creates the file in front of its manifest, of which nothing is durable yet.
    pub(super) fn create(&mut self, manifest: String) -> Result<(), WriteError> {
        self.replace(self.durable, Synced { manifest, bytes: 0 })
    }

    fn replace(&mut self, limits: Limits, synced: Synced) -> Result<(), WriteError> {
        self.check()?;
        let checkpoint = Checkpoint { limits, synced: Some(synced) };
        self.dir.replace(STATE_FILE, checkpoint.encode().as_bytes())?;
        self.durable = limits;
        Ok(())
    }

    /// The reference ignores our lock: it may have given out values, and they would be given out again.
    fn check(&self) -> Result<(), WriteError> {
        let change = match read_state(&*self.dir.fs, &self.dir.path) {
            Ok(found) => {
                let found = found.map_or(Limits::default(), |(checkpoint, _)| checkpoint.limits);
                if found == self.durable {
                    return Ok(());
                }
                format!("gave values out: its last are id {} and timestamp {}", found.ids, found.timestamps)
            }
            Err(StorageError::Damaged { reason, .. }) => format!("wrote to it: {reason}"),
            Err(error) => return Err(WriteError::in_front(error)),
        };
        Err(WriteError::Final(StorageError::ChangedUnderUs { file: self.dir.path.join(STATE_FILE), change }))
    }

    /// What may have been given out, for a commit record or the last checkpoint. An allocator that was told to start above
    /// its checkpoint counts that as issued, but gives nothing out before its first window is durable; a commit must not
    /// name a value that the state file lacks, because an older state file is taken for damage.
    pub(super) fn given_out(&self, issued: Limits) -> Limits {
        Limits { ids: issued.ids.min(self.durable.ids), timestamps: issued.timestamps.min(self.durable.timestamps) }
    }
}
