//! Copies the catalog into a new manifest, slice by slice, while batches go on.
//!
//! Order makes the copy right: one thread writes slices and batches, a slice holds what the catalog holds at that moment,
//! and every batch that is applied later is appended behind it. The last record of an id wins, so neither does a removed
//! region come back nor an old copy cover a newer record. Nothing of the new file counts until it is sealed and `CURRENT`
//! names it, which [`Rewrite::make_current`] does once all of it is synced. Without the seal an unfinished copy would be
//! served as the whole catalog when `CURRENT`, which has no checksum, came to name it by damage.

use super::dir::{Dir, WriteError, next_manifest_name};
use super::manifest::Manifest;
use super::open::CURRENT;
use super::record::{self, BATCH_LEN_MAX, COMMIT_LEN, Origin, RegionState};
use super::sync::Mutex;
use super::{StorageError, hold};
use crate::core::{Cluster, Limits, Region, RegionId};

/// Regions copied in one lock hold.
pub(super) const SLICE_REGIONS_MAX: usize = 1024;
/// A manifest below this size is not worth a rewrite.
pub(super) const REWRITE_LEN_MIN: u64 = 4 << 20;

/// Tells whether a manifest of `len` bytes, `live` of them in records that count, should be rewritten.
pub(super) fn is_due(len: u64, live: u64) -> bool {
    len > REWRITE_LEN_MIN && len / 2 > live
}

/// The bytes of the record that stores `region` in a batch of ours.
pub(super) fn record_len(region: &Region, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    record::push_put(scratch, region, RegionState::Plain, true);
    u64::try_from(scratch.len()).expect("a slice is shorter than 2^64 bytes")
}

/// The bytes of the records that store the slice of `cluster` from `from` on, and where the next slice begins.
pub(super) fn live_len(cluster: &Mutex<Cluster>, from: RegionId) -> (u64, Option<RegionId>) {
    let (slice, rest) = slice_from(cluster, from);
    let mut scratch = Vec::new();
    (slice.iter().map(|region| record_len(region, &mut scratch)).sum(), rest)
}

/// A new manifest that is being filled.
pub(super) struct Rewrite {
    manifest: Manifest,
    /// The lowest id that may still have to be copied; `None` when all are.
    from: Option<RegionId>,
    records: Vec<u8>,
}

impl Rewrite {
    /// Creates the manifest that is to follow the one named `old`.
    pub(super) fn begin(dir: &Dir, old: &str) -> Result<Self, WriteError> {
        let taken = dir.names().map_err(WriteError::in_front)?;
        let manifest = Manifest::create(dir, next_manifest_name(old, &taken), Origin::Rewrite)?;
        Ok(Self { manifest, from: Some(RegionId(0)), records: Vec::new() })
    }

    /// Tells whether all regions are copied.
    pub(super) fn is_complete(&self) -> bool {
        self.from.is_none()
    }

    /// Copies the next slice; it is durable after [`Rewrite::sync`].
    pub(super) fn copy_slice(&mut self, cluster: &Mutex<Cluster>, issued: Limits) -> Result<(), WriteError> {
        let Some(from) = self.from else { return Ok(()) };
        let (slice, rest) = slice_from(cluster, from);
        let (taken, cut) = encode(&slice, &mut self.records);
        if taken > 0 {
            self.manifest.write(&mut self.records, issued)?;
        }
        self.from = cut.or(rest);
        Ok(())
    }

    /// Appends a batch that was written to the old manifest and applied.
    pub(super) fn follow(&mut self, records: &mut Vec<u8>, issued: Limits) -> Result<(), WriteError> {
        self.manifest.write(records, issued)
    }

    /// Says in the new manifest that all regions are copied.
    pub(super) fn seal(&mut self, issued: Limits) -> Result<(), WriteError> {
        self.manifest.write(&mut Vec::new(), issued)
    }

    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.manifest.sync()
    }

    /// The new manifest.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes the new manifest, which is complete and sealed, the current one. The old one is still there.
    pub(super) fn make_current(&mut self, dir: &Dir) -> Result<(), WriteError> {
        self.manifest.sync().map_err(WriteError::Final)?;
        dir.replace(CURRENT, self.manifest.name().as_bytes())
    }

    /// The new manifest, to be appended to from now on.
    pub(super) fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Gives the new manifest up.
    pub(super) fn abandon(self, dir: &Dir) {
        let path = self.manifest.path().to_owned();
        drop(self.manifest);
        dir.discard(&path);
    }
}

/// At most [`SLICE_REGIONS_MAX`] regions by ascending id, and the id of the one behind them.
fn slice_from(cluster: &Mutex<Cluster>, from: RegionId) -> (Vec<Region>, Option<RegionId>) {
    let cluster = hold(cluster);
    let mut regions = cluster.regions_from(from);
    let slice = regions.by_ref().take(SLICE_REGIONS_MAX).cloned().collect();
    let rest = regions.next().map(Region::id);
    (slice, rest)
}

/// Encodes the regions that fit into a batch; the first always does: a region from the reference may be longer than our
/// batches, and the length of a batch matters only where a torn one may follow, which is not in a manifest that is being
/// filled. Returns how many fit, and the id of the first that does not.
fn encode(slice: &[Region], records: &mut Vec<u8>) -> (usize, Option<RegionId>) {
    records.clear();
    for (at, region) in slice.iter().enumerate() {
        let before = records.len();
        record::push_put(records, region, RegionState::Plain, true);
        if at > 0 && records.len() + COMMIT_LEN > BATCH_LEN_MAX {
            records.truncate(before);
            return (at, Some(region.id()));
        }
    }
    (slice.len(), None)
}
