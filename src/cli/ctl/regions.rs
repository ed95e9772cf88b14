//! Regions as `pd-lite ctl` prints them.

use serde::Serialize;

use super::keys;
use crate::core::Region;

/// The fields of a line: id, start key, end key, version, conf version, `store:peer` list; `-` is none.
pub fn fields(region: &Region, hex: bool) -> [String; 6] {
    let epoch = region.epoch();
    let peers: Vec<String> = region.peers().map(|peer| format!("{}:{}", peer.store_id, peer.peer_id)).collect();
    [
        region.id().to_string(),
        keys::text(region.start_key(), hex),
        keys::text(region.end_key(), hex),
        epoch.version.to_string(),
        epoch.conf_version.to_string(),
        if peers.is_empty() { "-".to_owned() } else { peers.join(",") },
    ]
}

/// A region under the names that the protocol gives its fields; keys in hexadecimal.
#[derive(Serialize)]
pub struct RegionJson {
    id: u64,
    start_key: String,
    end_key: String,
    epoch_version: u64,
    epoch_conf_version: u64,
    peers: Vec<PeerJson>,
}

#[derive(Serialize)]
struct PeerJson {
    store_id: u64,
    peer_id: u64,
}

impl From<&Region> for RegionJson {
    fn from(region: &Region) -> Self {
        Self {
            id: region.id().0,
            start_key: keys::hex(region.start_key()),
            end_key: keys::hex(region.end_key()),
            epoch_version: region.epoch().version,
            epoch_conf_version: region.epoch().conf_version,
            peers: region.peers().map(|peer| PeerJson { store_id: peer.store_id.0, peer_id: peer.peer_id.0 }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Epoch, Peer, PeerId, RegionId, StoreId};

    #[test]
    fn a_region_is_six_fields() {
        let line = |peers: &[(u64, u64)]| {
            let peers = peers.iter().map(|&(store, peer)| Peer { store_id: StoreId(store), peer_id: PeerId(peer) });
            fields(&Region::new(RegionId(7), b"", b"m", Epoch { version: 3, conf_version: 2 }, peers), false).join(" ")
        };
        assert_eq!(line(&[(1, 11), (2, 0)]), "7 - m 3 2 1:11,2:0");
        assert_eq!(line(&[]), "7 - m 3 2 -");
    }
}
