//! The client's calls, without a network.

use std::borrow::Borrow;
use std::ops::RangeInclusive;

use super::Pd;
use crate::client::router::RegionSource;
use crate::client::scan::{Page, scan};
use crate::client::tso::{check_count, range};
use crate::client::{Error, Status, Store, messages};
use crate::core::{KeyRange, LeaderTransfer, Region, RegionId, StoreId, StoreStats};
use crate::proto::{pd as pb, pdlite};

/// Regions or keys of one call to the service: what becomes of them is held in memory, as messages.
const CALL_LEN: usize = 1024;

impl Pd {
    /// Reports a store's numbers. Returns the hints: leaders that it should transfer.
    ///
    /// # Errors
    ///
    /// `Refused` (a store id of 0), and what every call can end with: `Closed` and `Failed`.
    pub fn store_heartbeat(&self, store: StoreId, stats: StoreStats) -> Result<Vec<LeaderTransfer>, Error> {
        let request = messages::store_heartbeat(store, stats);
        Ok(messages::leader_transfers(&self.call(|pd| pd.store_heartbeat(&request))?))
    }

    /// Reports a region as it is now.
    ///
    /// # Errors
    ///
    /// `Refused` (stale, overlapping, above a limit, no space), and what every call can end with.
    pub fn region_heartbeat(&self, region: &Region) -> Result<(), Error> {
        let request = pb::RegionHeartbeatRequest { region: Some(region.into()).into(), ..Default::default() };
        self.call(|pd| pd.region_heartbeat(&request)).map(drop)
    }

    /// Reports many regions, in this order, each as [`Pd::region_heartbeat`] would. Returns what became of each, in the same
    /// order. They are no transaction: a refused region does not keep the others out.
    pub fn region_heartbeats(&self, regions: &[impl Borrow<Region>]) -> Vec<Result<(), Error>> {
        let mut verdicts = Vec::with_capacity(regions.len());
        for some in regions.chunks(CALL_LEN) {
            let regions = some.iter().map(|region| region.borrow().into()).collect();
            let request = pdlite::RegionHeartbeatsRequest { regions, ..Default::default() };
            match self.call(|pd| pd.region_heartbeats(&request)) {
                Ok(answer) => verdicts.extend(answer.verdicts.into_iter().map(|verdict| self.verdict(verdict))),
                Err(error) => verdicts.resize(verdicts.len() + some.len(), Err(error)),
            }
        }
        verdicts
    }

    /// Forgets a region. Returns whether it was known.
    ///
    /// # Errors
    ///
    /// `Refused` (a region id of 0, no space), and what every call can end with.
    pub fn remove_region(&self, id: RegionId) -> Result<bool, Error> {
        let request = pb::RemoveRegionRequest { region_id: id.0, ..Default::default() };
        Ok(self.call(|pd| pd.remove_region(&request))?.removed)
    }

