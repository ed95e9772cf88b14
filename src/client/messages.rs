//! Between the calls' arguments and results and their messages, for the client and for a PD that is called without a network.

use std::ops::RangeInclusive;

use protobuf::EnumOrUnknown;

use super::Error;
use crate::core::{LeaderTransfer, PeerId, Region, RegionId, StoreId, StoreStats};
use crate::proto::{pd, pdlite};

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

pub(crate) fn region_heartbeat(region: &Region) -> pd::RegionHeartbeatRequest {
    pd::RegionHeartbeatRequest { region: Some(region.into()).into(), ..Default::default() }
}

pub(crate) fn remove_region(id: RegionId) -> pd::RemoveRegionRequest {
    pd::RemoveRegionRequest { region_id: id.0, ..Default::default() }
}

pub(crate) fn region_by_key(key: &[u8]) -> pd::GetRegionByKeyRequest {
    pd::GetRegionByKeyRequest { key: key.to_vec(), ..Default::default() }
}

/// Refuses a count of 0, which a PD would take as 1.
///
/// # Errors
///
/// `Invalid`.
pub(crate) fn check_count(count: u64) -> Result<u64, Error> {
    if count == 0 { Err(Error::Invalid("a count of 0 asks for nothing".into())) } else { Ok(count) }
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

pub(crate) fn found(answer: &pd::GetRegionByKeyResponse) -> Option<Region> {
    answer.region.as_ref().filter(|_| !answer.not_found).map(Region::from)
}

pub(crate) fn verdict(verdict: pdlite::RegionVerdict) -> Result<(), Error> {
    if verdict.code == 0 { Ok(()) } else { Err(Error::of_verdict(verdict.code, verdict.message)) }
}

/// `count` values from `first` on; at least one.
pub(crate) fn values(first: u64, count: u64) -> RangeInclusive<u64> {
    first..=first + (count - 1)
}
