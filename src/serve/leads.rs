//! Who leads the regions of a store: pure state, without disk and network.
//!
//! Nothing changes but by [`Leads::apply`]. Everything else only says which rows would change, so that they can be made
//! durable first.
//!
//! Invariants, asserted by `check_invariants` in tests and [`Leads::apply`]: each region has a peer on this store; a lead
//! never goes back; only a region that this store leads is offered, and never to itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::{Lead, LeadRow, LeaderTransfer, Peer, PeerId, Region, RegionId, StoreId, StoreStats};

/// No store misses so many transfers of a region: a term that is further ahead of the known one was never begun. Without that
/// limit one message with the last term would end all transfers of a region.
const TERMS_MISSED_MAX: u64 = 1 << 40;

/// The regions of one store and their leaders.
#[derive(Clone, Debug)]
pub struct Leads {
    store: StoreId,
    regions: BTreeMap<RegionId, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    region: Arc<Region>,
    lead: Lead,
    offered_to: Option<StoreId>,
}

/// An offer that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub region: RegionId,
    /// The term that the target is to lead in.
    pub term: u64,
    pub target: StoreId,
}

/// What a store that is offered a lead does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It takes it, once this row is durable.
    New(LeadRow),
    /// It has taken it before, or knows a newer lead.
    Known(Lead),
    /// The offer is not one that the leader of the term before would make.
    Refused(Lead),
    /// It does not hold the region.
    NotHere,
}

/// Why a hint is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOffer {
    /// This store does not lead the region, or does not hold it, or the hint is about other peers: it is out of date.
    OutOfDate,
    /// An earlier offer is still without its answer.
    Pending(Offer),
    /// There is no further term.
    LastTerm,
}

impl Leads {
    /// The leads of those of `regions` that have a peer on `store`: as saved, else the first ones.
    #[must_use]
    pub fn new(
        store: StoreId,
        regions: &[Arc<Region>],
        saved: &[LeadRow],
        first_leader: impl Fn(&Region) -> StoreId,
    ) -> Self {
        let saved: BTreeMap<RegionId, &LeadRow> = saved.iter().map(|row| (row.region, row)).collect();
        let entry = |region: &Arc<Region>| {
            let first = || Lead { term: 1, leader: first_leader(region) };
            let (lead, offered_to) =
                saved.get(&region.id()).map_or_else(|| (first(), None), |row| (row.lead, row.offered_to));
            (region.id(), Entry { region: Arc::clone(region), lead, offered_to })
        };
        let hosted = regions.iter().filter(|region| region.peer_on(store).is_some());
        Self { store, regions: hosted.map(entry).collect() }
    }

    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Who leads a region that is here.
    #[must_use]
    pub fn lead(&self, region: RegionId) -> Option<Lead> {
        self.regions.get(&region).map(|entry| entry.lead)
    }

    /// Every row, by ascending region id.
    pub fn rows(&self) -> impl Iterator<Item = LeadRow> {
        self.regions.iter().map(|(&region, entry)| entry.row(region))
    }

    /// The rows as they will be with `changes`.
    pub fn rows_with<'a>(&'a self, changes: &'a [LeadRow]) -> impl Iterator<Item = LeadRow> + 'a {
        let changed: BTreeMap<RegionId, LeadRow> = changes.iter().map(|row| (row.region, *row)).collect();
        self.rows().map(move |row| changed.get(&row.region).copied().unwrap_or(row))
    }

    /// Takes over rows that are durable now.
    ///
    /// # Panics
    ///
    /// When a lead would go back.
    pub fn apply(&mut self, changes: &[LeadRow]) {
        for LeadRow { region, lead, offered_to } in changes {
            let entry = self.regions.get_mut(region).expect("a change is of a row that is there");
            assert!(*lead >= entry.lead, "region {region}: {lead:?} after {:?}", entry.lead);
            (entry.lead, entry.offered_to) = (*lead, *offered_to);
        }
    }

