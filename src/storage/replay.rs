//! Reads a manifest: which regions it holds, how far it is whole, and what stands behind that.

use std::path::Path;
use std::sync::Arc;

use super::StorageError;
use super::fs::File;
use crate::core::{Limits, Region};

/// Whose form a manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Ours {
        salt: u64,
        next_batch: u64,
    },
    /// No checksums and no batches: to be rewritten before anything is appended.
    Reference,
}

/// What a manifest holds.
#[derive(Debug)]
pub struct Replayed {
    pub form: Form,
    /// By ascending id, each id once.
    pub regions: Vec<Arc<Region>>,
    /// The issued values of the newest commit.
    pub issued: Limits,
    /// Everything in front of this offset is whole and applied.
    pub end: u64,
    /// The file's length; more than `end` when a torn tail stands there.
    pub file_len: u64,
    /// Whole plain records from our last commit to the end of the file: the reference appended them, and they are applied.
    pub appended_by_reference: bool,
    /// One line for each kind of thing that was passed over or found odd, for the log.
    pub warnings: Vec<String>,
}

/// Reads `file`. `synced`: how many of its bytes are known to be on the disk.
///
/// # Errors
///
/// `Damaged`, `NotOurs` (a store's manifest) or `Io`.
pub fn replay(_file: &dyn File, _path: &Path, _synced: Option<u64>) -> Result<Replayed, StorageError> {
    unimplemented!()
}
