//! The regions by start key: a tree of slots, whose nodes are in `key_node.rs`.
//!
//! The keys stay with their regions; the tree keeps eight bytes of each. With a million regions a search reads two branches,
//! which stay in the processor's own cache, a few lines of a leaf, and then the region that it was for.
//!
//! Invariants, asserted by [`KeyIndex::check_invariants`]: those of the nodes, and a root that is a branch has two children.

use super::key_node::{Bounds, Leaf, NODE_LEN_MAX, Node, hint, shared_len};
use super::region::Region;
use super::regions::{Regions, Slot};

/// Where the keys of all regions are.
const EVERYWHERE: Bounds<'static> = Bounds { lower: &[], upper: None };

/// Slots of regions ordered by start key; no two have the same. Each call is given the regions that the slots are of.
#[derive(Debug, Default)]
pub struct KeyIndex {
    root: Node,
}

impl KeyIndex {
    /// Builds an index of full nodes from regions whose start keys rise strictly.
    #[must_use]
    pub fn from_sorted(slots: &[Slot], regions: &Regions) -> Self {
        let key = |slot: Slot| regions.at(slot).start_key();
        let mut leaves = slots.chunks(NODE_LEN_MAX).peekable();
        let mut lower = &[][..];
        let mut level: Vec<(Box<[u8]>, Node)> = Vec::new();
        while let Some(slots) = leaves.next() {
            let upper = leaves.peek().map(|next| key(next[0]));
            level.push((lower.into(), Node::leaf_within(Bounds { lower, upper }, slots, regions)));
            lower = upper.unwrap_or_default();
        }
        while level.len() > 1 {
            let mut below = level.into_iter();
            level = Vec::new();
            while let Some((lower, first)) = below.next() {
                let (mut bounds, mut nodes) = (Vec::new(), vec![first]);
                for (bound, node) in below.by_ref().take(NODE_LEN_MAX - 1) {
                    bounds.push(bound);
                    nodes.push(node);
                }
                level.push((lower, Node::branch(bounds, nodes)));
            }
        }
        level.pop().map_or_else(Self::default, |(_, root)| Self { root })
    }

    /// All regions sorted by start key. Most comparisons need only 16 bytes that lie beside the slot.
    #[must_use]
    pub fn sort(regions: &Regions) -> Vec<Slot> {
        let Some(first) = regions.iter().next().map(Region::start_key) else { return Vec::new() };
        let shared = regions.iter().map(|region| shared_len(first, region.start_key())).min().unwrap_or(0);
        let hints = |key: &[u8]| (hint(key, shared), hint(key, key.len().min(shared + 8)));
        let keyed = regions.slots().map(|slot| (hints(regions.at(slot).start_key()), slot));
        let mut keyed: Vec<_> = keyed.collect();
        keyed.sort_unstable_by(|&(a_hints, a), &(b_hints, b)| {
            a_hints.cmp(&b_hints).then_with(|| regions.at(a).start_key().cmp(regions.at(b).start_key()))
        });
        keyed.into_iter().map(|(_, slot)| slot).collect()
    }

