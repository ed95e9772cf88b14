//! A store for the tests: its regions, its adapter and what its adapter tells of errors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pd_lite::adapter::{Action, Adapter, AdapterOptions};
use pd_lite::client::{Client, ClientOptions, Error};
use pd_lite::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId, StoreStats};

use crate::support;

/// Only an adapter that hangs takes this long.
pub const HANG: Duration = Duration::from_secs(60);
/// No round comes within the test.
pub const NEVER: Duration = Duration::from_secs(3_600);
/// A round comes soon.
pub const SOON: Duration = Duration::from_millis(20);

/// What an adapter's error callback was told.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<(Action, Error)>>>);

impl Told {
    pub fn options(&self, round: Duration) -> AdapterOptions {
        let told = self.clone();
        let on_error = Arc::new(move |action, error: &Error| told.0.lock().unwrap().push((action, error.clone())));
        AdapterOptions { round, on_error, ..AdapterOptions::default() }
    }

    pub fn all(&self) -> Vec<(Action, Error)> {
        self.0.lock().unwrap().clone()
    }
}

/// A client that waits for as long as it takes.
pub fn patient(addr: &str) -> Client {
    Client::new(ClientOptions { timeout: HANG, ..ClientOptions::new(addr) }).unwrap()
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A region with one peer on each of the stores 1, 2 and 3.
pub fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> Region {
    let peers = (1..=3).map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(id * 10 + store) });
    Region::new(RegionId(id), start, end, Epoch { version, conf_version: 1 }, peers)
}

pub fn stats(region_num: u64, leader_num: u64) -> StoreStats {
    StoreStats { region_num, leader_num, ..StoreStats::default() }
}

/// The regions of a store, which side by side hold every key, and the adapter that it tells of each change.
pub struct Store {
    pub adapter: Adapter,
    /// By start key: id and version.
    regions: BTreeMap<Vec<u8>, (u64, u64)>,
    ids: u64,
}

impl Store {
    /// Begins with one region, 1.
    pub fn new(adapter: Adapter) -> Self {
        let mut store = Self { adapter, regions: BTreeMap::new(), ids: 1 };
        store.tell(Vec::new(), (1, 1));
        store
    }

    /// Splits off a new region behind `key`, as a split does: the parent shrinks, then the child comes.
    pub fn split(&mut self, key: &[u8]) {
        let (start, (id, version)) = self.holder(key);
        if start == key {
            return;
        }
        self.ids += 1;
        self.regions.insert(key.to_vec(), (self.ids, version + 1));
        self.tell(start, (id, version + 1));
        self.tell(key.to_vec(), (self.ids, version + 1));
    }

    /// The region that holds `key` takes in its right neighbour, as a merge does: that one goes, then this one grows.
    pub fn merge(&mut self, key: &[u8]) {
        let (start, (id, version)) = self.holder(key);
        let Some(right) = self.end(&start) else { return };
        let (gone, other) = self.regions.remove(&right).unwrap();
        self.adapter.remove_region(RegionId(gone));
        self.tell(start, (id, version.max(other) + 1));
    }

    /// The region that holds `key` changes, and not its range.
    pub fn change(&mut self, key: &[u8]) {
        let (start, (id, version)) = self.holder(key);
        self.tell(start, (id, version + 1));
    }

    /// The store's own round: every region, as it is, and the numbers.
    pub fn report_all(&self) {
        for start in self.regions.keys() {
            self.adapter.region_heartbeat(self.region(start));
        }
        self.adapter.store_heartbeat(StoreId(1), stats(1, 1));
    }

    /// Insists that the PD holds exactly the store's regions.
    pub fn assert_known(&self, pd: &support::Client) {
        for start in self.regions.keys() {
            let known = pd.lookup(start).unwrap().as_ref().map(Region::from);
            assert_eq!(known, Some(self.region(start)));
        }
        // They hold every key, so the PD has no room for another one.
        assert_eq!(self.regions.first_key_value().map(|(start, _)| start.len()), Some(0));
    }

    fn holder(&self, key: &[u8]) -> (Vec<u8>, (u64, u64)) {
        let (start, known) = self.regions.range(..=key.to_vec()).next_back().unwrap();
        (start.clone(), *known)
    }

    fn end(&self, start: &[u8]) -> Option<Vec<u8>> {
        self.regions.range([start, b"\0"].concat()..).next().map(|(right, _)| right.clone())
    }

    fn region(&self, start: &[u8]) -> Region {
        let (id, version) = self.regions[start];
        region(id, start, &self.end(start).unwrap_or_default(), version)
    }

    fn tell(&mut self, start: Vec<u8>, known: (u64, u64)) {
        self.regions.insert(start.clone(), known);
        self.adapter.region_heartbeat(self.region(&start));
    }
}

/// The `number`th of many keys.
pub fn key(number: u64) -> Vec<u8> {
    format!("{number:06}").into_bytes()
}