    /// The numbers for a heartbeat. A store without data has no capacity.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let count = |count: usize| u64::try_from(count).expect("regions that fit the memory fit 64 bits");
        let led = self.regions.values().filter(|entry| entry.lead.leader == self.store).count();
        StoreStats { region_num: count(self.regions.len()), leader_num: count(led), ..StoreStats::default() }
    }

    /// Every region as it is reported: the leader's peer first.
    pub fn reports(&self) -> impl Iterator<Item = Region> {
        self.regions.values().map(|entry| leader_first(&entry.region, entry.lead.leader))
    }

    /// One region as it is reported.
    #[must_use]
    pub fn report(&self, region: RegionId) -> Option<Region> {
        self.regions.get(&region).map(|entry| leader_first(&entry.region, entry.lead.leader))
    }

    /// The row with which the hint is followed, and the offer that it is once it is durable.
    ///
    /// # Errors
    ///
    /// Any [`NoOffer`].
    pub fn offer(&self, hint: &LeaderTransfer) -> Result<(LeadRow, Offer), NoOffer> {
        let entry = self.regions.get(&hint.region_id).ok_or(NoOffer::OutOfDate)?;
        let row = entry.row(hint.region_id);
        let target = entry.region.peers().find(|peer| peer.peer_id == hint.target_peer_id);
        let target = target.map(|peer| peer.store_id).filter(|target| *target != self.store);
        let is_ours = row.lead.leader == self.store && entry.region.peer_on(self.store) == Some(hint.source_peer_id);
        let target = target.filter(|_| is_ours).ok_or(NoOffer::OutOfDate)?;
        if let Some(offer) = pending(&row) {
            return Err(NoOffer::Pending(offer));
        }
        let offered = LeadRow { offered_to: Some(target), ..row };
        Ok((offered, pending(&offered).ok_or(NoOffer::LastTerm)?))
    }

    /// The offers that wait for their answers.
    pub fn offers(&self) -> impl Iterator<Item = Offer> {
        self.rows().filter_map(|row| pending(&row))
    }

    /// What an offer of `term` by `source` to this store leads to.
    #[must_use]
    pub fn take(&self, source: StoreId, region: RegionId, term: u64) -> Take {
        let Some(entry) = self.regions.get(&region) else { return Take::NotHere };
        let known = entry.lead;
        let lead = Lead { term, leader: self.store };
        if lead <= known {
            return Take::Known(known);
        }
        // Only the leader of the term before makes it; who that is may not be known here yet.
        let before = Lead { term: term.saturating_sub(1), leader: source };
        let is_heard_first = known.term < before.term && entry.may_hold(before);
        if source != self.store && (before == known || is_heard_first) {
            Take::New(LeadRow { region, lead, offered_to: None })
        } else {
            Take::Refused(known)
        }
    }

    /// The row that takes an offer back which its target will never take; `None`: it is not pending.
    #[must_use]
    pub fn withdraw(&self, offer: Offer) -> Option<LeadRow> {
        let row = self.regions.get(&offer.region)?.row(offer.region);
        (pending(&row) == Some(offer)).then_some(LeadRow { offered_to: None, ..row })
    }

    /// Whether another store tells a lead that cannot be: of a region that is here, by a store without a peer of it, or in a
    /// term that is too far ahead.
    #[must_use]
    pub fn is_absurd(&self, (region, lead): &(RegionId, Lead)) -> bool {
        self.regions.get(region).is_some_and(|entry| *lead > entry.lead && !entry.may_hold(*lead))
    }

    /// The rows that change by what another store has told: newer leads that can be, of regions that are here. An offer ends
    /// with its answer, which is one of these.
    #[must_use]
    pub fn learn(&self, told: &[(RegionId, Lead)]) -> Vec<LeadRow> {
        let mut newest = BTreeMap::new();
        for &(region, lead) in told.iter().filter(|told| !self.is_absurd(told)) {
            let newest = newest.entry(region).or_insert(lead);
            *newest = lead.max(*newest);
        }
        let is_newer =
            |region: &RegionId, lead: &Lead| self.regions.get(region).is_some_and(|entry| *lead > entry.lead);
        let newer = newest.into_iter().filter(|(region, lead)| is_newer(region, lead));
        newer.map(|(region, lead)| LeadRow { region, lead, offered_to: None }).collect()
    }

    /// What this store knows better than it was told.
    #[must_use]
    pub fn newer_than(&self, told: &[(RegionId, Lead)]) -> Vec<(RegionId, Lead)> {
        let newer =
            |(region, lead): &(RegionId, Lead)| Some((*region, self.lead(*region).filter(|known| known > lead)?));
        told.iter().filter_map(newer).collect()
    }

    /// The leads of the regions that have a peer on `store` too.
    pub fn shared_with(&self, store: StoreId) -> impl Iterator<Item = (RegionId, Lead)> {
        let shared = self.regions.iter().filter(move |(_, entry)| entry.region.peer_on(store).is_some());
        shared.map(|(&region, entry)| (region, entry.lead))
    }

    /// Asserts the invariants of this file.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        for (id, entry) in &self.regions {
            assert_eq!(entry.region.id(), *id);
            assert!(entry.region.peer_on(self.store).is_some(), "region {id} has no peer here");
            if let Some(target) = entry.offered_to {
                assert_eq!(entry.lead.leader, self.store, "region {id} is offered by a store that does not lead it");
                assert_ne!(target, self.store, "region {id} is offered to its leader");
            }
        }
    }
}

