//! The places of the regions by id, in pages of ids.
//!
//! Ids come from one counter and are dense. So a page with many of its ids has a place for each of them, there or not, and the
//! pages of the first [`DIRECT_PAGES`] stand side by side: nothing is searched, and with a million regions one read of memory
//! that no cache holds tells where a region is. A page with few ids has these alone, and pages of high ids are in a tree.
//!
//! Where a quarter of the ids are regions, as with three peers each, an id takes 16 bytes; at worst [`MANY_MIN`] of a page are
//! left and each takes 128. The direct pages take up to 800 KB beside that, and the places of a page that has few ids again
//! wait for the next one with many.
//!
//! Invariants, asserted by [`IdIndex::check_invariants`]:
//!
//! - no page of the tree is empty
//! - a page without a place for every id has at most [`FEW_MAX`], by ascending id
//! - a page with a place for every id has at least [`MANY_MIN`], counts them rightly and shares its places with none

use std::collections::BTreeMap;

use super::region::RegionId;
use super::regions::Slot;
use super::slab::Slab;

const PAGE_IDS: u64 = 4096;
const PLACES: usize = 4096;
/// Pages of the ids below some 67 million, which take 400 KB when all are there.
const DIRECT_PAGES: u64 = 1 << 14;
/// Ids of a page up to which it has only these. With one more it takes 16 KiB, 64 bytes an id.
const FEW_MAX: usize = 256;
/// Ids of a page below which it goes back to having only these; apart from [`FEW_MAX`], so that no id moves all to and fro.
const MANY_MIN: usize = 128;

/// Slots by region id.
#[derive(Clone, Debug, Default)]
pub struct IdIndex {
    /// By the ids divided by [`PAGE_IDS`], up to the last that was ever used below [`DIRECT_PAGES`].
    direct: Vec<Page>,
    /// The other ones.
    beyond: BTreeMap<u64, Page>,
    places: Slab<Places>,
}

#[derive(Clone, Debug)]
enum Page {
    /// The offsets of the ids in the page, ascending, and their slots.
    Few(Vec<(u16, Slot)>),
    /// How many ids it has, and where in the slab their slots are.
    Many { len: usize, at: usize },
}

impl Page {
    const EMPTY: Self = Self::Few(Vec::new());
}

/// The slots of a page by the offsets of the ids.
type Places = [Option<Slot>; PLACES];

/// Which page an id is in, and where.
fn split(id: RegionId) -> (u64, u16) {
    (id.0 / PAGE_IDS, u16::try_from(id.0 % PAGE_IDS).expect("less than PAGE_IDS"))
}

impl IdIndex {
    #[must_use]
    pub fn get(&self, id: RegionId) -> Option<Slot> {
        let (number, offset) = split(id);
        match self.page(number)? {
            &Page::Many { at, .. } => self.places[at][usize::from(offset)],
            Page::Few(few) => few.binary_search_by_key(&offset, |&(other, _)| other).ok().map(|at| few[at].1),
        }
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let direct = usize::try_from(number).ok().and_then(|number| self.direct.get(number));
        direct.or_else(|| self.beyond.get(&number))
    }

    /// The pages with a number of at least `first`, ascending.
    fn pages_from(&self, first: u64) -> impl Iterator<Item = (u64, &Page)> + Clone {
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        let direct = (first..).zip(self.direct.iter().skip(skipped));
        direct.chain(self.beyond.range(first..).map(|(&number, page)| (number, page)))
    }

    /// Adds an id that is not there.
    pub fn insert(&mut self, id: RegionId, slot: Slot) {
        let (number, offset) = split(id);
        let page = if number < DIRECT_PAGES {
            let number = usize::try_from(number).expect("less than DIRECT_PAGES");
            if number >= self.direct.len() {
                self.direct.resize(number + 1, Page::EMPTY);
            }
            &mut self.direct[number]
        } else {
            self.beyond.entry(number).or_insert(Page::EMPTY)
        };
        match page {
            Page::Many { len, at } => {
                self.places[*at][usize::from(offset)] = Some(slot);
                *len += 1;
            }
            Page::Few(few) => {
                few.insert(few.partition_point(|&(other, _)| other < offset), (offset, slot));
                if few.len() > FEW_MAX {
                    let mut places = [None; PLACES];
                    few.iter().for_each(|&(offset, slot)| places[usize::from(offset)] = Some(slot));
                    *page = Page::Many { len: few.len(), at: self.places.insert(places) };
                }
            }
        }
    }

    /// Removes an id and returns its slot, if it was there.
    pub fn remove(&mut self, id: RegionId) -> Option<Slot> {
        let (number, offset) = split(id);
        let direct = usize::try_from(number).ok().and_then(|number| self.direct.get_mut(number));
        let page = direct.or_else(|| self.beyond.get_mut(&number))?;
        match page {
            Page::Many { len, at } => {
                let at = *at;
                let slot = self.places[at][usize::from(offset)].take()?;
                *len -= 1;
                if *len < MANY_MIN {
                    let places = (0..).zip(&self.places[at]);
                    *page = Page::Few(places.filter_map(|(offset, &slot)| Some((offset, slot?))).collect());
                    self.places.release(at);
                }
                Some(slot)
            }
            Page::Few(few) => {
                let at = few.binary_search_by_key(&offset, |&(other, _)| other).ok()?;
                let (_, slot) = few.remove(at);
                if few.is_empty() {
                    *page = Page::EMPTY;
                    self.beyond.remove(&number);
                } else if few.len() < few.capacity() / 4 {
                    few.shrink_to_fit();
                }
                Some(slot)
            }
        }
    }

