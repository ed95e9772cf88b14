//! Regions by key range, made for lookups: three or four cache misses each with 100,000 regions.
//!
//! Sorted chunks of regions, in an array. A key is compared as a number: some of its bytes, those behind the prefix that all
//! keys in question share. Where that does not decide, whole keys are compared, which costs two cache misses more. Adding a
//! region moves memory, more of it the more regions there are: this is for many lookups and few changes.
//!
//! Invariants, asserted by `check_invariants`:
//!
//! - no two regions share a key, and each region holds one
//! - the start keys of a chunk rise, are at least its bound and below the bound of the next chunk; the bounds rise
//! - the first bound is the empty key; a chunk other than the first is not empty; none has more than [`CHUNK_LEN_MAX`] regions
//! - `prefix` is the longest that the bounds behind the first share; a chunk's `shared` is the length of the longest prefix
//!   that its bound and the next one share, hence all keys between them (0 for the last chunk)

use std::cmp::Ordering;
use std::sync::Arc;

use crate::core::{KeyRange, Region};

/// A full chunk is split.
const CHUNK_LEN_MAX: usize = 128;

/// Regions ordered by key.
#[derive(Debug)]
pub(super) struct RangeIndex {
    prefix: Box<[u8]>,
    /// [`hint`] of each chunk's bound behind the prefix, but the first one's.
    bounds: Vec<u64>,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Default)]
struct Chunk {
    bound: Box<[u8]>,
    shared: usize,
    /// [`hint`] of each start key behind the shared prefix.
    starts: Vec<u64>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// A key of this chunk with a lower hint is below the region's end.
    end: u64,
    region: Arc<Region>,
}

impl Default for RangeIndex {
    fn default() -> Self {
        Self { prefix: Box::default(), bounds: Vec::new(), chunks: vec![Chunk::default()] }
    }
}

