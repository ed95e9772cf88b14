//! The catalog of regions and stores.
//!
//! Invariants, asserted by [`Cluster::check_invariants`]:
//!
//! - regions never overlap; their ids are not 0 and their ranges not empty (callers let nothing else in)
//! - the id index and the key index hold the same regions, each under its own id and start key
//! - the epoch of an id never goes back while the id stays (`judge` refuses it)
//! - those of the planner, in `scheduler.rs`

use std::collections::HashMap;
use std::time::Duration;

use super::key_index::KeyIndex;
use super::region::{Epoch, Region, RegionId, StoreId};
use super::regions::{Regions, Slot};
use super::scheduler::{LeaderTransfer, Scheduler, StoreStats};

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
#[derive(Debug, Default)]
pub struct Cluster {
    regions: Regions,
    keys: KeyIndex,
    scheduler: Scheduler,
    /// How many edits of a region are queued or being written.
    edits: HashMap<RegionId, usize>,
}

impl Cluster {
    /// Builds a catalog at once from regions that all have well-formed ranges.
    ///
    /// # Errors
    ///
    /// Those of `check_overlaps`.
    pub fn restore(regions: impl Into<Regions>) -> Result<Self, Overlap> {
        let regions = regions.into();
        let by_key = sorted(&regions)?;
        let mut scheduler = Scheduler::default();
        regions.iter().for_each(|region| scheduler.region_changed(None, Some(region)));
        Ok(Self { keys: KeyIndex::from_sorted(&by_key, &regions), regions, scheduler, edits: HashMap::new() })
    }

    /// Tells whether regions with well-formed ranges may stand side by side.
    ///
    /// # Errors
    ///
    /// [`Overlap`] when two of them share keys: the one with the higher id could not be stored.
    pub fn check_overlaps(regions: &Regions) -> Result<(), Overlap> {
        sorted(regions).map(drop)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    #[must_use]
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(id)
    }

    /// Brings the regions of some ids near the processor, for a look at each of them at once. Changes nothing; a few hundred
    /// at a time fit.
    pub fn touch(&self, ids: impl Iterator<Item = RegionId>) {
        self.regions.touch(ids);
    }

    /// The region that holds `key`; the empty key is the lowest key.
    #[must_use]
    pub fn region_by_key(&self, key: &[u8]) -> Option<&Region> {
        self.at_or_before(key).filter(|region| region.range().contains(key))
    }

    /// Regions by ascending key: the one that holds `key`, if there is one, and all behind it.
    pub fn regions_at(&self, key: &[u8]) -> impl Iterator<Item = &Region> {
        self.region_by_key(key).into_iter().chain(self.above(key))
    }

    /// Regions with an id of at least `from`, by ascending id.
    pub fn regions_from(&self, from: RegionId) -> impl Iterator<Item = &Region> {
        self.regions.from(from)
    }

    /// The region with the highest start key that is not above `key`.
    fn at_or_before(&self, key: &[u8]) -> Option<&Region> {
        self.keys.at_or_before(key, &self.regions).map(|slot| self.regions.at(slot))
    }

    /// The regions with a start key above `key`, in key order.
    fn above(&self, key: &[u8]) -> impl Iterator<Item = &Region> {
        self.keys.above(key, &self.regions).map(|slot| self.regions.at(slot))
    }

    /// Tells what storing `region` would mean, without changing anything.
    ///
    /// # Errors
    ///
    /// [`Refusal`], checked in this order: stale against the same id, overlap with another id.
    pub fn judge(&self, region: &Region) -> Result<Verdict, Refusal> {
        let current = self.replaced_by(region.id(), region.epoch())?;
        if current.is_some_and(|current| current == region) {
            return Ok(Verdict::Unchanged);
        }
        if current.is_none_or(|current| current.range() != region.range())
            && let Some(with) = self.overlapping(region)
        {
            return Err(Refusal::Overlap(Overlap { region: region.id(), with: with.id() }));
        }
        Ok(Verdict::Changed)
    }

    /// The region that one of this id and epoch would replace, if there is one.
    ///
    /// # Errors
    ///
    /// [`Refusal::Stale`].
    pub fn replaced_by(&self, id: RegionId, incoming: Epoch) -> Result<Option<&Region>, Refusal> {
        let region = self.regions.get(id);
        match region.map(Region::epoch) {
            Some(current) if incoming < current => Err(Refusal::Stale { region: id, current, incoming }),
            _ => Ok(region),
        }
    }

