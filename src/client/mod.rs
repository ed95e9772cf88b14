//! A blocking client of a PD: pd-lite's own, and any other that speaks `pb.PD`.
//!
//! A [`Client`] is a handle: clones share connections and everything else, from any number of threads. Each call ends
//! within the client's timeout. What can be asked for in one message of `pdlite.v1` is; from a PD without it the client
//! gets the same by the calls of `pb.PD`, one for each region or key.
//!
//! A failed call is made again, with pauses that grow, as long as there is time and [`Error::retryable`] says so. A call
//! that changes something (a region's heartbeat or removal) is made again only when it is certain that it changed nothing:
//! once it was sent and no answer came, the caller is told ([`Error::outcome_unknown`]).

mod connections;
mod error;
pub(crate) mod messages;
mod options;
mod retry;
mod types;

use std::borrow::Borrow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use self::connections::Connections;
use self::retry::Repeat;
use crate::core::{LeaderTransfer, Region, RegionId, StoreId, StoreStats};
use crate::proto::{pd, pd_methods, pdlite, pdlite_methods};

pub use self::error::{Error, Refusal};
pub use self::options::ClientOptions;
pub use self::types::{Durability, ServerLimits, Status, Store};

/// A client of a PD. Cloning it is cheap, and the clones share everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    connections: Connections,
}

impl Client {
    /// A client with the default options. The connection is made by the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `addrs` is not one or more of `HOST:PORT` with commas between them.
    pub fn connect(addrs: &str) -> Result<Self, Error> {
        Self::new(ClientOptions::new(addrs))
    }

    /// A client. The connection is made by the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], naming the option.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        options.check()?;
        let connections = Connections::new(&options);
        Ok(Self { inner: Arc::new(Inner { options, connections }) })
    }

    /// Reports a store's numbers. Returns the PD's hints: leaders that it should transfer.
    ///
    /// # Errors
    ///
    /// `Refused` (a store id of 0), and what every call can end with.
    pub fn store_heartbeat(&self, store: StoreId, stats: StoreStats) -> Result<Vec<LeaderTransfer>, Error> {
        let request = messages::store_heartbeat(store, stats);
        Ok(messages::leader_transfers(&self.inner.call(&pd_methods::STORE_HEARTBEAT, &request, Repeat::Always)?))
    }

    /// Reports a region as it is now.
    ///
    /// # Errors
    ///
    /// `Refused` (stale, overlapping, above a limit), and what every call can end with.
    pub fn region_heartbeat(&self, region: &Region) -> Result<(), Error> {
        let request = messages::region_heartbeat(region);
        self.inner.call(&pd_methods::REGION_HEARTBEAT, &request, Repeat::UnlessSent).map(drop)
    }

    /// Reports many regions, in this order, each as [`Client::region_heartbeat`] would. Returns what became of each, in the
    /// same order.
    pub fn region_heartbeats(&self, regions: &[impl Borrow<Region>]) -> Vec<Result<(), Error>> {
        let regions = regions.iter().map(|region| region.borrow().into()).collect();
        let request = pdlite::RegionHeartbeatsRequest { regions, ..Default::default() };
        match self.inner.call(&pdlite_methods::REGION_HEARTBEATS, &request, Repeat::UnlessSent) {
            Ok(answer) => answer.verdicts.into_iter().map(messages::verdict).collect(),
            Err(error) => vec![Err(error); request.regions.len()],
        }
    }

    /// Makes the PD forget a region. Returns whether it knew it.
    ///
    /// # Errors
    ///
    /// `Refused` (a region id of 0), and what every call can end with.
    pub fn remove_region(&self, id: RegionId) -> Result<bool, Error> {
        let request = messages::remove_region(id);
        Ok(self.inner.call(&pd_methods::REMOVE_REGION, &request, Repeat::UnlessSent)?.removed)
    }

    /// The region that holds `key`, if there is one. The empty key is the lowest.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn region_by_key(&self, key: &[u8]) -> Result<Option<Region>, Error> {
        let request = messages::region_by_key(key);
        Ok(messages::found(&self.inner.call(&pd_methods::GET_REGION_BY_KEY, &request, Repeat::Always)?))
    }

    /// The regions that hold `keys`, in the same order.
    ///
    /// # Errors
    ///
    /// What every call can end with; then there is no answer to any of the keys.
    pub fn regions_by_keys(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Region>>, Error> {
        let keys = keys.iter().map(|key| key.as_ref().to_vec()).collect();
        let request = pdlite::GetRegionsByKeysRequest { keys, ..Default::default() };
        let answer = self.inner.call(&pdlite_methods::GET_REGIONS_BY_KEYS, &request, Repeat::Always)?;
        Ok(answer.results.iter().map(messages::found).collect())
    }

    /// At most `limit` regions that share a key with `start <= key < end` (an empty end: no end), in key order.
    ///
    /// # Errors
    ///
    /// What every call can end with. From a PD without `pdlite.v1`, `Unsupported` when there is a gap between the regions:
    /// such a PD cannot tell what is behind it.
    pub fn scan_regions(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Region>, Error> {
        let request = pdlite::ScanRegionsRequest {
            start_key: start.to_vec(),
            end_key: end.to_vec(),
            limit: limit.try_into().unwrap_or(u32::MAX),
            ..Default::default()
        };
        let answer = self.inner.call(&pdlite_methods::SCAN_REGIONS, &request, Repeat::Always)?;
        Ok(answer.regions.iter().map(Region::from).collect())
    }

    /// The stores that the PD has heard since its start, by ascending id.
    ///
    /// # Errors
    ///
    /// `Unsupported` from a PD without `pdlite.v1`, and what every call can end with.
    pub fn stores(&self) -> Result<Vec<Store>, Error> {
        let answer = self.inner.call(&pdlite_methods::GET_STORES, &pdlite::GetStoresRequest::new(), Repeat::Always)?;
        Ok(answer.stores.iter().map(Store::from).collect())
    }

    /// A look at the PD.
    ///
    /// # Errors
    ///
    /// `Unsupported` from a PD without `pdlite.v1`, and what every call can end with.
    pub fn status(&self) -> Result<Status, Error> {
        let answer = self.inner.call(&pdlite_methods::GET_STATUS, &pdlite::GetStatusRequest::new(), Repeat::Always)?;
        Ok(Status::from(&answer))
    }

    /// The next timestamp: above every one that was returned before this call began.
    ///
    /// # Errors
    ///
    /// `TimestampWentBack`, `QueueFull`, and what every call can end with.
    pub fn get_ts(&self) -> Result<u64, Error> {
        self.get_ts_batch(1).map(|timestamps| *timestamps.start())
    }

    /// The next `count` timestamps.
    ///
    /// # Errors
    ///
    /// Those of [`Client::get_ts`]; `Invalid` for a count of 0; `Refused` for one above the PD's limit.
    pub fn get_ts_batch(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = pd::TsoRequest { count, ..Default::default() };
        let answer = self.inner.call(&pd_methods::TSO, &request, Repeat::Always)?;
        Ok(messages::values(answer.timestamp, answer.count))
    }

    /// `count` ids that nobody has got before: consecutive ones.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, `Refused` for one above the PD's limit, and what every call can end with.
    pub fn alloc_id(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = pd::AllocIDRequest { count, ..Default::default() };
        let answer = self.inner.call(&pd_methods::ALLOC_ID, &request, Repeat::Always)?;
        Ok(messages::values(answer.first_id, answer.count))
    }
}
