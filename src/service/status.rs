//! A look at the placement driver: the stores it has heard, and itself.

use std::time::Duration;

use super::routing::SCAN_REGIONS_MAX;
use super::{Answer, Backing, HOLD_REGIONS_MAX, Pd, Reply};
use crate::core::{StoreId, StoreStats};
use crate::proto::pdlite;
use crate::storage::writer::Writer;

/// Stores in one answer, each of at most 70 bytes.
const STORES_MAX: usize = 32_768;

impl Pd {
    /// Lists the stores that were heard since the start, by ascending id, each with its last numbers and their age.
    ///
    /// # Errors
    ///
    /// `Stopped` or `Broken`.
    pub fn get_stores(&self, request: &pdlite::GetStoresRequest) -> Answer<pdlite::GetStoresResponse> {
        self.check_serving()?;
        let mut answer = pdlite::GetStoresResponse::new();
        let now = self.clock.now();
        let mut next = Some(StoreId(request.from_store_id));
        while let Some(from) = next.filter(|_| answer.stores.len() < STORES_MAX) {
            let cluster = self.cluster()?;
            let mut stores = cluster.stores_from(from);
            let some = stores.by_ref().take(HOLD_REGIONS_MAX);
            answer.stores.extend(some.map(|(id, stats, heard)| store(id, stats, now.saturating_sub(heard))));
            next = stores.next().map(|(id, ..)| id);
        }
        answer.more = next.is_some();
        Ok(Reply::Now(answer))
    }

    /// Tells version, counts, allocators, durability and limits. `ServerLimits.request_bytes` is 0: without a network there is
    /// no such limit.
    ///
    /// # Errors
    ///
    /// `Stopped` or `Broken`.
    pub fn get_status(&self, _: &pdlite::GetStatusRequest) -> Answer<pdlite::GetStatusResponse> {
        self.check_serving()?;
        let (regions, stores) = {
            let cluster = self.cluster()?;
            (cluster.len(), cluster.stores_len())
        };
        let issued = self.lock(&self.state.allocators)?.issued();
        let limits = pdlite::ServerLimits {
            key_bytes: count(self.limits.key_bytes_max),
            peers: count(self.limits.peers_max),
            count: self.limits.count_max,
            scan_regions: count(SCAN_REGIONS_MAX),
            ..Default::default()
        };
        Ok(Reply::Now(pdlite::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            regions: count(regions),
            stores: count(stores),
            last_id: issued.ids,
            last_timestamp: issued.timestamps,
            durability: self.durability().into(),
            limits: Some(limits).into(),
            ..Default::default()
        }))
    }

    fn durability(&self) -> pdlite::Durability {
        match &self.backing {
            Backing::Memory => pdlite::Durability::DURABILITY_MEMORY,
            Backing::Disk(writer) if writer.get().is_none_or(Writer::has_space) => pdlite::Durability::DURABILITY_DISK,
            Backing::Disk(_) => pdlite::Durability::DURABILITY_NO_SPACE,
        }
    }
}

fn store(id: StoreId, stats: StoreStats, age: Duration) -> pdlite::StoreInfo {
    pdlite::StoreInfo {
        store_id: id.0,
        region_num: stats.region_num,
        leader_num: stats.leader_num,
        capacity: stats.capacity,
        available: stats.available,
        age_ms: age.as_millis().try_into().unwrap_or(u64::MAX),
        ..Default::default()
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
