//! Between messages and regions, for both ends of a call. Nothing is checked here.

use crate::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};
use crate::proto::pd;

impl From<&pd::RegionMeta> for Region {
    fn from(meta: &pd::RegionMeta) -> Self {
        let epoch = Epoch { version: meta.epoch_version, conf_version: meta.epoch_conf_version };
        Self::new(RegionId(meta.id), &meta.start_key, &meta.end_key, epoch, meta.peers.iter().map(Peer::from))
    }
}

impl From<&pd::RegionPeer> for Peer {
    fn from(peer: &pd::RegionPeer) -> Self {
        Self { store_id: StoreId(peer.store_id), peer_id: PeerId(peer.peer_id) }
    }
}

/// Whether a message describes the region as it is: what comparing with [`Region::from`] the message tells, without
/// building it.
impl PartialEq<pd::RegionMeta> for Region {
    fn eq(&self, meta: &pd::RegionMeta) -> bool {
        self.id() == RegionId(meta.id)
            && self.epoch() == Epoch { version: meta.epoch_version, conf_version: meta.epoch_conf_version }
            && self.start_key() == meta.start_key
            && self.end_key() == meta.end_key
            && self.peers().eq(meta.peers.iter().map(Peer::from))
    }
}

impl From<&Region> for pd::RegionMeta {
    fn from(region: &Region) -> Self {
        let peer =
            |peer: Peer| pd::RegionPeer { store_id: peer.store_id.0, peer_id: peer.peer_id.0, ..Default::default() };
        Self {
            id: region.id().0,
            start_key: region.start_key().to_vec(),
            end_key: region.end_key().to_vec(),
            epoch_version: region.epoch().version,
            epoch_conf_version: region.epoch().conf_version,
            peers: region.peers().map(peer).collect(),
            ..Default::default()
        }
    }
}
