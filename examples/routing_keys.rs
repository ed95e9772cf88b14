//! Routing keys as a gateway does: a router finds the region of a key, the store that gets the request may refuse it because
//! the region has split since, and then the router asks the PD again. `cargo run --release --example routing_keys`

use std::error::Error;
use std::sync::Arc;

use pd_lite::{Client, Epoch, Peer, PeerId, Region, RegionId, Router, Server, StoreId};

/// What a store answers when it is asked with an old epoch.
#[derive(Debug)]
struct EpochNotMatch;

/// A store's regions, as they are. A real one is behind a connection.
struct Store {
    regions: Vec<Region>,
}

impl Store {
    /// Answers a request for `key` that was routed to `region`.
    fn get(&self, key: &[u8], region: &Region) -> Result<String, EpochNotMatch> {
        let own = self.regions.iter().find(|own| own.id() == region.id() && own.epoch() == region.epoch());
        let own = own.filter(|own| own.range().contains(key)).ok_or(EpochNotMatch)?;
        Ok(format!("the value of {:?} in region {}", String::from_utf8_lossy(key), own.id()))
    }

    /// Reports everything, as stores do every few seconds.
    fn report(&self, client: &Client) -> Result<(), pd_lite::Error> {
        client.region_heartbeats(&self.regions).into_iter().collect()
    }
}

fn region(id: u64, start: &str, end: &str, version: u64) -> Region {
    let peers = [Peer { store_id: StoreId(1), peer_id: PeerId(10 + id) }];
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version, conf_version: 1 }, peers)
}

/// Gets a key's value and says how many times a store was asked.
fn get(router: &Router<Client>, store: &Store, key: &str) -> Result<(String, usize), Box<dyn Error>> {
    // Each refusal teaches the router something, so a few turns are enough, unless regions split without end.
    for asked in 1..=5 {
        let region: Arc<Region> = router.region(key.as_bytes())?.ok_or("no region holds the key")?;
        match store.get(key.as_bytes(), &region) {
            Ok(value) => return Ok((value, asked)),
            Err(EpochNotMatch) => router.invalidate(region.id(), region.epoch()),
        }
    }
    Err("the store refuses every route".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().start()?;
    let client = server.client();
    let mut store = Store { regions: vec![region(1, "a", "z", 1)] };
    store.report(&client)?;

    let router = Router::new(client.clone());
    for key in ["cat", "dog", "tiger"] {
        let (value, asked) = get(&router, &store, key)?;
        assert_eq!(asked, 1);
        println!("{value}");
    }
    let stats = router.stats();
    assert_eq!((stats.hits, stats.misses, stats.lookups), (2, 1, 1), "one lookup fills the cache for all three");

    // The region splits: the store knows at once, the PD with the next heartbeats, the router when it is told.
    store.regions = vec![region(1, "a", "m", 2), region(2, "m", "z", 2)];
    store.report(&client)?;
    let (value, asked) = get(&router, &store, "tiger")?;
    assert_eq!(asked, 2, "the old route is refused, the new one is not");
    println!("{value}, after a split");
    let (_, asked) = get(&router, &store, "cat")?;
    assert_eq!(asked, 1, "the split's left half is looked up: its old entry has gone");

    // Between regions there is nothing, and nothing is made up.
    assert!(router.region(b"zoo")?.is_none());
    let stats = router.stats();
    println!("{} hits, {} misses, {} lookups", stats.hits, stats.misses, stats.lookups);
    Ok(())
}
