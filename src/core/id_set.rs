//! An ordered set of region ids that takes one to two bytes an id where ids are dense, ten at worst.
//!
//! ```text
//! Format of a block: per id, ascending, uvarint: the distance from the id before it, the first one from the block's bound
//! ```
//!
//! Invariants, asserted by [`IdSet::check_invariants`]:
//!
//! - the ids of a block are at least its bound and below the bound of the next block; the first bound is 0
//! - a block other than the first is not empty; none has more than [`BLOCK_BYTES_MAX`] bytes
//! - `last` is the highest id of the set, so that an id above all others is appended without reading a block

use std::collections::BTreeMap;

use super::region::RegionId;
use super::uvarint;

/// A full block is split. Every call but an append reads about one block.
const BLOCK_BYTES_MAX: usize = 256;
/// Room of a new block: doubled, it comes to that of a full one.
const BLOCK_BYTES_FIRST: usize = BLOCK_BYTES_MAX / 16;
/// Neighbours that have no more bytes than this together become one block.
const JOINED_BYTES_MAX: usize = BLOCK_BYTES_MAX / 2;

/// A set of region ids, ordered.
#[derive(Debug, Default)]
pub struct IdSet {
    /// The blocks by their bounds.
    blocks: BTreeMap<RegionId, Vec<u8>>,
    last: Option<RegionId>,
}

impl IdSet {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    #[must_use]
    pub fn first(&self) -> Option<RegionId> {
        self.iter_from(RegionId(0)).next()
    }

    /// The ids that are at least `from`, ascending.
    pub fn iter_from(&self, from: RegionId) -> impl Iterator<Item = RegionId> + '_ {
        let bound = self.bound_of(from).unwrap_or(from);
        self.blocks.range(bound..).flat_map(|(&bound, block)| ids(bound, block)).skip_while(move |&id| id < from)
    }

    /// Adds `id` unless it is there.
    pub fn insert(&mut self, id: RegionId) {
        if self.last < Some(id) {
            return self.append(id);
        }
        let bound = self.bound_of(id).expect("the first bound is 0 once there is an id");
        if self.blocks[&bound].len() + uvarint::LEN_MAX > BLOCK_BYTES_MAX {
            self.split(bound);
        }
        let (&bound, block) = self.blocks.range_mut(..=id).next_back().expect("a split keeps the lower bound");
        let place = Place::find(bound, block, id);
        if place.id == Some(id) {
            return;
        }
        let mut distances = Vec::with_capacity(2 * uvarint::LEN_MAX);
        uvarint::push(&mut distances, id.0 - place.before.0);
        if let Some(next) = place.id {
            uvarint::push(&mut distances, next.0 - id.0);
        }
        block.splice(place.start..place.end, distances);
    }

    /// Removes `id` if it is there.
    pub fn remove(&mut self, id: RegionId) {
        let Some((&bound, block)) = self.blocks.range_mut(..=id).next_back() else { return };
        let place = Place::find(bound, block, id);
        if place.id != Some(id) {
            return;
        }
        let mut rest = &block[place.end..];
        match uvarint::take(&mut rest) {
            Some(to_next) => {
                let end = block.len() - rest.len();
                let mut distance = Vec::with_capacity(uvarint::LEN_MAX);
                uvarint::push(&mut distance, id.0 - place.before.0 + to_next);
                block.splice(place.start..end, distance);
            }
            None => block.truncate(place.start),
        }
        self.join_with_next(bound);
        if let Some((&before, _)) = self.blocks.range(..bound).next_back() {
            self.join_with_next(before);
        }
        if self.last == Some(id) {
            self.last = self.blocks.last_key_value().and_then(|(&bound, block)| ids(bound, block).last());
        }
    }

    /// Adds an id above all others.
    fn append(&mut self, id: RegionId) {
        let before = self.last.replace(id).unwrap_or(RegionId(0));
        match self.blocks.last_entry() {
            Some(mut block) if block.get().len() + uvarint::LEN_MAX <= BLOCK_BYTES_MAX => {
                uvarint::push(block.get_mut(), id.0 - before.0);
            }
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK_BYTES_FIRST);
                block.push(0);
                self.blocks.insert(id, block);
            }
            None => {
                let block = self.blocks.entry(RegionId(0)).or_insert_with(|| Vec::with_capacity(BLOCK_BYTES_FIRST));
                uvarint::push(block, id.0);
            }
        }
    }

    /// The bound of the block that holds, or would hold, `id`.
    fn bound_of(&self, id: RegionId) -> Option<RegionId> {
        self.blocks.range(..=id).next_back().map(|(&bound, _)| bound)
    }

    /// Moves the upper half of a block into a block of its own.
    fn split(&mut self, bound: RegionId) {
        let block = self.blocks.get_mut(&bound).expect("the caller found this block");
        let (mut id, mut at) = (bound, 0);
        loop {
            let mut rest = &block[at..];
            id.0 += uvarint::take(&mut rest).expect("a full block has ids behind its middle");
            if at >= BLOCK_BYTES_MAX / 2 {
                let mut upper = vec![0];
                upper.extend_from_slice(rest);
                block.truncate(at);
                self.blocks.insert(id, upper);
                return;
            }
            at = block.len() - rest.len();
        }
    }

    /// Joins a block and the one behind it when they are small, or when the one behind it is empty.
    fn join_with_next(&mut self, bound: RegionId) {
        let mut from_here = self.blocks.range(bound..);
        let (_, block) = from_here.next().expect("the caller found this block");
        let Some((&next_bound, next)) = from_here.next() else { return };
        if !next.is_empty() && block.len() + next.len() > JOINED_BYTES_MAX {
            return;
        }
        let last = ids(bound, block).last().unwrap_or(bound);
        let next = self.blocks.remove(&next_bound).expect("seen above");
        let block = self.blocks.get_mut(&bound).expect("seen above");
        let mut rest = &next[..];
        if let Some(distance) = uvarint::take(&mut rest) {
            uvarint::push(block, next_bound.0 + distance - last.0);
            block.extend_from_slice(rest);
        }
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        let mut last = None;
        for (at, (&bound, block)) in self.blocks.iter().enumerate() {
            assert_eq!(at == 0, bound == RegionId(0), "the first bound, and no other, is 0");
            assert!(at == 0 || !block.is_empty(), "the block at {bound} is empty");
            assert!(block.len() <= BLOCK_BYTES_MAX, "the block at {bound} has {} bytes", block.len());
            assert!(last < Some(bound), "ids reach beyond the bound {bound}");
            for id in ids(bound, block) {
                assert!(last < Some(id), "{id} is not above the id before it");
                last = Some(id);
            }
        }
        assert_eq!(self.last, last, "`last` is not the highest id");
    }
}