impl RangeIndex {
    /// The region that holds `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Region>> {
        let at = self.chunk_of(key);
        let chunk = &self.chunks[at];
        let Some(last) = chunk.count_up_to(key).checked_sub(1) else {
            let before = self.chunks[..at].last().and_then(|chunk| chunk.entries.last());
            return before.map(|entry| &entry.region).filter(|region| region.range().contains(key));
        };
        let entry = &chunk.entries[last];
        let below_end = hint(key, chunk.shared) < entry.end || entry.region.range().contains(key);
        below_end.then_some(&entry.region)
    }

    /// The regions that share a key with `range`, in key order.
    pub(super) fn overlapping<'a>(&'a self, range: KeyRange<'a>) -> impl Iterator<Item = &'a Arc<Region>> {
        let at = self.chunk_of(range.start);
        let from = self.chunks[at].count_up_to(range.start);
        let before = match from.checked_sub(1) {
            Some(before) => self.chunks[at].entries.get(before),
            None => self.chunks[..at].last().and_then(|chunk| chunk.entries.last()),
        };
        let behind =
            self.chunks[at].entries[from..].iter().chain(self.chunks[at + 1..].iter().flat_map(|chunk| &chunk.entries));
        let behind = behind.take_while(move |entry| range.overlaps(&entry.region.range()));
        let before = before.into_iter().filter(move |entry| range.overlaps(&entry.region.range()));
        before.chain(behind).map(|entry| &entry.region)
    }

    /// Adds a region. It holds a key, and none that another one holds.
    pub(super) fn insert(&mut self, region: Arc<Region>) {
        let mut at = self.chunk_of(region.start_key());
        if self.chunks[at].entries.len() == CHUNK_LEN_MAX {
            self.split(at, region.start_key());
            at = self.chunk_of(region.start_key());
        }
        self.chunks[at].insert(region);
    }

    /// Removes the region with this start key.
    pub(super) fn remove(&mut self, start_key: &[u8]) {
        let at = self.chunk_of(start_key);
        let chunk = &mut self.chunks[at];
        let found = chunk.count_up_to(start_key).checked_sub(1);
        let Some(found) = found.filter(|found| chunk.entries[*found].region.start_key() == start_key) else { return };
        chunk.starts.remove(found);
        chunk.entries.remove(found);
        if chunk.entries.is_empty() && at > 0 {
            self.chunks.remove(at);
            self.set_shared(at - 1);
            self.set_bounds();
        }
    }

    /// The chunk whose bounds `key` is between.
    fn chunk_of(&self, key: &[u8]) -> usize {
        match key[..key.len().min(self.prefix.len())].cmp(&self.prefix) {
            Ordering::Less => 0,
            Ordering::Greater => self.bounds.len(),
            Ordering::Equal => {
                let hint = hint(key, self.prefix.len());
                count_up_to(&self.bounds, hint, |at| *self.chunks[at + 1].bound <= *key)
            }
        }
    }

    /// Splits a full chunk so that `key` has room: in the middle, but at `key` when that is above every start key, so that
    /// keys that come in order fill the chunks.
    fn split(&mut self, at: usize, key: &[u8]) {
        let chunk = &mut self.chunks[at];
        let is_last = at == self.bounds.len();
        let middle = if is_last && chunk.count_up_to(key) == CHUNK_LEN_MAX { CHUNK_LEN_MAX } else { CHUNK_LEN_MAX / 2 };
        let entries = chunk.entries.split_off(middle);
        chunk.starts.truncate(middle);
        let bound = entries.first().map_or(key, |entry| entry.region.start_key()).into();
        self.chunks.insert(at + 1, Chunk { bound, entries, ..Chunk::default() });
        self.set_shared(at);
        self.set_shared(at + 1);
        self.set_bounds();
    }

    /// Brings a chunk up to its bounds.
    fn set_shared(&mut self, at: usize) {
        let shared = self.chunks.get(at + 1).map_or(0, |next| shared_len(&self.chunks[at].bound, &next.bound));
        let chunk = &mut self.chunks[at];
        chunk.shared = shared;
        chunk.starts = chunk.entries.iter().map(|entry| hint(entry.region.start_key(), shared)).collect();
        chunk.entries.iter_mut().for_each(|entry| entry.end = end_hint(&entry.region, shared));
    }

    /// Brings `prefix` and `bounds` up to the chunks.
    fn set_bounds(&mut self) {
        let behind_first = &self.chunks[1..];
        self.prefix = match behind_first {
            [first, .., last] => first.bound[..shared_len(&first.bound, &last.bound)].into(),
            [] | [_] => Box::default(),
        };
        self.bounds = behind_first.iter().map(|chunk| hint(&chunk.bound, self.prefix.len())).collect();
    }

    /// Asserts every invariant of this file.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.chunks[0].bound.is_empty());
        assert_eq!(self.bounds.len() + 1, self.chunks.len());
        for (bound, chunk) in self.bounds.iter().zip(&self.chunks[1..]) {
            assert!(chunk.bound.starts_with(&self.prefix));
            assert_eq!(*bound, hint(&chunk.bound, self.prefix.len()));
            assert!(!chunk.entries.is_empty());
        }
        let mut before: Option<&Region> = None;
        for (at, chunk) in self.chunks.iter().enumerate() {
            let upper = self.chunks.get(at + 1).map(|next| &next.bound);
            assert!(upper.is_none_or(|upper| chunk.bound < *upper));
            assert_eq!(chunk.shared, upper.map_or(0, |upper| shared_len(&chunk.bound, upper)));
            assert!(chunk.entries.len() <= CHUNK_LEN_MAX && chunk.entries.len() == chunk.starts.len());
            for (start, entry) in chunk.starts.iter().zip(&chunk.entries) {
                let range = entry.region.range();
                assert!(range.is_well_formed(), "{range:?} holds no key");
                assert!(*chunk.bound <= *range.start && upper.is_none_or(|upper| *range.start < **upper), "{range:?}");
                assert!(before.is_none_or(|before| before.start_key() < range.start), "{before:?}, {range:?}");
                assert!(before.is_none_or(|before| !before.range().overlaps(&range)), "{before:?}, {range:?}");
                assert_eq!(
                    (*start, entry.end),
                    (hint(range.start, chunk.shared), end_hint(&entry.region, chunk.shared))
                );
                before = Some(&entry.region);
            }
        }
    }

    /// All regions in key order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.chunks.iter().flat_map(|chunk| &chunk.entries).map(|entry| &entry.region)
    }
}

impl Chunk {
    /// How many of the start keys are not above `key`, which is between the chunk's bounds.
    fn count_up_to(&self, key: &[u8]) -> usize {
        count_up_to(&self.starts, hint(key, self.shared), |at| self.entries[at].region.start_key() <= key)
    }

    fn insert(&mut self, region: Arc<Region>) {
        let at = self.count_up_to(region.start_key());
        self.starts.insert(at, hint(region.start_key(), self.shared));
        self.entries.insert(at, Entry { end: end_hint(&region, self.shared), region });
    }
}

/// How many of some keys are not above the one whose hint is `wanted`: by their hints, and where those are equal by
/// `is_not_above`, which is asked by the key's place.
fn count_up_to(hints: &[u64], wanted: u64, is_not_above: impl Fn(usize) -> bool) -> usize {
    let below = hints.partition_point(|hint| *hint < wanted);
    let equal = hints[below..].iter().take_while(|hint| **hint == wanted).count();
    let (mut low, mut high) = (below, below + equal);
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_not_above(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Seven bytes of `key` behind its first `skip`, and how many there are (more than seven: eight), as a number that is ordered
/// like the keys. The count tells a border from the keys behind it that begin with it, even when they go on with zeros.
fn hint(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes) & !0xff | 8;
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes) | u64::try_from(rest.len()).expect("seven at most")
}

