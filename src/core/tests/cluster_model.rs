//! The cluster and its planner against a plain list of regions that is looked through from end to end.
//!
//! Keys, ids, stores and peers are so few that regions meet, split, merge, move and go stale all the time.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::region;
use crate::core::{Cluster, LeaderTransfer, PeerId, Refusal, Region, RegionId, StoreId, StoreStats, Verdict};

/// Borders of ranges in order, the first and the last being the empty key.
const BORDERS: [&str; 12] = ["", "\0", "a", "a\0", "aa", "ab", "b", "c", "d", "x", "xyz", ""];
const STORES: u64 = 5;

#[derive(Clone, Debug)]
enum Step {
    Report(Region),
    /// Reports a known region again as it is.
    ReportAgain(usize),
    /// Reports a known region with a higher epoch and other peers.
    ChangePeers(usize, Vec<(u64, u64)>),
    Remove(u64),
    StoreHeartbeat(u64, u64),
    /// Builds the cluster anew from its regions; it forgets the stores.
    Restore,
}

fn peers() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1..=STORES, 0..4_u64), 0..5)
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..11_usize, 0..11_usize).prop_map(|(a, b)| (BORDERS[a.min(b)], BORDERS[a.max(b) + 1]));
    let narrow = (0..11_usize).prop_map(|at| (BORDERS[at], BORDERS[at + 1]));
    let id = prop_oneof![9 => 1..14_u64, 1 => Just(u64::MAX)];
    let reported = (id, prop_oneof![1 => range, 3 => narrow], (0..3_u64, 0..3_u64), peers());
    prop_oneof![
        10 => reported.prop_map(|(id, range, epoch, peers)| Step::Report(region(id, range, epoch, &peers))),
        1 => any::<usize>().prop_map(Step::ReportAgain),
        5 => (any::<usize>(), peers()).prop_map(|(at, peers)| Step::ChangePeers(at, peers)),
        5 => prop_oneof![9 => 0..14_u64, 1 => Just(u64::MAX)].prop_map(Step::Remove),
        10 => (1..=STORES, 0..6_u64).prop_map(|(store, leaders)| Step::StoreHeartbeat(store, leaders)),
        1 => Just(Step::Restore),
    ]
}

#[derive(Default)]
struct Model {
    /// By ascending id.
    regions: Vec<Region>,
    /// Store id and leaders.
    stores: Vec<(u64, u64)>,
}

impl Model {
    fn judge(&self, region: &Region) -> &'static str {
        let current = self.regions.iter().find(|current| current.id() == region.id());
        if current.is_some_and(|current| region.epoch() < current.epoch()) {
            return "stale";
        }
        let meets = |other: &&Region| {
            let below = |end: &[u8], start: &[u8]| !end.is_empty() && end <= start;
            let apart = below(other.end_key(), region.start_key()) || below(region.end_key(), other.start_key());
            other.id() != region.id() && !apart
        };
        if self.regions.iter().any(|other| meets(&other)) {
            return "overlap";
        }
        if current == Some(region) { "unchanged" } else { "changed" }
    }

    fn put(&mut self, region: Region) {
        self.regions.retain(|other| other.id() != region.id());
        self.regions.push(region);
        self.regions.sort_by_key(Region::id);
    }

    fn remove(&mut self, id: u64) -> bool {
        let len = self.regions.len();
        self.regions.retain(|region| region.id() != RegionId(id));
        self.regions.len() < len
    }

    fn region_by_key(&self, key: &[u8]) -> Option<&Region> {
        let ends_above = |region: &Region| region.end_key().is_empty() || key < region.end_key();
        self.regions.iter().find(|region| region.start_key() <= key && ends_above(region))
    }

    fn store_heartbeat(&mut self, store: u64, leaders: u64) -> Option<LeaderTransfer> {
        self.stores.retain(|&(other, _)| other != store);
        self.stores.push((store, leaders));
        self.stores.sort_unstable();
        let mut source = self.stores[0];
        let mut target = self.stores[0];
        for &(store, leaders) in &self.stores {
            source = if leaders > source.1 { (store, leaders) } else { source };
            target = if leaders < target.1 { (store, leaders) } else { target };
        }
        if source.0 == target.0 || source.0 != store || source.1 <= target.1 + 1 {
            return None;
        }
        let peer = |region: &Region, store: u64| {
            let mut peers = region.peers().map(|peer| (peer.store_id.0, peer.peer_id.0));
            peers.find(|peer| peer.0 == store && peer.1 != 0).map(|peer| peer.1)
        };
        let transfer = |region: &Region| {
            let (source, target) = (peer(region, source.0)?, peer(region, target.0)?);
            let (source_peer_id, target_peer_id) = (PeerId(source), PeerId(target));
            (source != target).then_some(LeaderTransfer { region_id: region.id(), source_peer_id, target_peer_id })
        };
        let leads = |region: &&Region| region.peers().next().is_some_and(|peer| peer.store_id.0 == source.0);
        self.regions.iter().filter(leads).find_map(transfer).or_else(|| self.regions.iter().find_map(transfer))
    }
}

