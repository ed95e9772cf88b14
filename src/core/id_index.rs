//! The places of the regions by id: pages of ids in a tree.
//!
//! Ids come from one counter and are dense. A page has a bit for each of [`PAGE_IDS`] ids in a row and the places of those
//! that are there, in order; how many bits are set in front of an id's own is where its place stands. So nothing is searched
//! but the page, and with a million regions all that is read but the places themselves fits into a processor's own cache.
//! At worst, one id in each page, an id takes some 100 bytes.
//!
//! Invariants, asserted by [`IdIndex::check_invariants`]: a page has as many places as bits, and at least one.

use std::collections::BTreeMap;

use super::region::RegionId;
use super::regions::Slot;

const PAGE_IDS: u64 = 256;
const WORD_IDS: u64 = 64;
const WORDS: usize = 4;
/// Places that a full page makes room for at once: adding an id is rare, and slack in every page is memory.
const ROOM_ADDED: usize = 8;

/// Slots by region id.
#[derive(Clone, Debug, Default)]
pub struct IdIndex {
    /// By the ids divided by [`PAGE_IDS`].
    pages: BTreeMap<u64, Page>,
}

#[derive(Clone, Debug, Default)]
struct Page {
    bits: [u64; WORDS],
    slots: Vec<Slot>,
}

/// Where an id stands within its page.
struct Bit {
    word: usize,
    mask: u64,
}

impl Bit {
    fn of(id: RegionId) -> Self {
        let word = usize::try_from(id.0 % PAGE_IDS / WORD_IDS).expect("less than WORDS");
        Self { word, mask: 1 << (id.0 % WORD_IDS) }
    }
}

impl IdIndex {
    #[must_use]
    pub fn get(&self, id: RegionId) -> Option<Slot> {
        let page = self.pages.get(&(id.0 / PAGE_IDS))?;
        page.find(&Bit::of(id)).ok().map(|at| page.slots[at])
    }

    /// Adds an id that is not there.
    pub fn insert(&mut self, id: RegionId, slot: Slot) {
        let page = self.pages.entry(id.0 / PAGE_IDS).or_default();
        let bit = Bit::of(id);
        let (Ok(at) | Err(at)) = page.find(&bit);
        page.bits[bit.word] |= bit.mask;
        if page.slots.len() == page.slots.capacity() {
            page.slots.reserve_exact(ROOM_ADDED);
        }
        page.slots.insert(at, slot);
    }

    /// Removes an id and returns its slot, if it was there.
    pub fn remove(&mut self, id: RegionId) -> Option<Slot> {
        let page = self.pages.get_mut(&(id.0 / PAGE_IDS))?;
        let bit = Bit::of(id);
        let slot = page.slots.remove(page.find(&bit).ok()?);
        page.bits[bit.word] &= !bit.mask;
        if page.slots.is_empty() {
            self.pages.remove(&(id.0 / PAGE_IDS));
        }
        Some(slot)
    }

    /// The slots of the ids that are at least `from`, by ascending id.
    pub fn slots_from(&self, from: RegionId) -> impl Iterator<Item = Slot> + Clone {
        let mut pages = self.pages.range(from.0 / PAGE_IDS..);
        let first = pages.next().map_or(&[][..], |(&number, page)| {
            let (Ok(at) | Err(at)) = if number == from.0 / PAGE_IDS { page.find(&Bit::of(from)) } else { Ok(0) };
            &page.slots[at..]
        });
        first.iter().chain(pages.flat_map(|(_, page)| &page.slots)).copied()
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        for (number, page) in &self.pages {
            let bits: u32 = page.bits.iter().map(|word| word.count_ones()).sum();
            assert_eq!(usize::try_from(bits).ok(), Some(page.slots.len()), "page {number} has a place too many or few");
            assert_ne!(bits, 0, "page {number} is empty");
        }
    }
}

impl Page {
    /// The place of an id, or where it would go.
    fn find(&self, bit: &Bit) -> Result<usize, usize> {
        let before = self.bits[..bit.word].iter().map(|word| word.count_ones()).sum::<u32>();
        let before = before + (self.bits[bit.word] & (bit.mask - 1)).count_ones();
        let at = usize::try_from(before).expect("at most PAGE_IDS");
        if self.bits[bit.word] & bit.mask == 0 { Err(at) } else { Ok(at) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::{BTreeMap, Entry};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            rng_seed: prop::test_runner::RngSeed::Fixed(5),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_agrees_with_an_ordered_map(
            steps in prop::collection::vec((any::<bool>(), prop_oneof![
                8 => 0..1000_u64,
                2 => (0..64_u32, 0..3_u64).prop_map(|(shift, off)| (u64::MAX >> shift).saturating_sub(off)),
            ]), 0..800),
        ) {
            let (mut index, mut model) = (IdIndex::default(), BTreeMap::new());
            for (at, (add, id)) in (0..).zip(steps) {
                prop_assert_eq!(index.get(RegionId(id)), model.get(&id).copied());
                if !add {
                    prop_assert_eq!(index.remove(RegionId(id)), model.remove(&id));
                } else if let Entry::Vacant(entry) = model.entry(id) {
                    index.insert(RegionId(id), *entry.insert(Slot(at)));
                }
                index.check_invariants();
                prop_assert_eq!(index.get(RegionId(id)), model.get(&id).copied());
                prop_assert!(index.slots_from(RegionId(id)).eq(model.range(id..).map(|(_, &slot)| slot)));
            }
            prop_assert!(index.slots_from(RegionId(0)).eq(model.into_values()));
        }
    }
}
