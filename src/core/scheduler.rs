//! The leader-transfer planner: the reference's choice (the store with the most leaders gives one to the store with the
//! fewest), without looking through the regions.
//!
//! For a pair of stores it needs the lowest region id that qualifies. It remembers, per pair and pass, how far it has
//! searched and every region below that point which qualifies, and keeps that true when a region changes. So the point only
//! rises: all searches of a remembered pair together look once at each id of its two stores, most of them in the first
//! plan; a change costs O(peers · log regions).
//!
//! Invariants, asserted by [`Scheduler::check_invariants`]:
//!
//! - `by_leaders` holds exactly the pairs (leaders, store) of `stores`
//! - a search has found exactly the regions below `unsearched_from` that qualify for its pair and pass
//! - at most `PLANS_MAX` pairs are remembered

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::id_set::IdSet;
use super::region::{PeerId, Region, RegionId, StoreId};
use super::regions::Regions;
use super::store_sets::{Pass, StoreSets, preferred_store};

/// Pairs of stores whose search is remembered; beyond it the pair that was planned for longest ago is forgotten.
const PLANS_MAX: usize = 64;

/// The numbers of a store's last heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub region_num: u64,
    pub leader_num: u64,
    /// Bytes.
    pub capacity: u64,
    /// Bytes.
    pub available: u64,
}

/// A hint to the store that sent the heartbeat: move the leader of `region_id` from `source_peer_id` to `target_peer_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderTransfer {
    pub region_id: RegionId,
    pub source_peer_id: PeerId,
    pub target_peer_id: PeerId,
}

/// A store that gives a leader away and the one that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    source: StoreId,
    target: StoreId,
}

/// The stores heard, and what planning for them needs.
#[derive(Debug, Default)]
pub struct Scheduler {
    stores: BTreeMap<StoreId, (StoreStats, Duration)>,
    by_leaders: BTreeSet<(u64, StoreId)>,
    sets: StoreSets,
    plans: BTreeMap<Pair, Plan>,
    /// Plans made so far.
    planned: u64,
}

/// What is known of one pair.
#[derive(Debug)]
struct Plan {
    first_pass: Search,
    second_pass: Search,
    /// `Scheduler::planned` when this pair was last planned for.
    last_use: u64,
}

/// An ascending search for regions that qualify.
#[derive(Debug)]
struct Search {
    found: IdSet,
    /// `None`: every id was looked at.
    unsearched_from: Option<RegionId>,
}

impl Scheduler {
    /// Stores heard with an id of at least `from`, by ascending id.
    pub fn stores_from(&self, from: StoreId) -> impl Iterator<Item = (StoreId, StoreStats, Duration)> {
        self.stores.range(from..).map(|(&store, &(stats, heard))| (store, stats, heard))
    }

    pub fn stores_len(&self) -> usize {
        self.stores.len()
    }

    /// Replaces the numbers of a store and plans for it.
    pub fn heartbeat(
        &mut self,
        store: StoreId,
        stats: StoreStats,
        now: Duration,
        regions: &Regions,
    ) -> Option<LeaderTransfer> {
        if let Some((old, _)) = self.stores.insert(store, (stats, now)) {
            self.by_leaders.remove(&(old.leader_num, store));
        }
        self.by_leaders.insert((stats.leader_num, store));
        let pair = self.pair_of(store)?;
        let region = regions.get(self.lowest_candidate(pair, regions)?).expect("a removed region is no candidate");
        let (source_peer_id, target_peer_id) = pair.peers(region).expect("a candidate has both peers");
        Some(LeaderTransfer { region_id: region.id(), source_peer_id, target_peer_id })
    }

    /// Takes in that a region is now `new` (`None`: removed) and was `old` (`None`: unknown).
    pub fn region_changed(&mut self, old: Option<&Region>, new: Option<&Region>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.has_same_peers(new)
        {
            return;
        }
        if let Some(old) = old {
            self.sets.remove(old);
        }
        if let Some(new) = new {
            self.sets.insert(new);
        }
        let Some(id) = new.or(old).map(Region::id) else { return };
        for peer in [old, new].into_iter().flatten().flat_map(Region::peers) {
            let source = peer.store_id;
            let pairs = Pair { source, target: StoreId(0) }..=Pair { source, target: StoreId(u64::MAX) };
            for (pair, plan) in self.plans.range_mut(pairs) {
                plan.first_pass.note(id, new.is_some_and(|new| pair.is_candidate(new, Pass::First)));
                plan.second_pass.note(id, new.is_some_and(|new| pair.is_candidate(new, Pass::Second)));
            }
        }
    }