impl Entry {
    fn row(&self, region: RegionId) -> LeadRow {
        LeadRow { region, lead: self.lead, offered_to: self.offered_to }
    }

    /// Whether a lead may be one of this region's, by what is known here: its peers, and about the term.
    fn may_hold(&self, Lead { term, leader }: Lead) -> bool {
        leader != StoreId(0)
            && self.region.peer_on(leader).is_some()
            && term <= self.lead.term.saturating_add(TERMS_MISSED_MAX)
    }
}

/// The offer that a row holds.
fn pending(row: &LeadRow) -> Option<Offer> {
    Some(Offer { region: row.region, term: row.lead.term.checked_add(1)?, target: row.offered_to? })
}

/// The store that leads a region in its first term: the one that is wanted, if it has a peer, else that of the first peer.
#[must_use]
pub fn first_leader(region: &Region, wanted: Option<StoreId>) -> StoreId {
    let wanted = wanted.filter(|store| region.peer_on(*store).is_some());
    let first = || region.peers().find(|peer| peer.store_id != StoreId(0) && peer.peer_id != PeerId(0));
    wanted.or_else(|| first().map(|peer| peer.store_id)).unwrap_or(StoreId(0))
}

/// The region with the leader's peer in front: a placement driver takes the first peer for the leader's.
fn leader_first(region: &Region, leader: StoreId) -> Region {
    let mut peers: Vec<Peer> = region.peers().collect();
    if let Some(at) = peers.iter().position(|peer| peer.store_id == leader && peer.peer_id != PeerId(0)) {
        peers[..=at].rotate_right(1);
    }
    Region::new(region.id(), region.start_key(), region.end_key(), region.epoch(), peers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Epoch;

    /// Regions 1 to 3 with the peers 11, 12, 13 and so on; region 3 is not on store 1.
    fn regions() -> Vec<Arc<Region>> {
        let peer = |region: u64, store: u64| Peer { store_id: StoreId(store), peer_id: PeerId(region * 10 + store) };
        let region = |id: u64, start: &str, end: &str, stores: &[u64]| {
            let peers = stores.iter().map(|store| peer(id, *store));
            Arc::new(Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch::default(), peers))
        };
        vec![region(1, "", "g", &[1, 2, 3]), region(2, "g", "m", &[2, 3, 1]), region(3, "m", "", &[3, 2])]
    }

    fn leads(store: u64, saved: &[LeadRow]) -> Leads {
        let leads = Leads::new(StoreId(store), &regions(), saved, |region| first_leader(region, None));
        leads.check_invariants();
        leads
    }

    fn row(region: u64, term: u64, leader: u64, offered_to: Option<u64>) -> LeadRow {
        let lead = Lead { term, leader: StoreId(leader) };
        LeadRow { region: RegionId(region), lead, offered_to: offered_to.map(StoreId) }
    }

    fn told(region: u64, term: u64, leader: u64) -> (RegionId, Lead) {
        (RegionId(region), Lead { term, leader: StoreId(leader) })
    }

    fn hint(region: u64, source: u64, target: u64) -> LeaderTransfer {
        LeaderTransfer { region_id: RegionId(region), source_peer_id: PeerId(source), target_peer_id: PeerId(target) }
    }

    #[test]
    fn a_store_has_the_regions_with_a_peer_on_it_and_their_saved_or_first_leads() {
        assert_eq!(leads(1, &[]).rows().collect::<Vec<_>>(), [row(1, 1, 1, None), row(2, 1, 2, None)]);
        assert_eq!(leads(1, &[]).stats(), StoreStats { region_num: 2, leader_num: 1, ..StoreStats::default() });
        let saved = [row(2, 5, 1, Some(3)), row(9, 1, 1, None)];
        assert_eq!(leads(1, &saved).rows().collect::<Vec<_>>(), [row(1, 1, 1, None), saved[0]]);
        let region = &regions()[1];
        assert_eq!(first_leader(region, Some(StoreId(1))), StoreId(1));
        assert_eq!(first_leader(region, Some(StoreId(9))), StoreId(2), "the one wanted has no peer");
    }

    #[test]
    fn the_leader_s_peer_is_reported_first_and_the_others_stay_in_order() {
        let stores = |region: &Region| region.peers().map(|peer| peer.store_id.0).collect::<Vec<_>>();
        let reported: Vec<_> = leads(1, &[row(1, 2, 3, None)]).reports().map(|region| stores(&region)).collect();
        assert_eq!(reported, [[3, 1, 2], [2, 3, 1]]);
    }

    #[test]
    fn only_a_hint_about_what_this_store_leads_is_followed() {
        let at = leads(1, &[]);
        let offer = Offer { region: RegionId(1), term: 2, target: StoreId(2) };
        assert_eq!(at.offer(&hint(1, 11, 12)), Ok((row(1, 1, 1, Some(2)), offer)));
        for stale in
            [hint(2, 21, 22), hint(3, 31, 32), hint(9, 91, 92), hint(1, 12, 13), hint(1, 11, 99), hint(1, 11, 11)]
        {
            assert_eq!(at.offer(&stale), Err(NoOffer::OutOfDate), "{stale:?}");
        }
        let offered = leads(1, &[row(1, 1, 1, Some(2))]);
        assert_eq!(offered.offer(&hint(1, 11, 13)), Err(NoOffer::Pending(offer)));
        assert_eq!(offered.offers().collect::<Vec<_>>(), [offer]);
        assert_eq!(leads(1, &[row(1, u64::MAX, 1, None)]).offer(&hint(1, 11, 12)), Err(NoOffer::LastTerm));
    }

    #[test]
    fn an_offer_is_taken_once_and_acknowledged_as_often_as_it_comes() {
        let mut at = leads(2, &[]);
        let source = StoreId(1);
        assert_eq!(at.take(source, RegionId(1), 2), Take::New(row(1, 2, 2, None)));
        at.apply(&[row(1, 2, 2, None)]);
        assert_eq!(at.take(source, RegionId(1), 2), Take::Known(told(1, 2, 2).1));
        at.apply(&[row(1, 3, 3, None)]);
        assert_eq!(at.take(source, RegionId(1), 2), Take::Known(told(1, 3, 3).1));
        assert_eq!(at.take(source, RegionId(9), 2), Take::NotHere);
    }

    /// One message with the last term, or with a leader that does not exist, made regions leaderless for ever, on every disk.
    #[test]
    fn leads_and_offers_that_cannot_be_are_ignored() {
        let at = leads(2, &[row(2, 7, 3, None)]);
        for absurd in [told(1, 99, 777), told(1, 2, 0), told(1, u64::MAX, 1), told(1, 2 + TERMS_MISSED_MAX, 1)] {
            assert!(at.is_absurd(&absurd), "{absurd:?}");
            assert_eq!(at.learn(&[absurd, told(1, 2, 3)]), [row(1, 2, 3, None)], "and hides no other: {absurd:?}");
        }
        for harmless in [told(1, 99, 3), told(1, 0, 777), told(9, u64::MAX, 777), told(2, 8, 1)] {
            assert!(!at.is_absurd(&harmless), "{harmless:?}");
        }
        let known = told(2, 7, 3).1;
        for (source, term) in [(1, 8), (2, 8), (2, 9), (777, 9), (0, 9), (1, u64::MAX)] {
            assert_eq!(at.take(StoreId(source), RegionId(2), term), Take::Refused(known), "{source} {term}");
        }
        let first = told(1, 1, 1).1;
        assert_eq!(at.take(StoreId(1), RegionId(1), 1), Take::Refused(first), "a term has one leader");
        for (source, term) in [(3, 8), (1, 9), (3, 9)] {
            assert_eq!(at.take(StoreId(source), RegionId(2), term), Take::New(row(2, term, 2, None)));
        }
    }

    #[test]
    fn the_answer_ends_the_offer_whichever_it_is() {
        let at = leads(1, &[row(1, 1, 1, Some(2))]);
        assert_eq!(at.learn(&[told(1, 2, 2)]), [row(1, 2, 2, None)], "taken");
        assert_eq!(at.learn(&[told(1, 7, 3)]), [row(1, 7, 3, None)], "the offer came too late");
        let offer = at.offers().next().unwrap();
        assert_eq!(at.withdraw(offer), Some(row(1, 1, 1, None)), "the target does not have the region");
        assert_eq!(at.withdraw(Offer { target: StoreId(3), ..offer }), None);
    }

    #[test]
    fn of_two_leads_the_higher_counts_in_both_directions() {
        let at = leads(1, &[row(1, 4, 2, None), row(2, 4, 1, None)]);
        let heard = [told(1, 3, 3), told(1, 5, 3), told(1, 4, 1), told(2, 3, 2), told(9, 9, 9)];
        assert_eq!(at.learn(&heard), [row(1, 5, 3, None)]);
        assert_eq!(at.newer_than(&heard), [told(1, 4, 2), told(1, 4, 2), told(2, 4, 1)]);
        assert_eq!(at.learn(&[told(2, 4, 2)]), [row(2, 4, 2, None)], "one term, set up differently: the higher store");
        assert_eq!(at.shared_with(StoreId(3)).count(), 2);
        assert_eq!(leads(3, &[]).shared_with(StoreId(1)).count(), 2);
    }

    #[test]
    #[should_panic(expected = "after")]
    fn a_lead_never_goes_back() {
        leads(1, &[row(1, 4, 2, None)]).apply(&[row(1, 3, 1, None)]);
    }
}
