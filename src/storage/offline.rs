//! Work on a workdir that no server has open: appending a region by hand, and `ctl workdir check|dump|set-min|rebuild`.

use std::path::Path;

use super::StorageError;
use super::record::RegionState;
use crate::core::Region;

/// Appends one region record, in the manifest's own form; a missing workdir is created in the reference's form (`CURRENT` and
/// a manifest, no `PD_STATE.json`).
///
/// # Errors
///
/// Any [`StorageError`]; the region is checked by the caller.
pub fn append_region(_workdir: &Path, _region: &Region, _state: RegionState) -> Result<(), StorageError> {
    unimplemented!()
}