/// The ids of a block.
fn ids(bound: RegionId, block: &[u8]) -> impl Iterator<Item = RegionId> + '_ {
    let (mut id, mut rest) = (bound, block);
    std::iter::from_fn(move || {
        id.0 += uvarint::take(&mut rest)?;
        Some(id)
    })
}

/// Where an id stands in a block, or would stand.
struct Place {
    /// The id in front of it, or the block's bound.
    before: RegionId,
    /// The first id that is not lower, and the bytes `start..end` of its distance.
    id: Option<RegionId>,
    start: usize,
    end: usize,
}

impl Place {
    fn find(bound: RegionId, block: &[u8], wanted: RegionId) -> Self {
        let (mut before, mut rest) = (bound, block);
        loop {
            let start = block.len() - rest.len();
            let Some(distance) = uvarint::take(&mut rest) else {
                return Self { before, id: None, start, end: start };
            };
            let id = RegionId(before.0 + distance);
            if id >= wanted {
                return Self { before, id: Some(id), start, end: block.len() - rest.len() };
            }
            before = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all(set: &IdSet) -> Vec<u64> {
        set.iter_from(RegionId(0)).map(|id| id.0).collect()
    }

    #[test]
    fn ids_in_any_order_come_back_ascending() {
        let orders: [fn(u64) -> u64; 3] = [|n| n + 1, |n| 5000 - n, |n| 1 + n * 2_654_435_761 % 5000];
        for order in orders {
            let mut set = IdSet::default();
            let mut expected = BTreeSet::new();
            for n in 0..5000 {
                set.insert(RegionId(order(n)));
                expected.insert(order(n));
            }
            set.check_invariants();
            assert_eq!(all(&set), expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn dense_ids_take_less_than_two_bytes_each() {
        let mut set = IdSet::default();
        (1..=100_000).for_each(|id| set.insert(RegionId(4 * id)));
        let bytes: usize = set.blocks.values().map(Vec::capacity).sum();
        assert!(bytes < 200_000, "{bytes} bytes for 100,000 ids");
    }

    #[test]
    fn blocks_that_empty_are_joined() {
        let mut set = IdSet::default();
        (1..=10_000).for_each(|id| set.insert(RegionId(id)));
        (1..=10_000).filter(|id| id % 1000 != 0).for_each(|id| set.remove(RegionId(id)));
        set.check_invariants();
        assert_eq!(set.blocks.len(), 1);
        assert_eq!(all(&set), (1..=10).map(|n| n * 1000).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            rng_seed: prop::test_runner::RngSeed::Fixed(3),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_agrees_with_an_ordered_set(
            steps in prop::collection::vec((any::<bool>(), prop_oneof![
                8 => 1..600_u64,
                2 => (0..64_u32, 0..3_u64).prop_map(|(shift, off)| (u64::MAX >> shift).saturating_sub(off)),
            ]), 0..800),
        ) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (add, id) in steps {
                if add {
                    set.insert(RegionId(id));
                    model.insert(id);
                } else {
                    set.remove(RegionId(id));
                    model.remove(&id);
                }
                set.check_invariants();
                prop_assert_eq!(set.first().map(|id| id.0), model.first().copied());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                let above: Vec<_> = set.iter_from(RegionId(id)).map(|id| id.0).take(3).collect();
                prop_assert_eq!(above, model.range(id..).copied().take(3).collect::<Vec<_>>());
            }
            prop_assert_eq!(all(&set), model.into_iter().collect::<Vec<_>>());
        }
    }
}