    /// The pair to plan for when `store` reports (reference: most and fewest leaders, ties to the lowest id, skew 2 is enough).
    fn pair_of(&self, store: StoreId) -> Option<Pair> {
        let &(most, _) = self.by_leaders.last()?;
        let &(_, source) = self.by_leaders.range((most, StoreId(0))..).next()?;
        let &(fewest, target) = self.by_leaders.first()?;
        (source == store && most - fewest > 1).then_some(Pair { source, target })
    }

    fn lowest_candidate(&mut self, pair: Pair, regions: &Regions) -> Option<RegionId> {
        self.planned += 1;
        if !self.plans.contains_key(&pair) {
            self.forget_a_plan_if_full();
        }
        let plan = self.plans.entry(pair).or_insert_with(Plan::new);
        plan.last_use = self.planned;
        let mut lowest = |pass| {
            plan.search(pass).lowest(|from| {
                let mut shared = self.sets.shared_from(pair.source, pair.target, pass, from);
                shared.find(|&id| regions.get(id).is_some_and(|region| pair.is_candidate(region, pass)))
            })
        };
        lowest(Pass::First).or_else(|| lowest(Pass::Second))
    }

    fn forget_a_plan_if_full(&mut self) {
        let oldest = self.plans.iter().min_by_key(|(_, plan)| plan.last_use).map(|(&pair, _)| pair);
        if self.plans.len() >= PLANS_MAX
            && let Some(oldest) = oldest
        {
            self.plans.remove(&oldest);
        }
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self, regions: &Regions) {
        self.sets.check_invariants(regions.iter());
        let by_leaders: BTreeSet<_> =
            self.stores_from(StoreId(0)).map(|(store, stats, _)| (stats.leader_num, store)).collect();
        assert_eq!(self.by_leaders, by_leaders, "stores ordered by leaders");
        assert!(self.plans.len() <= PLANS_MAX, "{} pairs are remembered", self.plans.len());
        for (pair, plan) in &self.plans {
            for (pass, search) in [(Pass::First, &plan.first_pass), (Pass::Second, &plan.second_pass)] {
                search.found.check_invariants();
                let candidates = regions.iter().filter(|region| pair.is_candidate(region, pass)).map(Region::id);
                let known = candidates.filter(|&id| search.has_searched(id));
                assert!(search.found.iter_from(RegionId(0)).eq(known), "{pair:?} knows others in its {pass:?} pass");
            }
        }
    }
}

impl Pair {
    /// The two peers that a transfer would name, when there are both and they differ.
    fn peers(self, region: &Region) -> Option<(PeerId, PeerId)> {
        let peers = (region.peer_on(self.source)?, region.peer_on(self.target)?);
        (peers.0 != peers.1).then_some(peers)
    }

    fn is_candidate(self, region: &Region, pass: Pass) -> bool {
        self.peers(region).is_some() && (pass == Pass::Second || preferred_store(region) == Some(self.source))
    }
}

impl Plan {
    fn new() -> Self {
        let unsearched = || Search { found: IdSet::default(), unsearched_from: Some(RegionId(0)) };
        Self { first_pass: unsearched(), second_pass: unsearched(), last_use: 0 }
    }

    fn search(&mut self, pass: Pass) -> &mut Search {
        match pass {
            Pass::First => &mut self.first_pass,
            Pass::Second => &mut self.second_pass,
        }
    }
}

impl Search {
    /// The lowest region that qualifies: of those found, or else the next that `search_from` finds.
    fn lowest(&mut self, search_from: impl FnOnce(RegionId) -> Option<RegionId>) -> Option<RegionId> {
        if let Some(id) = self.found.first() {
            return Some(id);
        }
        let next = search_from(self.unsearched_from?);
        if let Some(id) = next {
            self.found.insert(id);
        }
        self.unsearched_from = next.and_then(|id| id.0.checked_add(1)).map(RegionId);
        next
    }

    fn has_searched(&self, id: RegionId) -> bool {
        self.unsearched_from.is_none_or(|from| id < from)
    }

    /// Keeps the search true after a change of region `id`.
    fn note(&mut self, id: RegionId, qualifies: bool) {
        if !self.has_searched(id) {
            return;
        }
        if qualifies {
            self.found.insert(id);
        } else {
            self.found.remove(id);
        }
    }
}