    /// The slots of the ids that are at least `from`, by ascending id.
    pub fn slots_from(&self, from: RegionId) -> impl Iterator<Item = Slot> + Clone {
        let (first, offset) = split(from);
        self.pages_from(first).flat_map(move |(number, page)| {
            let offset = if number == first { offset } else { 0 };
            let (few, places) = match page {
                Page::Few(few) => (&few[few.partition_point(|&(other, _)| other < offset)..], &[][..]),
                &Page::Many { at, .. } => (&[][..], &self.places[at][usize::from(offset)..]),
            };
            few.iter().map(|&(_, slot)| slot).chain(places.iter().flatten().copied())
        })
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        let mut used = self.places.vacant().to_vec();
        let empty = self.beyond.iter().find(|(_, page)| matches!(page, Page::Few(few) if few.is_empty()));
        assert!(empty.is_none(), "an empty page of the tree: {empty:?}");
        for (number, page) in self.pages_from(0) {
            match page {
                Page::Few(few) => {
                    assert!(few.len() <= FEW_MAX, "page {number} has {} ids", few.len());
                    assert!(few.is_sorted_by(|(a, _), (b, _)| a < b), "page {number} is not in order");
                }
                &Page::Many { len, at } => {
                    assert_eq!(self.places[at].iter().flatten().count(), len, "page {number} is counted wrongly");
                    assert!(len >= MANY_MIN, "page {number} has {len} ids");
                    used.push(at);
                }
            }
        }
        used.sort_unstable();
        assert!(used.into_iter().eq(0..self.places.places()), "a place of the slab has no owner, or two");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::{BTreeMap, Entry};

    use proptest::prelude::*;

    use super::*;

    /// The ids of the direct pages are below it.
    const DIRECT_IDS: u64 = PAGE_IDS * DIRECT_PAGES;

    #[test]
    fn a_page_without_ids_takes_no_memory() {
        let mut index = IdIndex::default();
        (0..200).for_each(|id| index.insert(RegionId(id), Slot::new(0)));
        for id in 1..200 {
            index.remove(RegionId(id));
        }
        assert!(matches!(&index.direct[0], Page::Few(few) if few.len() == 1 && few.capacity() <= 4));
        index.remove(RegionId(0));
        assert!(matches!(&index.direct[0], Page::Few(few) if few.capacity() == 0));
    }

    #[test]
    fn a_page_takes_another_form_as_ids_come_and_go() {
        let mut index = IdIndex::default();
        let slot = |id: u64| Slot::new(usize::try_from(id).unwrap());
        let is_many = |index: &IdIndex, number: u64| matches!(index.page(number), Some(Page::Many { .. }));
        let (few, many) = (u64::try_from(FEW_MAX).unwrap(), u64::try_from(MANY_MIN).unwrap());
        let high = DIRECT_IDS;
        for first in [PAGE_IDS, high] {
            let number = first / PAGE_IDS;
            for id in (first..=first + few).rev() {
                assert!(!is_many(&index, number));
                index.insert(RegionId(id), slot(id));
            }
            assert!(is_many(&index, number));
            for id in first + many..=first + few {
                assert!(is_many(&index, number));
                assert_eq!(index.remove(RegionId(id)), Some(slot(id)));
            }
        }
        index.remove(RegionId(PAGE_IDS));
        assert_eq!([1, high / PAGE_IDS].map(|number| is_many(&index, number)), [false, true]);
        index.check_invariants();
        assert_eq!([PAGE_IDS, PAGE_IDS + 1].map(|id| index.get(RegionId(id))), [None, Some(slot(PAGE_IDS + 1))]);
        let ids = (PAGE_IDS + 1..PAGE_IDS + many).chain(high..high + many);
        assert!(index.slots_from(RegionId(0)).eq(ids.map(slot)));
        assert!(index.slots_from(RegionId(high + 5)).eq((high + 5..high + many).map(slot)));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            rng_seed: prop::test_runner::RngSeed::Fixed(5),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_agrees_with_an_ordered_map(
            // Runs of additions and of removals, so that pages fill and empty.
            runs in prop::collection::vec((any::<bool>(), prop_oneof![
                6 => (Just(4 * PAGE_IDS - 200), 0..400_u64),
                3 => (Just(DIRECT_IDS - 200), 0..400_u64),
                1 => ((0..64_u32).prop_map(|shift| (u64::MAX >> shift).saturating_sub(400)), 0..400_u64),
            ], 1..400_u64), 0..20),
        ) {
            let (mut index, mut model) = (IdIndex::default(), BTreeMap::new());
            for (add, (base, first), count) in runs {
                for step in 0..count {
                    // Not in order.
                    let id = base + (first + step * 7) % 400;
                    prop_assert_eq!(index.get(RegionId(id)), model.get(&id).copied());
                    if !add {
                        prop_assert_eq!(index.remove(RegionId(id)), model.remove(&id));
                    } else if let Entry::Vacant(entry) = model.entry(id) {
                        let at = usize::try_from(id % 1_000_000).expect("a small number");
                        index.insert(RegionId(id), *entry.insert(Slot::new(at)));
                    }
                    prop_assert_eq!(index.get(RegionId(id)), model.get(&id).copied());
                }
                index.check_invariants();
                for from in [base, base + first, base + 399] {
                    prop_assert!(index.slots_from(RegionId(from)).eq(model.range(from..).map(|(_, &slot)| slot)));
                }
            }
            prop_assert!(index.slots_from(RegionId(0)).eq(model.into_values()));
        }
    }
}