fn verdict(verdict: &Result<Verdict, Refusal>) -> &'static str {
    match verdict {
        Ok(Verdict::Unchanged) => "unchanged",
        Ok(Verdict::Changed) => "changed",
        Err(Refusal::Stale { .. }) => "stale",
        Err(Refusal::Overlap(_)) => "overlap",
    }
}

/// Reports a region to both. Their verdicts are the same.
fn report(cluster: &mut Cluster, model: &mut Model, region: Region) {
    let judged = cluster.judge(&region);
    assert_eq!(verdict(&judged), model.judge(&region), "{region:?}");
    match judged {
        Ok(Verdict::Unchanged) => assert_eq!(*cluster.region(region.id()).unwrap(), region),
        Ok(Verdict::Changed) => {
            cluster.put(region.clone());
            model.put(region);
        }
        Err(Refusal::Stale { current, incoming, .. }) => {
            assert!(incoming < current);
            assert_eq!((current, incoming), (cluster.region(region.id()).unwrap().epoch(), region.epoch()));
        }
        Err(Refusal::Overlap(overlap)) => {
            assert_ne!(overlap.with, region.id());
            assert!(cluster.region(overlap.with).unwrap().range().overlaps(&region.range()));
        }
    }
}

fn take_step(cluster: &mut Cluster, model: &mut Model, step: Step, now: Duration) {
    let known = |at: usize| model.regions.get(at % model.regions.len().max(1)).cloned();
    match step {
        Step::Report(region) => report(cluster, model, region),
        Step::ReportAgain(at) => {
            if let Some(region) = known(at) {
                report(cluster, model, region);
            }
        }
        Step::ChangePeers(at, peers) => {
            if let Some(old) = known(at) {
                let range = (old.start_key().to_vec(), old.end_key().to_vec());
                let range = (str::from_utf8(&range.0).unwrap(), str::from_utf8(&range.1).unwrap());
                let epoch = (old.epoch().version, old.epoch().conf_version + 1);
                report(cluster, model, region(old.id().0, range, epoch, &peers));
            }
        }
        Step::Remove(id) => assert_eq!(cluster.remove(RegionId(id)), model.remove(id)),
        Step::StoreHeartbeat(store, leaders) => {
            let stats = StoreStats { leader_num: leaders, region_num: 1, capacity: 2, available: 3 };
            let hint = cluster.store_heartbeat(StoreId(store), stats, now);
            assert_eq!(hint, model.store_heartbeat(store, leaders));
            assert!(cluster.stores_from(StoreId(0)).any(|found| found == (StoreId(store), stats, now)));
        }
        Step::Restore => {
            let regions: Vec<_> = cluster.regions_from(RegionId(0)).cloned().map(Arc::new).collect();
            *cluster = Cluster::restore(regions).unwrap();
            model.stores.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // A million steps.
        cases: 4000,
        rng_seed: prop::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_cluster_agrees_with_a_plain_list_at_every_step(steps in prop::collection::vec(step(), 200..300)) {
        let (mut cluster, mut model) = (Cluster::default(), Model::default());
        for (at, step) in (0..).zip(steps) {
            take_step(&mut cluster, &mut model, step, Duration::from_millis(at));
            cluster.check_invariants();
            prop_assert!(cluster.regions_from(RegionId(0)).eq(&model.regions));
            prop_assert_eq!((cluster.len(), cluster.is_empty()), (model.regions.len(), model.regions.is_empty()));
            for key in BORDERS {
                for key in [key.as_bytes(), &[key.as_bytes(), b"\0"].concat(), &[key.as_bytes(), b"\xff"].concat()] {
                    prop_assert_eq!(cluster.region_by_key(key), model.region_by_key(key));
                }
            }
        }
    }
}
