//! The regions by start key: a tree of sorted chunks.
//!
//! A chunk keeps, beside each region, eight bytes of its start key as a number: those behind the prefix that all keys of the
//! chunk share. A search compares these and reads a key itself, two cache misses away, only where they are equal.
//!
//! Invariants, asserted by [`KeyIndex::check_invariants`]:
//!
//! - the start keys of a chunk rise strictly, are at least its bound and below the bound of the next chunk
//! - the first bound is the empty key; a chunk other than the first is not empty; none has more than [`CHUNK_LEN_MAX`] regions
//! - `shared` is the length of the longest prefix that a chunk's bound and the next one share, hence all keys between them
//!   (0 for the last chunk); `hint` is [`hint`] of the bytes behind it

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::region::Region;

/// A full chunk is split.
const CHUNK_LEN_MAX: usize = 128;
/// Neighbours that have no more regions than this together become one chunk.
const JOINED_LEN_MAX: usize = CHUNK_LEN_MAX / 2;

/// Regions ordered by start key; no two have the same.
#[derive(Debug)]
pub struct KeyIndex {
    /// The chunks by their bounds.
    chunks: BTreeMap<Box<[u8]>, Chunk>,
}

#[derive(Debug, Default)]
struct Chunk {
    shared: usize,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    hint: u64,
    region: Arc<Region>,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self { chunks: BTreeMap::from([(Box::default(), Chunk::default())]) }
    }
}

impl KeyIndex {
    /// Builds an index of full chunks from regions whose start keys rise strictly.
    #[must_use]
    pub fn from_sorted(regions: &[Arc<Region>]) -> Self {
        let slices = || regions.chunks(CHUNK_LEN_MAX);
        let uppers = slices().skip(1).map(|slice| Some(slice[0].start_key())).chain([None]);
        let chunks = slices().zip(uppers).enumerate().map(|(at, (slice, upper))| {
            let bound = if at == 0 { &[][..] } else { slice[0].start_key() };
            let mut chunk = Chunk::default();
            chunk.entries.extend(slice.iter().map(|region| Entry { hint: 0, region: Arc::clone(region) }));
            chunk.set_bounds(bound, upper);
            (Box::from(bound), chunk)
        });
        if regions.is_empty() { Self::default() } else { Self { chunks: chunks.collect() } }
    }

    /// Sorts regions by start key. Most comparisons need only 16 bytes that lie beside the region's address.
    #[must_use]
    pub fn sort(regions: &[Arc<Region>]) -> Vec<Arc<Region>> {
        let Some(first) = regions.first().map(|region| region.start_key()) else { return Vec::new() };
        let shared = regions.iter().map(|region| shared_len(first, region.start_key())).min().unwrap_or(0);
        let hints = |key: &[u8]| (hint(key, shared), hint(key, key.len().min(shared + 8)));
        let mut keyed: Vec<_> = regions.iter().map(|region| (hints(region.start_key()), Arc::clone(region))).collect();
        keyed.sort_unstable_by(|(a_hints, a), (b_hints, b)| {
            a_hints.cmp(b_hints).then_with(|| a.start_key().cmp(b.start_key()))
        });
        keyed.into_iter().map(|(_, region)| region).collect()
    }

