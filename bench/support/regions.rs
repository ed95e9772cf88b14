//! The regions that benches work on: region `i` of a count, 32-byte keys, 3 peers on 3 of 5 stores, and a workdir full of them.

use std::fs;
use std::path::Path;

use pd_lite::core::{Epoch, Peer, PeerId, Region, RegionId, Regions, StoreId};
use pd_lite::proto::pd;
use pd_lite::storage::record::{self, RegionState};

/// Stores that hold the regions, with ids from 1.
pub const STORES: u64 = 5;
/// Replicas of a region.
pub const PEERS: u64 = 3;
/// Bytes of every border.
pub const KEY_LEN: usize = 32;
/// The epoch version of a region that no bench has bumped.
pub const FIRST_VERSION: u64 = 1;

/// The first key of region `i`, which is the end of region `i - 1`.
pub fn key(i: u64) -> Vec<u8> {
    let key = format!("user/{i:027}").into_bytes();
    debug_assert_eq!(key.len(), KEY_LEN);
    key
}

/// The id of region `i`. Ids of regions and peers come from one sequence, as AllocID gives them.
pub fn id(i: u64) -> u64 {
    i * (1 + PEERS) + 1
}

/// Store and peer id of each replica; every store is first in its share of the regions.
pub fn peers(i: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..PEERS).map(move |peer| ((i + peer) % STORES + 1, id(i) + 1 + peer))
}

/// Region `i` as the catalog holds it.
pub fn region(i: u64, version: u64) -> Region {
    let peers = peers(i).map(|(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
    Region::new(RegionId(id(i)), &key(i), &key(i + 1), Epoch { version, conf_version: 1 }, peers)
}

/// Region `i` as a message.
pub fn message(i: u64, version: u64) -> pd::RegionMeta {
    let mut region = pd::RegionMeta::new();
    region.id = id(i);
    region.start_key = key(i);
    region.end_key = key(i + 1);
    region.epoch_version = version;
    region.epoch_conf_version = 1;
    region.peers = peers(i)
        .map(|(store_id, peer_id)| {
            let mut peer = pd::RegionPeer::new();
            peer.store_id = store_id;
            peer.peer_id = peer_id;
            peer
        })
        .collect();
    region
}

/// The heartbeat of region `i`.
pub fn heartbeat(i: u64, version: u64) -> pd::RegionHeartbeatRequest {
    let mut request = pd::RegionHeartbeatRequest::new();
    request.region = Some(message(i, version)).into();
    request
}

/// The lookup of the first key of region `i`.
pub fn lookup(i: u64) -> pd::GetRegionByKeyRequest {
    let mut request = pd::GetRegionByKeyRequest::new();
    request.key = key(i);
    request
}

/// Spreads the numbers 0, 1, 2, … evenly and without order over `0..count` (SplitMix64).
pub fn scattered(number: u64, count: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % count
}

/// Every number below `count` once and in no order, as `place` goes over them by ascending number.
pub fn shuffled(place: u64, count: u64) -> u64 {
    /// A prime: with any smaller count, its multiples meet every number once.
    const STRIDE: u64 = 2_654_435_761;
    place * STRIDE % count
}

/// All regions of a catalog of `count`.
pub fn all(count: u64) -> Regions {
    (0..count).map(|i| region(i, FIRST_VERSION)).collect()
}

/// Writes a workdir with `count` regions in the reference's form.
pub fn write_workdir(dir: &Path, count: u64) -> super::Result<()> {
    const MANIFEST: &str = "MANIFEST-000001";
    let mut records = Vec::new();
    for i in 0..count {
        record::push_put(&mut records, &region(i, FIRST_VERSION), RegionState::Plain, false);
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join(MANIFEST), records)?;
    fs::write(dir.join("CURRENT"), MANIFEST)?;
    Ok(())
}