    /// A region of another id that shares keys with `region`. Regions don't overlap, so the nearest to the left and the
    /// nearest to the right are enough. When the region's own old range is the nearest to the left, everything further left
    /// ends before that; to the right it is passed over.
    fn overlapping(&self, region: &Region) -> Option<&Region> {
        let left = self.at_or_before(region.start_key());
        let right = self.above(region.start_key()).find(|other| other.id() != region.id());
        [left, right]
            .into_iter()
            .flatten()
            .find(|other| other.id() != region.id() && other.range().overlaps(&region.range()))
    }

    /// Stores a region that `judge` found to be `Changed`, replacing the old one whole. The key index takes part only when the
    /// start key is another one.
    pub fn put(&mut self, region: Region) {
        let Some(slot) = self.regions.slot_of(region.id()) else {
            self.scheduler.region_changed(None, Some(&region));
            let slot = self.regions.insert(region);
            return self.keys.put(slot, &self.regions);
        };
        let old = self.regions.at(slot);
        self.scheduler.region_changed(Some(old), Some(&region));
        if old.start_key() == region.start_key() {
            self.regions.replace(slot, region);
        } else {
            self.keys.remove(slot, &self.regions);
            self.regions.replace(slot, region);
            self.keys.put(slot, &self.regions);
        }
    }

    /// Forgets a region with its epoch. Returns whether it existed.
    pub fn remove(&mut self, id: RegionId) -> bool {
        let Some(slot) = self.regions.slot_of(id) else { return false };
        self.scheduler.region_changed(Some(self.regions.at(slot)), None);
        self.keys.remove(slot, &self.regions);
        self.regions.remove(id).is_some()
    }

    /// Notes that an edit of this region is on its way through the writer (edits of one id may be several).
    pub fn begin_edit(&mut self, id: RegionId) {
        *self.edits.entry(id).or_default() += 1;
    }

    /// Ends what `begin_edit` began.
    ///
    /// # Panics
    ///
    /// When nothing began.
    pub fn end_edit(&mut self, id: RegionId) {
        let edits = self.edits.get_mut(&id).expect("every end_edit follows its begin_edit");
        *edits -= 1;
        if *edits == 0 {
            self.edits.remove(&id);
        }
    }

    #[must_use]
    pub fn is_being_edited(&self, id: RegionId) -> bool {
        self.edits.contains_key(&id)
    }

    /// Replaces the numbers of a store and plans for it. `now` is by whatever clock the stores are dated.
    pub fn store_heartbeat(&mut self, store: StoreId, stats: StoreStats, now: Duration) -> Option<LeaderTransfer> {
        self.scheduler.heartbeat(store, stats, now, &self.regions)
    }

    /// Stores heard with an id of at least `from`, by ascending id: the last numbers of each and when they came.
    pub fn stores_from(&self, from: StoreId) -> impl Iterator<Item = (StoreId, StoreStats, Duration)> {
        self.scheduler.stores_from(from)
    }

    /// How many stores have been heard.
    #[must_use]
    pub fn stores_len(&self) -> usize {
        self.scheduler.stores_len()
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        self.regions.check_invariants();
        self.keys.check_invariants(&self.regions);
        for region in self.regions.iter() {
            assert_ne!(region.id(), RegionId(0), "id 0 names no region");
            assert!(region.range().is_well_formed(), "{region:?} has an empty range");
        }
        let by_key: Vec<Slot> = self.keys.iter().collect();
        assert_eq!(by_key.len(), self.regions.len(), "the key index has another length");
        for neighbours in by_key.windows(2) {
            let [left, right] = [neighbours[0], neighbours[1]].map(|slot| self.regions.at(slot));
            assert!(!left.range().overlaps(&right.range()), "{left:?} and {right:?} overlap");
        }
        assert!(self.edits.values().all(|&edits| edits > 0), "an ended edit is still counted");
        self.scheduler.check_invariants(&self.regions);
    }
}

/// The slots by start key, when no two regions share a key.
fn sorted(regions: &Regions) -> Result<Vec<Slot>, Overlap> {
    let by_key = KeyIndex::sort(regions);
    for neighbours in by_key.windows(2) {
        let [a, b] = [neighbours[0], neighbours[1]].map(|slot| regions.at(slot));
        if a.range().overlaps(&b.range()) {
            return Err(Overlap { region: a.id().max(b.id()), with: a.id().min(b.id()) });
        }
    }
    Ok(by_key)
}
