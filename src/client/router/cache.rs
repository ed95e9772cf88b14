//! The regions that a router knows, by key range and by id.
//!
//! Invariant, asserted by `check_invariants`: both indexes hold the same regions. No two of them share a key
//! (`index.rs`).
//!
//! # Which of two regions stays
//!
//! A region that comes in meets the known one of its id, and those of other ids that it overlaps. It is **older** when the
//! known one of its id has a higher epoch, or when one that it overlaps has a higher version: splits and merges raise the
//! version, so of two regions that claim a key the higher version is the later claim. An older region changes nothing.
//! Otherwise it takes the place of all of them; on a tie what comes in later is right, as with the PD itself.
//!
//! What is left behind by a PD that forgot it (a region that was removed and came again with a lower epoch, a merge that did not
//! raise the version above both halves) goes when a store refuses it: see [`Cache::invalidate`].

use std::collections::HashMap;
use std::sync::Arc;

use super::index::RangeIndex;
use crate::core::{Epoch, Region, RegionId};

/// The regions that a router knows.
#[derive(Debug, Default)]
pub(super) struct Cache {
    by_key: RangeIndex,
    by_id: HashMap<RegionId, Arc<Region>>,
}

impl Cache {
    /// The region that holds `key`, if it is known.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Region>> {
        self.by_key.get(key)
    }

    /// Takes a region in, in the place of those that it replaces, unless it is older.
    pub(super) fn put(&mut self, region: Arc<Region>) {
        let range = region.range();
        let known = self.by_id.get(&region.id());
        if !range.is_well_formed() || known.is_some_and(|known| known.epoch() > region.epoch()) {
            return;
        }
        let overlapped: Vec<Arc<Region>> =
            self.by_key.overlapping(range).filter(|other| other.id() != region.id()).map(Arc::clone).collect();
        if overlapped.iter().any(|other| other.epoch().version > region.epoch().version) {
            return;
        }
        let replaced: Vec<RegionId> = overlapped.iter().map(|other| other.id()).chain([region.id()]).collect();
        replaced.into_iter().for_each(|id| self.remove(id));
        self.by_id.insert(region.id(), Arc::clone(&region));
        self.by_key.insert(region);
    }

    /// Forgets a region, unless it is known with an epoch above `epoch`.
    pub(super) fn invalidate(&mut self, id: RegionId, epoch: Epoch) {
        if self.by_id.get(&id).is_some_and(|region| region.epoch() <= epoch) {
            self.remove(id);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn remove(&mut self, id: RegionId) {
        if let Some(region) = self.by_id.remove(&id) {
            self.by_key.remove(region.start_key());
        }
    }

    /// Asserts every invariant of this file.
    #[cfg(test)]
    fn check_invariants(&self) {
        self.by_key.check_invariants();
        assert_eq!(self.by_key.iter().count(), self.by_id.len(), "the indexes differ");
        for region in self.by_key.iter() {
            assert!(Arc::ptr_eq(region, &self.by_id[&region.id()]), "{region:?}: the indexes differ");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(id: u64, start: &[u8], end: &[u8], epoch: (u64, u64)) -> Region {
        let (version, conf_version) = epoch;
        Region::new(RegionId(id), start, end, Epoch { version, conf_version }, [])
    }

    /// A cache of these regions: id, start, end, version.
    fn cache(regions: &[(u64, &str, &str, u64)]) -> Cache {
        let mut cache = Cache::default();
        for &(id, start, end, version) in regions {
            cache.put(Arc::new(region(id, start.as_bytes(), end.as_bytes(), (version, 1))));
            cache.check_invariants();
        }
        cache
    }

    /// Id and version at each of `keys`; 0 where there is none.
    fn at<const N: usize>(cache: &Cache, keys: [&str; N]) -> [(u64, u64); N] {
        keys.map(|key| cache.get(key.as_bytes()).map_or((0, 0), |region| (region.id().0, region.epoch().version)))
    }

    #[test]
    fn a_half_of_a_split_evicts_the_whole_and_the_late_whole_stays_out() {
        let mut split = cache(&[(1, "", "", 1), (2, "m", "", 2)]);
        assert_eq!(at(&split, ["a", "m"]), [(0, 0), (2, 2)]);
        split.put(Arc::new(region(1, b"", b"", (1, 1))));
        assert_eq!(at(&split, ["a", "m"]), [(0, 0), (2, 2)]);
        split.put(Arc::new(region(1, b"", b"m", (2, 1))));
        assert_eq!(at(&split, ["a", "m"]), [(1, 2), (2, 2)]);
    }

    #[test]
    fn a_merged_region_evicts_both_halves_and_a_late_half_stays_out() {
        let mut merged = cache(&[(1, "a", "m", 5), (2, "m", "z", 7), (1, "a", "z", 8)]);
        assert_eq!((at(&merged, ["a", "m"]), merged.len()), ([(1, 8), (1, 8)], 1));
        merged.put(Arc::new(region(2, b"m", b"z", (7, 1))));
        assert_eq!(at(&merged, ["a", "m"]), [(1, 8), (1, 8)]);
    }

    #[test]
    fn a_merge_that_does_not_rise_above_both_halves_waits_for_the_store_to_refuse_the_other() {
        let mut merged = cache(&[(1, "a", "m", 5), (2, "m", "z", 7), (1, "a", "z", 6)]);
        assert_eq!(at(&merged, ["a", "m"]), [(1, 5), (2, 7)]);
        merged.invalidate(RegionId(2), Epoch { version: 7, conf_version: 1 });
        merged.put(Arc::new(region(1, b"a", b"z", (6, 1))));
        assert_eq!(at(&merged, ["a", "m"]), [(1, 6), (1, 6)]);
    }

    #[test]
    fn a_region_that_moves_leaves_its_old_place() {
        let moved = cache(&[(1, "a", "c", 1), (2, "c", "e", 1), (3, "e", "", 1), (1, "d", "f", 1)]);
        assert_eq!(at(&moved, ["a", "c", "d", "f"]), [(0, 0), (0, 0), (1, 1), (0, 0)]);
        assert_eq!(moved.len(), 1);
    }

    #[test]
    fn only_what_is_not_newer_is_invalidated() {
        let mut cache = Cache::default();
        cache.put(Arc::new(region(1, b"", b"", (2, 3))));
        for (id, version, conf_version) in [(1, 1, 9), (1, 2, 2), (2, 9, 9)] {
            cache.invalidate(RegionId(id), Epoch { version, conf_version });
            assert_eq!(cache.len(), 1, "{id} {version}/{conf_version}");
        }
        cache.invalidate(RegionId(1), Epoch { version: 2, conf_version: 3 });
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_region_without_a_key_is_not_kept() {
        assert_eq!(cache(&[(1, "m", "a", 1), (2, "b", "b", 1)]).len(), 0);
    }

    /// The same in words: a plain list.
    #[derive(Default)]
    struct List(Vec<Region>);

    impl List {
        fn put(&mut self, region: Region) {
            let meets = |other: &Region| other.id() == region.id() || other.range().overlaps(&region.range());
            let later = |other: &Region| match other.id() == region.id() {
                true => other.epoch() > region.epoch(),
                false => other.epoch().version > region.epoch().version,
            };
            let holds_a_key = region.end_key().is_empty() || region.start_key() < region.end_key();
            if holds_a_key && !self.0.iter().any(|other| meets(other) && later(other)) {
                self.0.retain(|other| !meets(other));
                self.0.push(region);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put { id: u64, start: u8, end: u8, epoch: (u64, u64) },
        Invalidate { id: u64, epoch: (u64, u64) },
    }

    fn step() -> impl Strategy<Value = Step> {
        let epoch = || (0..5_u64, 0..3_u64);
        prop_oneof![
            4 => (1..12_u64, 0..16_u8, 0..16_u8, epoch())
                .prop_map(|(id, start, end, epoch)| Step::Put { id, start, end, epoch }),
            1 => (1..12_u64, epoch()).prop_map(|(id, epoch)| Step::Invalidate { id, epoch }),
        ]
    }

    /// 0 is no border.
    fn border(number: u8) -> Vec<u8> {
        if number == 0 { Vec::new() } else { vec![b'k', number] }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 400,
            rng_seed: prop::test_runner::RngSeed::Fixed(11),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_agrees_with_a_plain_list(steps in prop::collection::vec(step(), 0..120)) {
            let (mut cache, mut list) = (Cache::default(), List::default());
            for step in steps {
                match step {
                    Step::Put { id, start, end, epoch } => {
                        let region = region(id, &border(start), &border(end), epoch);
                        cache.put(Arc::new(region.clone()));
                        list.put(region);
                    }
                    Step::Invalidate { id, epoch: (version, conf_version) } => {
                        let epoch = Epoch { version, conf_version };
                        cache.invalidate(RegionId(id), epoch);
                        list.0.retain(|region| region.id().0 != id || region.epoch() > epoch);
                    }
                }
                cache.check_invariants();
                prop_assert_eq!(cache.len(), list.0.len());
                for number in 0..17 {
                    let key = border(number);
                    let listed = list.0.iter().find(|region| region.range().contains(&key));
                    prop_assert_eq!(cache.get(&key).map(AsRef::as_ref), listed);
                }
            }
        }
    }
}