    /// All regions in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.chunks.values().flat_map(|chunk| &chunk.entries).map(|entry| &entry.region)
    }

    /// The region with the highest start key that is not above `key`.
    #[must_use]
    pub fn at_or_before(&self, key: &[u8]) -> Option<&Arc<Region>> {
        let mut down_from_key = self.chunks.range::<[u8], _>((Unbounded, Included(key)));
        let (_, chunk) = down_from_key.next_back().expect("the first bound is the empty key");
        let entry = match chunk.search(key) {
            Ok(at) => Some(&chunk.entries[at]),
            Err(0) => down_from_key.next_back().and_then(|(_, before)| before.entries.last()),
            Err(at) => Some(&chunk.entries[at - 1]),
        };
        entry.map(|entry| &entry.region)
    }

    /// The regions with a start key above `key`, in key order.
    pub fn above(&self, key: &[u8]) -> impl Iterator<Item = &Arc<Region>> {
        let (_, chunk) = self.chunk_of(key);
        let at = chunk.search(key).map_or_else(|at| at, |at| at + 1);
        let further = self.chunks.range::<[u8], _>((Excluded(key), Unbounded)).flat_map(|(_, chunk)| &chunk.entries);
        chunk.entries[at..].iter().chain(further).map(|entry| &entry.region)
    }

    /// Adds a region, in the place of one with the same start key if there is one.
    pub fn put(&mut self, region: Arc<Region>) {
        let (bound, chunk) = self.chunk_of_mut(region.start_key());
        let hint = hint(region.start_key(), chunk.shared);
        match chunk.search(region.start_key()) {
            Ok(at) => chunk.entries[at].region = region,
            Err(at) if chunk.entries.len() < CHUNK_LEN_MAX => chunk.entries.insert(at, Entry { hint, region }),
            Err(_) => {
                let bound = Box::from(bound);
                self.split(&bound, region.start_key());
                self.put(region);
            }
        }
    }

    /// Removes the region with this start key.
    pub fn remove(&mut self, start_key: &[u8]) {
        let (bound, chunk) = self.chunk_of_mut(start_key);
        let Ok(at) = chunk.search(start_key) else { return };
        chunk.entries.remove(at);
        if chunk.entries.len() <= JOINED_LEN_MAX {
            let bound: Box<[u8]> = Box::from(bound);
            self.join_with_next(&bound);
            let before = self.chunks.range::<[u8], _>((Unbounded, Excluded(&bound[..]))).next_back();
            if let Some(before) = before.map(|(before, _)| before.clone()) {
                self.join_with_next(&before);
            }
        }
    }

    fn chunk_of(&self, key: &[u8]) -> (&[u8], &Chunk) {
        let found = self.chunks.range::<[u8], _>((Unbounded, Included(key))).next_back();
        let (bound, chunk) = found.expect("the first bound is the empty key");
        (bound, chunk)
    }

    fn chunk_of_mut(&mut self, key: &[u8]) -> (&[u8], &mut Chunk) {
        let found = self.chunks.range_mut::<[u8], _>((Unbounded, Included(key))).next_back();
        let (bound, chunk) = found.expect("the first bound is the empty key");
        (bound, chunk)
    }

    /// Splits a full chunk so that `key` has room: in the middle, but at `key` when that is above every start key, so that
    /// keys that come in order fill the chunks.
    fn split(&mut self, bound: &[u8], key: &[u8]) {
        let next_bound = self.bound_behind(bound);
        let chunk = self.chunks.get_mut(bound).expect("the caller found this chunk");
        let above_all = next_bound.is_none() && chunk.search(key) == Err(CHUNK_LEN_MAX);
        let mut upper = Chunk::default();
        if !above_all {
            upper.entries = chunk.entries.split_off(CHUNK_LEN_MAX / 2);
        }
        let middle: Box<[u8]> = Box::from(upper.entries.first().map_or(key, |entry| entry.region.start_key()));
        chunk.set_bounds(bound, Some(&middle));
        upper.set_bounds(&middle, next_bound.as_deref());
        self.chunks.insert(middle, upper);
    }

    /// Joins a chunk and the one behind it when they are small, or when the one behind it is empty.
    fn join_with_next(&mut self, bound: &[u8]) {
        let Some(next_bound) = self.bound_behind(bound) else { return };
        let (len, next_len) = (self.chunks[bound].entries.len(), self.chunks[&next_bound].entries.len());
        if next_len > 0 && len + next_len > JOINED_LEN_MAX {
            return;
        }
        let next = self.chunks.remove(&next_bound).expect("seen above");
        let behind = self.bound_behind(bound);
        let chunk = self.chunks.get_mut(bound).expect("seen above");
        chunk.entries.extend(next.entries);
        chunk.set_bounds(bound, behind.as_deref());
    }

    /// The bound of the chunk behind the one at `bound`.
    fn bound_behind(&self, bound: &[u8]) -> Option<Box<[u8]>> {
        self.chunks.range::<[u8], _>((Excluded(bound), Unbounded)).next().map(|(bound, _)| bound.clone())
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        let mut previous: Option<&[u8]> = None;
        for (at, (bound, chunk)) in self.chunks.iter().enumerate() {
            let upper = self.bound_behind(bound);
            assert_eq!(at == 0, bound.is_empty(), "the first bound, and no other, is the empty key");
            assert!(at == 0 || !chunk.entries.is_empty(), "the chunk at {bound:x?} is empty");
            assert!(chunk.entries.len() <= CHUNK_LEN_MAX, "the chunk at {bound:x?} is too long");
            assert_eq!(chunk.shared, upper.as_deref().map_or(0, |upper| shared_len(bound, upper)));
            for entry in &chunk.entries {
                let key = entry.region.start_key();
                assert!(&bound[..] <= key && upper.as_deref().is_none_or(|upper| key < upper), "{key:x?}: wrong chunk");
                assert!(previous < Some(key), "{key:x?} is not above the key before it");
                assert_eq!(entry.hint, hint(key, chunk.shared), "{key:x?} has a wrong hint");
                previous = Some(key);
            }
        }
    }
}

