//! The leader-transfer planner.
use super::region::{PeerId, RegionId};

/// The numbers of a store's last heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub region_num: u64,
    pub leader_num: u64,
    /// Bytes.
    pub capacity: u64,
    /// Bytes.
    pub available: u64,
}

/// A hint to the store that sent the heartbeat: move the leader of `region_id` from `source_peer_id` to `target_peer_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderTransfer {
    pub region_id: RegionId,
    pub source_peer_id: PeerId,
    pub target_peer_id: PeerId,
}