    /// All regions in key order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        self.leaves_from(&[]).flat_map(Leaf::slots).copied()
    }

    /// The region with the highest start key that is not above `key`.
    #[must_use]
    pub fn at_or_before(&self, key: &[u8], regions: &Regions) -> Option<Slot> {
        self.root.at_or_before(key, regions)
    }

    /// The regions with a start key above `key`, in key order.
    pub fn above<'a>(&'a self, key: &[u8], regions: &Regions) -> impl Iterator<Item = Slot> + use<'a> {
        let mut leaves = self.leaves_from(key);
        let first = leaves.next().map_or(&[][..], |leaf| &leaf.slots()[leaf.count_up_to(key, regions)..]);
        first.iter().chain(leaves.flat_map(Leaf::slots)).copied()
    }

    /// The leaf that has, or would have, `key`, and all behind it.
    fn leaves_from<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = &'a Leaf> + use<'a> {
        let next = |&(_, upper): &(_, Option<&[u8]>)| upper.map(|bound| self.root.leaf_of(bound));
        std::iter::successors(Some(self.root.leaf_of(key)), next).map(|(leaf, _)| leaf)
    }

    /// Adds a region whose start key no other one has.
    pub fn put(&mut self, slot: Slot, regions: &Regions) {
        if let Some((bound, node)) = self.root.put(EVERYWHERE, slot, regions) {
            let root = std::mem::take(&mut self.root);
            self.root = Node::branch(vec![bound], vec![root, node]);
        }
    }

    /// Removes a region, while it is still in its slot.
    pub fn remove(&mut self, slot: Slot, regions: &Regions) {
        self.root.remove(EVERYWHERE, slot, regions);
        while let Some(child) = self.root.take_only_child() {
            self.root = child;
        }
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self, regions: &Regions) {
        self.root.check_invariants(EVERYWHERE, regions);
        assert!(!self.root.has_one_child(), "a root that leads to one node");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound::{Excluded, Unbounded};

    use proptest::prelude::*;

    use super::*;
    use crate::core::region::{Epoch, RegionId};

    /// An index and its regions; the id of a region is told by its end.
    #[derive(Default)]
    struct Indexed {
        index: KeyIndex,
        regions: Regions,
    }

    impl Indexed {
        fn put(&mut self, id: u64, start: &[u8]) {
            let slot = self.regions.insert(Region::new(RegionId(id), start, b"", Epoch::default(), []));
            self.index.put(slot, &self.regions);
        }

        fn remove(&mut self, id: u64) {
            self.index.remove(self.regions.slot_of(RegionId(id)).unwrap(), &self.regions);
            self.regions.remove(RegionId(id));
        }

        fn ids(&self, slots: impl Iterator<Item = Slot>) -> Vec<u64> {
            slots.map(|slot| self.regions.at(slot).id().0).collect()
        }

        fn depth(&self) -> usize {
            self.index.check_invariants(&self.regions);
            self.index.root.check_invariants(EVERYWHERE, &self.regions)
        }
    }

    #[test]
    fn keys_in_order_fill_the_leaves() {
        let mut indexed = Indexed::default();
        (0..160_u64).for_each(|n| indexed.put(n, &n.to_be_bytes()));
        assert_eq!(indexed.depth(), 1);
        assert_eq!(indexed.index.leaves_from(&[]).count(), 160 / NODE_LEN_MAX);
    }

    #[test]
    fn a_bulk_build_is_the_same_as_single_puts() {
        for (len, depth) in [(0, 0), (1, 0), (15, 0), (16, 0), (17, 1), (256, 1), (257, 2), (5000_u64, 3)] {
            let mut indexed = Indexed::default();
            (0..len).for_each(|n| indexed.put(n, &n.to_be_bytes()));
            let slots: Vec<_> = indexed.index.iter().collect();
            indexed.index = KeyIndex::from_sorted(&slots, &indexed.regions);
            assert_eq!(indexed.depth(), depth);
            assert_eq!(indexed.ids(indexed.index.iter()), (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nodes_that_empty_are_joined() {
        let orders: [fn(u64) -> u64; 3] = [|n| n, |n| 4999 - n, |n| n * 2_654_435_761 % 5000];
        for order in orders {
            let mut indexed = Indexed::default();
            (0..5000).map(order).for_each(|n| indexed.put(n, &n.to_be_bytes()));
            assert!(indexed.depth() >= 3);
            (0..5000).map(order).filter(|n| n % 1000 != 7).for_each(|n| indexed.remove(n));
            assert_eq!(indexed.depth(), 0);
            assert_eq!(indexed.ids(indexed.index.iter()), (0..5).map(|n| 1000 * n + 7).collect::<Vec<_>>());
        }
    }

    #[test]
    fn regions_are_sorted_by_their_whole_start_keys() {
        let tails: [&[u8]; 8] =
            [b"", b"\0", b"\0\0", b"12345678", b"1234567812345678", b"1234567812345678a", b"a", b"\xff"];
        for prefix in [&b""[..], b"a", b"t\0\0\0\0\0\0\x01_r"] {
            let mut indexed = Indexed::default();
            for (id, at) in (0..).zip([5, 0, 7, 2, 4, 1, 6, 3]) {
                indexed.put(id, &[prefix, tails[at]].concat());
            }
            let slots = KeyIndex::sort(&indexed.regions);
            assert_eq!(indexed.ids(slots.into_iter()), [1, 5, 3, 7, 4, 0, 6, 2]);
        }
        assert!(KeyIndex::sort(&Regions::default()).is_empty());
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
        /// The keys grow in number, then they become fewer.
        #[test]
        fn it_agrees_with_an_ordered_map(steps in prop::collection::vec((0..4_u8, key()), 0..3000)) {
            let (mut indexed, mut model) = (Indexed::default(), BTreeMap::new());
            let half = steps.len() / 2;
            for (at, (kind, key)) in (0..).zip(steps) {
                let adds = if at < half { kind > 0 } else { kind == 0 };
                let victim = model.range(key.clone()..).next().map(|(key, &id): (&Vec<u8>, &usize)| (key.clone(), id));
                if adds && !model.contains_key(&key) {
                    indexed.put(u64::try_from(at).unwrap(), &key);
                    model.insert(key.clone(), at);
                } else if let Some((victim, id)) = victim {
                    indexed.remove(u64::try_from(id).unwrap());
                    model.remove(&victim);
                }
                if at % 64 == 0 {
                    indexed.depth();
                }
                let ids = |found: Vec<&usize>| found.into_iter().map(|&id| u64::try_from(id).unwrap()).collect::<Vec<_>>();
                let before = indexed.index.at_or_before(&key, &indexed.regions);
                let expected = model.range(..=key.clone()).next_back().map(|(_, id)| id);
                prop_assert_eq!(indexed.ids(before.into_iter()), ids(expected.into_iter().collect()));
                let above = indexed.index.above(&key, &indexed.regions).take(20);
                let expected = model.range((Excluded(key), Unbounded)).map(|(_, id)| id).take(20);
                prop_assert_eq!(indexed.ids(above), ids(expected.collect()));
            }
            indexed.depth();
            prop_assert_eq!(indexed.ids(indexed.index.iter()), model.into_values().map(|id| u64::try_from(id).unwrap()).collect::<Vec<_>>());
        }
    }
}