/// [`hint`] of a region's end, whose start has the shared prefix. An end without it is above every key that has it.
fn end_hint(region: &Region, shared: usize) -> u64 {
    let (start, end) = (region.start_key(), region.end_key());
    if !end.is_empty() && end.starts_with(&start[..shared]) { hint(end, shared) } else { u64::MAX }
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
    use crate::core::{Epoch, RegionId};

    fn region(start: &[u8], end: &[u8]) -> Arc<Region> {
        Arc::new(Region::new(RegionId(1), start, end, Epoch::default(), []))
    }

    #[test]
    fn keys_in_order_fill_the_chunks() {
        let mut index = RangeIndex::default();
        (0..1280_u64).for_each(|n| index.insert(region(&n.to_be_bytes(), &(n + 1).to_be_bytes())));
        index.check_invariants();
        assert_eq!(index.chunks.len(), 10);
    }

    #[test]
    fn a_region_reaches_over_the_bounds_of_chunks() {
        let mut index = RangeIndex::default();
        let key = |n: u16| n.to_be_bytes();
        (0..1280).rev().for_each(|n| index.insert(region(&key(n), &key(n + 1))));
        (300..900).for_each(|n| index.remove(&key(n)));
        index.insert(region(&key(300), &key(900)));
        index.check_invariants();
        for n in 0..1281 {
            let start = index.get(&key(n)).map(|region| region.start_key().to_vec());
            let expected = if (300..900).contains(&n) { 300 } else { n };
            assert_eq!(start, (n < 1280).then(|| key(expected).to_vec()));
        }
        assert_eq!(index.overlapping(KeyRange { start: &key(299), end: &key(901) }).count(), 3);
    }

    #[test]
    fn hints_are_ordered_like_keys() {
        let letters = [0, 1, 0xff];
        let mut keys = vec![vec![]];
        for len in 0..9 {
            let longer = keys.iter().filter(|key: &&Vec<u8>| key.len() == len).cloned().collect::<Vec<_>>();
            keys.extend(longer.iter().flat_map(|key| letters.map(|letter| [&key[..], &[letter]].concat())));
        }
        keys.sort();
        assert!(keys.windows(2).all(|pair| hint(&pair[0], 0) <= hint(&pair[1], 0)));
        assert!(hint(b"border", 0) < hint(b"border\0", 0));
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
        /// Borders come and go; between each and the next there is a region, but for some gaps.
        #[test]
        fn it_agrees_with_an_ordered_map(steps in prop::collection::vec((0..5_u8, key(), key()), 0..2000)) {
            let mut index = RangeIndex::default();
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (at, (kind, key, probe)) in steps.into_iter().enumerate() {
                let overlapping: Vec<_> = index.overlapping(KeyRange { start: &key, end: &probe }).map(Arc::clone).collect();
                let expected = model.iter().filter(|(start, end)| {
                    (probe.is_empty() || **start < probe) && (end.is_empty() || **end > key)
                });
                if probe.is_empty() || key < probe {
                    prop_assert!(overlapping.iter().map(|region| region.start_key()).eq(expected.map(|(start, _)| &start[..])));
                }
                let whole = index.get(&key).map(Arc::clone);
                match whole {
                    Some(whole) if kind > 0 => {
                        index.remove(whole.start_key());
                        model.remove(whole.start_key());
                        let left = (whole.start_key(), &key[..]);
                        let right = (&key[..], whole.end_key());
                        for (start, end) in [left, right].into_iter().skip(usize::from(left.0 == left.1)) {
                            index.insert(region(start, end));
                            model.insert(start.to_vec(), end.to_vec());
                        }
                    }
                    Some(whole) => {
                        index.remove(whole.start_key());
                        model.remove(whole.start_key());
                    }
                    None => {
                        let end = model.range(key.clone()..).next().map_or(Vec::new(), |(start, _)| start.clone());
                        index.insert(region(&key, &end));
                        model.insert(key.clone(), end);
                    }
                }
                if at % 64 == 0 {
                    index.check_invariants();
                }
                let found = index.get(&probe).map(|region| region.start_key().to_vec());
                let before = model.range(..=probe.clone()).next_back();
                let expected = before.filter(|(_, end)| end.is_empty() || probe < **end).map(|(start, _)| start.clone());
                prop_assert_eq!(found, expected);
            }
            index.check_invariants();
            prop_assert!(index.iter().map(|region| region.start_key()).eq(model.keys()));
        }
    }
}