    /// The region that holds `key`, if there is one. The empty key is the lowest.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn region_by_key(&self, key: &[u8]) -> Result<Option<Region>, Error> {
        let request = pb::GetRegionByKeyRequest { key: key.to_vec(), ..Default::default() };
        Ok(found(&self.call(|pd| pd.get_region_by_key(&request))?))
    }

    /// The regions that hold `keys`, in the same order.
    ///
    /// # Errors
    ///
    /// What every call can end with; then there is no answer to any of the keys.
    pub fn regions_by_keys(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Region>>, Error> {
        let mut regions = Vec::with_capacity(keys.len());
        while regions.len() < keys.len() {
            let some = keys[regions.len()..].iter().take(CALL_LEN).map(|key| key.as_ref().to_vec());
            let request = pdlite::GetRegionsByKeysRequest { keys: some.collect(), ..Default::default() };
            // At least one answer, and fewer than keys where they would make a long message.
            regions.extend(self.call(|pd| pd.get_regions_by_keys(&request))?.results.iter().map(found));
        }
        Ok(regions)
    }

    /// At most `limit` regions that share a key with `start <= key < end` (an empty end: no end), in key order. Each 1,024 of
    /// them are of one moment.
    ///
    /// # Errors
    ///
    /// `Invalid` for a range without a key, and what every call can end with.
    pub fn scan_regions(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Region>, Error> {
        scan(KeyRange { start, end }, limit, |request| Ok(Page::from(&self.call(|pd| pd.scan_regions(request))?)))
    }

    /// The stores that were heard since the start, by ascending id.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn stores(&self) -> Result<Vec<Store>, Error> {
        let mut stores: Vec<Store> = Vec::new();
        let mut request = pdlite::GetStoresRequest::new();
        loop {
            let answer = self.call(|pd| pd.get_stores(&request))?;
            stores.extend(answer.stores.iter().map(Store::from));
            match stores.last().and_then(|last| last.id.0.checked_add(1)) {
                Some(next) if answer.more => request.from_store_id = next,
                _ => return Ok(stores),
            }
        }
    }

    /// A look at it. `limits.request_bytes` is 0: without a network there is no such limit.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn status(&self) -> Result<Status, Error> {
        Ok(Status::from(&self.call(|pd| pd.get_status(&pdlite::GetStatusRequest::new()))?))
    }

    /// The next timestamp: above every one that was returned before this call began.
    ///
    /// # Errors
    ///
    /// `Refused` (none is left, no space), and what every call can end with.
    pub fn get_ts(&self) -> Result<u64, Error> {
        self.get_ts_batch(1).map(|timestamps| *timestamps.start())
    }

    /// The next `count` timestamps.
    ///
    /// # Errors
    ///
    /// Those of [`Pd::get_ts`]; `Invalid` for a count of 0; `Refused` for one above the limit.
    pub fn get_ts_batch(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = timestamps(count)?;
        let answer = self.call(|pd| pd.tso(&request))?;
        Ok(range(answer.timestamp, answer.count))
    }

    /// [`Pd::get_ts`] as a future, for any executor. It asks when it is polled first; until it ends it counts as a handle.
    /// Dropped before, it may leave a gap.
    pub fn get_ts_async(&self) -> impl Future<Output = Result<u64, Error>> + Send + use<> {
        let timestamps = self.get_ts_batch_async(1);
        async move { timestamps.await.map(|timestamps| *timestamps.start()) }
    }

    /// [`Pd::get_ts_batch`] as a future. As [`Pd::get_ts_async`].
    pub fn get_ts_batch_async(
        &self,
        count: u64,
    ) -> impl Future<Output = Result<RangeInclusive<u64>, Error>> + Send + use<> {
        let pd = self.clone();
        async move {
            let request = timestamps(count)?;
            let answer = pd.call_async(|pd| pd.tso(&request)).await?;
            Ok(range(answer.timestamp, answer.count))
        }
    }

    /// `count` ids that nobody has got before: consecutive ones.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, `Refused` for one above the limit, and what every call can end with.
    pub fn alloc_id(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        check_count(count)?;
        let request = pb::AllocIDRequest { count, ..Default::default() };
        let answer = self.call(|pd| pd.alloc_id(&request))?;
        Ok(range(answer.first_id, answer.count))
    }

    fn verdict(&self, verdict: pdlite::RegionVerdict) -> Result<(), Error> {
        if verdict.code == 0 {
            return Ok(());
        }
        Err(self.refused(i32::try_from(verdict.code).unwrap_or(i32::MAX), verdict.message))
    }
}

impl RegionSource for Pd {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        Self::regions_by_keys(self, keys)
    }
}

fn found(answer: &pb::GetRegionByKeyResponse) -> Option<Region> {
    answer.region.as_ref().map(Region::from)
}

/// # Errors
///
/// `Invalid` for a count of 0, which a service would take as 1.
fn timestamps(count: u64) -> Result<pb::TsoRequest, Error> {
    check_count(count)?;
    Ok(pb::TsoRequest { count, ..Default::default() })
}
