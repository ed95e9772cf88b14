//! A PD in a test: it starts in the test's own process, takes heartbeats over real gRPC, answers where keys are, hints a
//! leader transfer, and dates its stores by a clock that the test moves by hand. `cargo run --release --example pd_in_a_test`

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pd_lite::{Clock, Epoch, Peer, PeerId, Region, RegionId, Server, StoreId, StoreStats};

/// A clock that stands still until the test moves it.
#[derive(Default)]
struct Hand(Mutex<Duration>);

impl Hand {
    fn move_on(&self, time: Duration) {
        *self.0.lock().expect("nobody panics with it") += time;
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        *self.0.lock().expect("nobody panics with it")
    }
}

/// A region with a replica on each of the stores 1 and 2, led by the first.
fn region(id: u64, start: &str, end: &str) -> Region {
    let peers = [1, 2].map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(10 * id + store) });
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version: 1, conf_version: 1 }, peers)
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(Hand::default());
    let server = Server::builder().clock(clock.clone()).start()?;
    let client = server.client();
    println!("a PD listens on {}", server.addr());

    // What the stores of a cluster report.
    let outcomes = client.region_heartbeats(&[region(1, "", "m"), region(2, "m", "")]);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    client.store_heartbeat(StoreId(2), StoreStats { region_num: 2, leader_num: 0, ..StoreStats::default() })?;
    clock.move_on(Duration::from_secs(3));
    let hints =
        client.store_heartbeat(StoreId(1), StoreStats { region_num: 2, leader_num: 2, ..StoreStats::default() })?;

    // Where keys are.
    for (key, expected) in [("apple", RegionId(1)), ("zebra", RegionId(2))] {
        let found = client.region_by_key(key.as_bytes())?.ok_or("no region holds it")?;
        assert_eq!(found.id(), expected);
        println!("{key:?} is in region {}", found.id());
    }

    // Store 1 leads everything: it is told to give a leader to store 2.
    let [hint] = hints[..] else { return Err("one hint was expected".into()) };
    assert_eq!((hint.region_id, hint.source_peer_id, hint.target_peer_id), (RegionId(1), PeerId(11), PeerId(12)));
    println!(
        "region {}: its leader should move from peer {} to {}",
        hint.region_id, hint.source_peer_id, hint.target_peer_id
    );

    // Ages are exact, and no test waits for them.
    let ages: Vec<_> = client.stores()?.iter().map(|store| (store.id, store.age)).collect();
    assert_eq!(ages, [(StoreId(1), Duration::ZERO), (StoreId(2), Duration::from_secs(3))]);
    println!("store 2 was heard {:?} ago", ages[1].1);

    server.stop()?;
    println!("the PD has stopped");
    Ok(())
}
