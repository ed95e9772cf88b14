//! Raises the counters of a workdir after a disaster, so that no value is given out twice.

use std::path::Path;

use super::on_disk;
use super::signs::{Signs, trusted_checkpoint};
use crate::core::Limits;
use crate::storage::StorageError;
use crate::storage::dir::Dir;
use crate::storage::lock::Lock;
use crate::storage::open::{self, inspect};
use crate::storage::state::{Checkpoint, STATE_FILE};

/// What became of the counters: the last values that count as given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// `None`: they were lost.
    pub before: Option<Limits>,
    pub after: Limits,
}

/// Raises the checkpoint, durable when it returns, so that the next id is at least `ids` and the next timestamp at least
/// `timestamps`. Lowers nothing. With both values it also puts a checkpoint in the place of one that is lost; a damaged
/// manifest does not matter.
///
/// # Errors
///
/// `Damaged` when the checkpoint is lost and a value is missing; `InUse`, `NotOurs` or `Io`.
pub fn set_min(workdir: &Path, ids: Option<u64>, timestamps: Option<u64>) -> Result<Raised, StorageError> {
    set_min_in(&on_disk(workdir), ids, timestamps)
}

pub(super) fn set_min_in(dir: &Dir, ids: Option<u64>, timestamps: Option<u64>) -> Result<Raised, StorageError> {
    open::require_workdir(&*dir.fs, &dir.path)?;
    let _lock = Lock::take(&*dir.fs, &dir.path)?;
    if let Err(error @ StorageError::NotOurs { .. }) = inspect(&*dir.fs, &dir.path) {
        return Err(error);
    }
    let signs = Signs::read(dir)?;
    let checkpoint = match trusted_checkpoint(dir, signs) {
        Ok(state) => {
            state.map(|(checkpoint, _)| checkpoint).or(Some(Checkpoint { limits: Limits::default(), synced: None }))
        }
        Err(StorageError::Damaged { .. }) if ids.is_some() && timestamps.is_some() => None,
        Err(error) => return Err(error),
    };
    let before = checkpoint.as_ref().map(|checkpoint| checkpoint.limits);
    let last_before = |first: Option<u64>| first.unwrap_or(0).saturating_sub(1);
    let asked = Limits { ids: last_before(ids), timestamps: last_before(timestamps) };
    let after = highest(asked, highest(before.unwrap_or_default(), signs.issued));
    if before != Some(after) {
        let synced = checkpoint.and_then(|checkpoint| checkpoint.synced);
        dir.replace(STATE_FILE, Checkpoint { limits: after, synced }.encode().as_bytes())?;
    }
    Ok(Raised { before, after })
}

/// The higher value of each counter.
pub(super) fn highest(a: Limits, b: Limits) -> Limits {
    Limits { ids: a.ids.max(b.ids), timestamps: a.timestamps.max(b.timestamps) }
}
