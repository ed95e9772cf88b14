//! The crate's client over real gRPC: against the real PD, killed and restarted, and against servers that do on purpose what
//! the real one cannot.

mod addresses;
mod calls;
mod empty_answers;
mod fallback;
mod reconnects;
mod retries;
mod router;
mod splitting;
mod timestamp_faults;
mod timestamps;

use std::time::Duration;

use pd_lite::client::{Client, ClientOptions};
use pd_lite::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};

/// Only a client that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

/// A client that waits for as long as it takes.
fn patient(addrs: &str) -> Client {
    Client::new(ClientOptions { timeout: HANG, ..ClientOptions::new(addrs) }).unwrap()
}

/// A client that gives up after `timeout`.
fn hasty(addrs: &str, timeout: Duration) -> Client {
    Client::new(ClientOptions { timeout, ..ClientOptions::new(addrs) }).unwrap()
}

/// A region with one peer on each of the stores 1, 2 and 3.
fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> Region {
    let peers = (1..=3).map(|store| Peer { store_id: StoreId(store), peer_id: PeerId(id * 10 + store) });
    Region::new(RegionId(id), start, end, Epoch { version, conf_version: 1 }, peers)
}
