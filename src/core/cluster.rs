//! The catalog of regions and stores.
use std::sync::Arc;
use std::time::Duration;

use super::region::{Epoch, Region, RegionId, StoreId};
use super::scheduler::{LeaderTransfer, StoreStats};

/// Two regions share keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The region that was to be stored.
    pub region: RegionId,
    /// The region that is in its way.
    pub with: RegionId,
}

/// What a heartbeat that is not refused means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The catalog holds exactly this region already.
    Unchanged,
    /// Storing the region changes the catalog.
    Changed,
}

/// Why a region may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Stale { region: RegionId, current: Epoch, incoming: Epoch },
    Overlap(Overlap),
}

/// All regions and stores.
#[derive(Default)]
pub struct Cluster {}

impl Cluster {
    /// Builds a catalog at once from regions in ascending id order, each id once.
    ///
    /// # Errors
    ///
    /// [`Overlap`] when two of them share keys.
    pub fn restore(_regions: Vec<Arc<Region>>) -> Result<Self, Overlap> {
        unimplemented!()
    }
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    pub fn region(&self, _id: RegionId) -> Option<&Arc<Region>> {
        unimplemented!()
    }
    pub fn region_by_key(&self, _key: &[u8]) -> Option<&Arc<Region>> {
        unimplemented!()
    }
    /// Regions with an id of at least `from`, by ascending id.
    pub fn regions_from(&self, _from: RegionId) -> impl Iterator<Item = &Arc<Region>> {
        std::iter::empty()
    }
    /// Tells what storing `region` would mean, without changing anything. Order of checks: stale, overlap.
    pub fn judge(&self, _region: &Region) -> Result<Verdict, Refusal> {
        unimplemented!()
    }
    /// Stores a region that `judge` found to be `Changed`, replacing the old one whole.
    pub fn put(&mut self, _region: Arc<Region>) {
        unimplemented!()
    }
    /// Forgets a region with its epoch. Returns whether it existed.
    pub fn remove(&mut self, _id: RegionId) -> bool {
        unimplemented!()
    }
    /// Notes that an edit of this region is on its way through the writer (edits of one id may be several).
    pub fn begin_edit(&mut self, _id: RegionId) {
        unimplemented!()
    }
    /// Ends what `begin_edit` began.
    pub fn end_edit(&mut self, _id: RegionId) {
        unimplemented!()
    }
    pub fn is_being_edited(&self, _id: RegionId) -> bool {
        unimplemented!()
    }
    /// Replaces the numbers of a store and plans for it. `now` is the time since the process started.
    pub fn store_heartbeat(&mut self, _store: StoreId, _stats: StoreStats, _now: Duration) -> Option<LeaderTransfer> {
        unimplemented!()
    }
    /// Every store heard, by ascending id: its last numbers and when they came.
    pub fn stores(&self) -> impl Iterator<Item = (StoreId, StoreStats, Duration)> {
        std::iter::empty()
    }
    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        unimplemented!()
    }
}
