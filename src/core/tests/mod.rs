//! Tests of the parts of `core` together, against models that do what the contract says in the plainest way.

mod allocator_windows;
mod allocators_model;
mod cluster_model;
mod contract;

use super::{Epoch, Peer, PeerId, Region, RegionId, StoreId};

/// A region from plain numbers; peers are (store, peer).
fn region(id: u64, (start, end): (&str, &str), (version, conf_version): (u64, u64), peers: &[(u64, u64)]) -> Region {
    let peers = peers.iter().map(|&(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
    Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), Epoch { version, conf_version }, peers)
}
