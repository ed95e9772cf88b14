//! A store with an adapter: it splits a region, gives a leader away because the PD hints so, and merges the regions while the
//! PD is away. `cargo run --release --example store`

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use pd_lite::adapter::{Adapter, AdapterOptions};
use pd_lite::{Client, Epoch, Peer, PeerId, Region, RegionId, Server, StoreId, StoreStats};

struct Store {
    regions: BTreeMap<RegionId, Region>,
    leaders: BTreeSet<RegionId>,
    adapter: Adapter,
}

impl Store {
    /// A region is new or has changed, and has replicas on the stores 1 and 2.
    fn put(&mut self, id: u64, start: &str, end: &str, version: u64) {
        let peers = [1, 2].map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(10 * id + store) });
        let epoch = Epoch { version, conf_version: 1 };
        let region = Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), epoch, peers);
        self.adapter.region_heartbeat(region.clone());
        self.regions.insert(RegionId(id), region);
    }

    fn remove(&mut self, id: u64) {
        self.adapter.remove_region(RegionId(id));
        self.regions.remove(&RegionId(id));
    }

    /// What a store does every three seconds: it reports all regions, then its numbers, and follows the PD's hints.
    fn round(&mut self) {
        for region in self.regions.values() {
            self.adapter.region_heartbeat(region.clone());
        }
        let count = |len| u64::try_from(len).expect("no machine counts further");
        let (region_num, leader_num) = (count(self.regions.len()), count(self.leaders.len()));
        self.adapter.store_heartbeat(StoreId(1), StoreStats { region_num, leader_num, ..StoreStats::default() });
        self.adapter.flush(Duration::from_secs(10)); // for this demonstration alone: no store has to wait
        for hint in self.adapter.plan() {
            self.leaders.remove(&hint.region_id);
            println!("region {}: the leader moves to peer {}", hint.region_id, hint.target_peer_id);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let workdir = tempfile::tempdir()?;
    let server = Server::builder().workdir(workdir.path()).start()?;
    let addr = server.addr().to_string();
    server.client().store_heartbeat(StoreId(2), StoreStats::default())?; // another store, without a leader

    let adapter = Adapter::start(Some(Client::connect(&addr)?), AdapterOptions::default());
    let mut store = Store { regions: BTreeMap::new(), leaders: [1, 2].map(RegionId).into(), adapter };
    store.put(1, "", "", 1);
    store.put(1, "", "m", 2); // a split: the parent shrinks,
    store.put(2, "m", "", 2); // then the child comes
    store.round();
    assert_eq!(store.leaders, [RegionId(2)].into(), "the PD evens leaders out");

    server.stop()?;
    store.remove(2); // a merge: the one goes,
    store.put(1, "", "", 3); // then the other grows
    println!("the PD is away, {} changes wait for it", store.adapter.unacknowledged());

    let server = Server::builder().addr(&addr).workdir(workdir.path()).start()?;
    assert!(store.adapter.stop(), "the PD is back, so everything reaches it");
    let found = server.client().region_by_key(b"zebra")?;
    assert_eq!(found.as_ref(), store.regions.get(&RegionId(1)));
    println!("the PD is back, \"zebra\" is in region {}", found.ok_or("no region holds it")?.id());
    Ok(())
}
