//! All regions, each in a slot that it keeps while its id stays, and an index of their ids.
//!
//! A region lies in its slot itself, not behind an address: two cache lines that hold all of it, unless its keys are long. A
//! newer one takes its place without an allocation, and whoever knows the slot need not hear of it.
//!
//! Invariants, asserted by [`Regions::check_invariants`]:
//!
//! - the slot that the id index has for an id holds the region of that id
//! - every other slot is vacant, and empty

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::id_index::IdIndex;
use super::region::{Region, RegionId};
use super::slab::Slab;

/// The place of a region. It and the lack of one take 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// The place behind `before` others.
    ///
    /// # Panics
    ///
    /// When there are 2^32 - 1 of them.
    #[must_use]
    pub fn new(before: usize) -> Self {
        let number = u32::try_from(before + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("so many regions fit no memory"))
    }

    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).expect("a 32-bit index fits the address space")
    }
}

/// Regions by id, each id once.
#[derive(Clone, Default)]
pub struct Regions {
    slots: Slab<Place>,
    by_id: IdIndex,
}

/// Aligned so that it has two cache lines and not a part of three.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Place(Option<Region>);

impl Regions {
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub(super) fn slot_of(&self, id: RegionId) -> Option<Slot> {
        self.by_id.get(id)
    }

    #[must_use]
    pub fn get(&self, id: RegionId) -> Option<&Region> {
        self.by_id.get(id).map(|slot| self.at(slot))
    }

    /// All regions, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = &Region> + Clone {
        self.from(RegionId(0))
    }

    /// The regions with an id of at least `from`, by ascending id.
    pub fn from(&self, from: RegionId) -> impl Iterator<Item = &Region> + Clone {
        self.by_id.slots_from(from).map(|slot| self.at(slot))
    }

    /// Stores a region, in the place of one with the same id if there is one.
    pub fn put(&mut self, region: Region) {
        match self.slot_of(region.id()) {
            Some(slot) => self.replace(slot, region),
            None => {
                self.insert(region);
            }
        }
    }

    /// Takes a region out.
    pub fn remove(&mut self, id: RegionId) -> Option<Region> {
        let slot = self.by_id.remove(id)?;
        self.slots.release(slot.index());
        self.slots[slot.index()].0.take()
    }

    /// Reads the regions of some ids from memory, as a look at each of them soon will. Here no read waits for what another one
    /// found, so many are under way at once, and all take little longer than one.
    pub fn touch(&self, ids: impl Iterator<Item = RegionId>) {
        let slots: Vec<Slot> = ids.filter_map(|id| self.slot_of(id)).collect();
        slots.iter().for_each(|&slot| self.at(slot).touch());
    }

    /// The slots of all regions, by ascending id.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.by_id.slots_from(RegionId(0))
    }

    /// The region in a slot.
    ///
    /// # Panics
    ///
    /// When the slot is vacant.
    #[must_use]
    pub(super) fn at(&self, slot: Slot) -> &Region {
        let Place(region) = &self.slots[slot.index()];
        region.as_ref().expect("an index names slots that are in use")
    }

    /// Adds a region whose id is not there.
    ///
    /// # Panics
    ///
    /// When there are 2^32 - 1 regions.
    pub(super) fn insert(&mut self, region: Region) -> Slot {
        let id = region.id();
        let slot = Slot::new(self.slots.insert(Place(Some(region))));
        self.by_id.insert(id, slot);
        slot
    }

    /// Puts a region in the place of one with the same id.
    pub(super) fn replace(&mut self, slot: Slot, region: Region) {
        self.slots[slot.index()].0 = Some(region);
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        self.by_id.check_invariants();
        let mut used = vec![false; self.slots.places()];
        let mut mark = |at: usize| assert!(!std::mem::replace(&mut used[at], true), "slot {at} is used twice");
        let mut last = None;
        for slot in self.by_id.slots_from(RegionId(0)) {
            let id = self.at(slot).id();
            assert!(last < Some(id), "region {id} is not in order");
            assert_eq!(self.by_id.get(id), Some(slot), "region {id} is under another id");
            last = Some(id);
            mark(slot.index());
        }
        for &at in self.slots.vacant() {
            assert!(self.slots[at].0.is_none(), "slot {at} is vacant and holds a region");
            mark(at);
        }
        assert!(used.iter().all(|&used| used), "a slot that nobody knows");
    }
}

impl PartialEq for Regions {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Regions {}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Region> for Regions {
    fn from_iter<I: IntoIterator<Item = Region>>(regions: I) -> Self {
        let mut all = Self::default();
        regions.into_iter().for_each(|region| all.put(region));
        all
    }
}

impl From<Vec<Arc<Region>>> for Regions {
    fn from(regions: Vec<Arc<Region>>) -> Self {
        regions.into_iter().map(Arc::unwrap_or_clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::region::Epoch;

    fn region(id: u64, version: u64) -> Region {
        Region::new(RegionId(id), b"a", b"b", Epoch { version, conf_version: 0 }, [])
    }

    #[test]
    fn a_region_in_its_slot_is_two_cache_lines() {
        assert_eq!(size_of::<Region>(), 128);
        assert_eq!(size_of::<Place>(), 128);
    }

    #[test]
    fn a_slot_is_used_again_and_ids_stay_in_order() {
        let mut regions = Regions::default();
        let slots: Vec<_> = (1..=9).map(|id| regions.insert(region(id, 1))).collect();
        regions.replace(slots[6], region(7, 2));
        assert_eq!(regions.get(RegionId(7)), Some(&region(7, 2)));
        for id in [3, 9] {
            assert_eq!(regions.remove(RegionId(id)), Some(region(id, 1)));
            assert_eq!(regions.remove(RegionId(id)), None);
            regions.check_invariants();
        }
        assert_eq!(regions.len(), 7);
        let again: Vec<_> = [500_000, 3].map(|id| regions.insert(region(id, 1))).to_vec();
        assert_eq!(again, [slots[8], slots[2]]);
        regions.check_invariants();
        assert!(regions.from(RegionId(8)).map(Region::id).eq([RegionId(8), RegionId(500_000)]));
    }
}