impl Chunk {
    /// The place of a start key, or where it would go. `key` is between the chunk's bounds.
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let wanted = hint(key, self.shared);
        self.entries.binary_search_by(|entry| entry.hint.cmp(&wanted).then_with(|| entry.region.start_key().cmp(key)))
    }

    /// Says that all keys are in `lower..upper`.
    fn set_bounds(&mut self, lower: &[u8], upper: Option<&[u8]>) {
        self.shared = upper.map_or(0, |upper| shared_len(lower, upper));
        for entry in &mut self.entries {
            entry.hint = hint(entry.region.start_key(), self.shared);
        }
    }
}

/// Eight bytes of `key` behind its first `skip` as a number that is ordered like the keys (a shorter key reads as zeros).
fn hint(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    let mut bytes = [0; 8];
    let len = rest.len().min(bytes.len());
    bytes[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(bytes)
}

/// The length of the longest prefix of both keys.
fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::core::region::{Epoch, RegionId};

    fn region(id: u64, start: &[u8]) -> Arc<Region> {
        Arc::new(Region::new(RegionId(id), start, b"", Epoch::default(), []))
    }

    #[test]
    fn keys_in_order_fill_the_chunks() {
        let mut index = KeyIndex::default();
        (0..1280_u64).for_each(|n| index.put(region(n, &n.to_be_bytes())));
        index.check_invariants();
        assert_eq!(index.chunks.len(), 10);
    }

    #[test]
    fn a_bulk_build_is_the_same_as_single_puts() {
        for len in [0, 1, 127, 128, 129, 1000_u64] {
            let regions: Vec<_> = (0..len).map(|n| region(n, &n.to_be_bytes())).collect();
            let index = KeyIndex::from_sorted(&regions);
            index.check_invariants();
            assert!(index.iter().eq(&regions));
        }
    }

    #[test]
    fn chunks_that_empty_are_joined() {
        let key = |n: u64| n.to_be_bytes();
        let mut index = KeyIndex::default();
        (0..1000).for_each(|n| index.put(region(n, &key(n))));
        (0..1000).filter(|n| n % 100 != 7).for_each(|n| index.remove(&key(n)));
        index.check_invariants();
        assert_eq!(index.chunks.len(), 1);
        assert!(index.iter().map(|region| region.id().0).eq((0..10).map(|n| 100 * n + 7)));
    }

    #[test]
    fn regions_are_sorted_by_their_whole_start_keys() {
        let tails: [&[u8]; 8] =
            [b"", b"\0", b"\0\0", b"12345678", b"1234567812345678", b"1234567812345678a", b"a", b"\xff"];
        for prefix in [&b""[..], b"a", b"t\0\0\0\0\0\0\x01_r"] {
            let key = |at: usize| [prefix, tails[at]].concat();
            let shuffled: Vec<_> = [5, 0, 7, 2, 4, 1, 6, 3].map(|at: usize| region(0, &key(at))).to_vec();
            let sorted: Vec<_> = KeyIndex::sort(&shuffled).iter().map(|region| region.start_key().to_vec()).collect();
            assert_eq!(sorted, (0..8).map(key).collect::<Vec<_>>());
        }
        assert!(KeyIndex::sort(&[]).is_empty());
    }

    /// Few letters, long common prefixes, prefixes of one another: equal hints are frequent.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        (0..4_usize, prop::collection::vec(prop_oneof![Just(0), Just(1), Just(b'a'), Just(255)], 0..12))
            .prop_map(|(repeat, tail)| [&b"t\0\0\0\0\0\0\x01_r".repeat(repeat), &tail[..]].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 60,
            rng_seed: prop::test_runner::RngSeed::Fixed(4),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_agrees_with_an_ordered_map(steps in prop::collection::vec((0..4_u8, key()), 0..2000)) {
            let (mut index, mut model) = (KeyIndex::default(), BTreeMap::new());
            for (at, (kind, key)) in (0..).zip(steps) {
                if kind > 0 {
                    index.put(region(at, &key));
                    model.insert(key.clone(), at);
                } else {
                    let victim = model.range(key.clone()..).next().map_or(key.clone(), |(key, _)| key.clone());
                    index.remove(&victim);
                    model.remove(&victim);
                }
                if at % 64 == 0 {
                    index.check_invariants();
                }
                let before = index.at_or_before(&key).map(|region| region.id().0);
                prop_assert_eq!(before, model.range(..=key.clone()).next_back().map(|(_, &id)| id));
                let above: Vec<_> = index.above(&key).map(|region| region.id().0).take(3).collect();
                let expected: Vec<_> = model.range((Excluded(key), Unbounded)).map(|(_, &id)| id).take(3).collect();
                prop_assert_eq!(above, expected);
            }
            index.check_invariants();
            prop_assert!(index.iter().map(|region| region.id().0).eq(model.into_values()));
        }
    }
}
