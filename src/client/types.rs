//! What the client's calls return beside regions.

use std::time::Duration;

use crate::core::{StoreId, StoreStats};
use crate::proto::pdlite;

/// A look at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Of the server's package: `0.1.0`.
    pub version: String,
    pub regions: u64,
    pub stores: u64,
    /// The highest id given out; 0: none.
    pub last_id: u64,
    /// The highest timestamp given out; 0: none.
    pub last_timestamp: u64,
    pub durability: Durability,
    pub limits: ServerLimits,
}

/// What becomes of acknowledged changes when the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// They are lost: the server has no workdir.
    Memory,
    /// They are on its disk.
    Disk,
    /// As before, but the disk has no space (or the server no file descriptor): changes are refused until it has.
    NoSpace,
    /// The server says something that this client does not know.
    Unknown,
}

/// What a request to a server may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Bytes of a message; 0: no limit.
    pub request_bytes: u64,
    /// Bytes of a region's start or end key.
    pub key_bytes: u64,
    /// Peers of a region.
    pub peers: u64,
    /// Ids or timestamps of one call.
    pub count: u64,
    /// Regions of one answer to a scan; the client's scans ask again for more.
    pub scan_regions: u64,
}

/// A store that a server has heard since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    pub id: StoreId,
    /// The numbers of its last heartbeat.
    pub stats: StoreStats,
    /// The time since that heartbeat.
    pub age: Duration,
}

impl From<&pdlite::StoreInfo> for Store {
    fn from(info: &pdlite::StoreInfo) -> Self {
        let stats = StoreStats {
            region_num: info.region_num,
            leader_num: info.leader_num,
            capacity: info.capacity,
            available: info.available,
        };
        Self { id: StoreId(info.store_id), stats, age: Duration::from_millis(info.age_ms) }
    }
}

impl From<&pdlite::GetStatusResponse> for Status {
    fn from(status: &pdlite::GetStatusResponse) -> Self {
        let durability = match status.durability.enum_value() {
            Ok(pdlite::Durability::DURABILITY_MEMORY) => Durability::Memory,
            Ok(pdlite::Durability::DURABILITY_DISK) => Durability::Disk,
            Ok(pdlite::Durability::DURABILITY_NO_SPACE) => Durability::NoSpace,
            Ok(pdlite::Durability::DURABILITY_UNSPECIFIED) | Err(_) => Durability::Unknown,
        };
        let limits = ServerLimits {
            request_bytes: status.limits.request_bytes,
            key_bytes: status.limits.key_bytes,
            peers: status.limits.peers,
            count: status.limits.count,
            scan_regions: status.limits.scan_regions,
        };
        Self {
            version: status.version.clone(),
            regions: status.regions,
            stores: status.stores,
            last_id: status.last_id,
            last_timestamp: status.last_timestamp,
            durability,
            limits,
        }
    }
}
