//! Between calls and their messages, where the client and a PD that is called without a network do the same.

use protobuf::EnumOrUnknown;

use crate::core::{LeaderTransfer, PeerId, RegionId, StoreId, StoreStats};
use crate::proto::pd;

pub(crate) fn store_heartbeat(store: StoreId, stats: StoreStats) -> pd::StoreHeartbeatRequest {
    pd::StoreHeartbeatRequest {
        store_id: store.0,
        region_num: stats.region_num,
        leader_num: stats.leader_num,
        capacity: stats.capacity,
        available: stats.available,
        ..Default::default()
    }
}

/// The hints of an answer. Operations of a kind that is not known here are left out.
pub(crate) fn leader_transfers(answer: &pd::StoreHeartbeatResponse) -> Vec<LeaderTransfer> {
    let wanted = EnumOrUnknown::new(pd::SchedulerOperationType::SCHEDULER_OPERATION_TYPE_LEADER_TRANSFER);
    let transfers = answer.operations.iter().filter(|operation| operation.type_ == wanted);
    transfers
        .map(|operation| LeaderTransfer {
            region_id: RegionId(operation.region_id),
            source_peer_id: PeerId(operation.source_peer_id),
            target_peer_id: PeerId(operation.target_peer_id),
        })
        .collect()
}
