//! Which regions have a replica on which store: the planner's index.
//!
//! Invariants, asserted by [`StoreSets::check_invariants`], for every store:
//!
//! - `replicas` holds the regions with a peer there that a transfer can name ([`Region::peer_on`])
//! - `preferred`, a part of it, holds those whose first peer is on the store
//! - a store without a region has no entry

use std::collections::BTreeMap;

use super::id_set::IdSet;
use super::region::{PeerId, Region, RegionId, StoreId};

/// One of the two sets of a store that may give a leader away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Regions whose first peer is on the store.
    First,
    /// All regions with a peer on the store.
    Second,
}

/// For each store the ids of the regions that have a replica on it.
#[derive(Debug, Default)]
pub struct StoreSets {
    stores: BTreeMap<StoreId, Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    preferred: IdSet,
    replicas: IdSet,
}

impl StoreSets {
    /// Adds a region to the sets of the stores that its peers are on.
    pub fn insert(&mut self, region: &Region) {
        for peer in region.peers().filter(|peer| peer.peer_id != PeerId(0)) {
            self.stores.entry(peer.store_id).or_default().replicas.insert(region.id());
        }
        if let Some(store) = preferred_store(region) {
            self.stores.entry(store).or_default().preferred.insert(region.id());
        }
    }

    /// Removes a region, as it was inserted.
    pub fn remove(&mut self, region: &Region) {
        for peer in region.peers() {
            let Some(sets) = self.stores.get_mut(&peer.store_id) else { continue };
            sets.replicas.remove(region.id());
            sets.preferred.remove(region.id());
            if sets.replicas.is_empty() {
                self.stores.remove(&peer.store_id);
            }
        }
    }

    /// The ids, at least `from` and ascending, that are in the source's set for `pass` and have a replica on the target.
    pub fn shared_from(
        &self,
        source: StoreId,
        target: StoreId,
        pass: Pass,
        from: RegionId,
    ) -> impl Iterator<Item = RegionId> {
        let sources = self.stores.get(&source).map(|sets| match pass {
            Pass::First => &sets.preferred,
            Pass::Second => &sets.replicas,
        });
        let targets = self.stores.get(&target).map(|sets| &sets.replicas);
        sources.zip(targets).into_iter().flat_map(move |(sources, targets)| {
            let mut targets = targets.iter_from(from).peekable();
            sources.iter_from(from).filter(move |&id| {
                while targets.next_if(|&target| target < id).is_some() {}
                targets.next_if_eq(&id).is_some()
            })
        })
    }

    /// Asserts every invariant of this file against the regions that were inserted.
    pub fn check_invariants<'a>(&self, regions: impl Iterator<Item = &'a Region> + Clone) {
        let mut members = 0;
        for (&store, sets) in &self.stores {
            assert!(!sets.replicas.is_empty(), "store {store} has no region, but an entry");
            sets.preferred.check_invariants();
            sets.replicas.check_invariants();
            let ids = |region: &'a Region| region.id();
            let replicas = regions.clone().filter(|region| region.peer_on(store).is_some()).map(ids);
            assert!(sets.replicas.iter_from(RegionId(0)).eq(replicas), "the replicas on store {store} are others");
            let preferred = regions.clone().filter(|region| preferred_store(region) == Some(store)).map(ids);
            assert!(sets.preferred.iter_from(RegionId(0)).eq(preferred), "the first peers on store {store} are others");
            members += sets.preferred.iter_from(RegionId(0)).count();
        }
        let expected = regions.filter(|region| preferred_store(region).is_some()).count();
        assert_eq!(members, expected, "regions with a usable first store that are in no set");
    }
}

/// The store that the region's first peer is on, when a transfer can name a peer there.
pub fn preferred_store(region: &Region) -> Option<StoreId> {
    let store = region.peers().next()?.store_id;
    region.peer_on(store).map(|_| store)
}
