//! A blocking client of a PD: pd-lite's own, and any other that speaks `pb.PD`.
//!
//! A [`Client`] is a handle: clones share connections and everything else, from any number of threads. Each call ends
//! within the client's timeout. What can be asked for in one message of `pdlite.v1` is; from a PD without it the client
//! gets the same by the calls of `pb.PD`, one for each region or key. A list that takes several messages takes several
//! calls, each with a timeout of its own.
//!
//! # What is made again
//!
//! A call that fails is made again, with pauses that grow, as long as there is time and [`Error::retryable`] says so:
//!
//! - Lookups, scans, the stores and the status: they change nothing.
//! - A store's heartbeat: the second one replaces the store's numbers by the same ones, and the hints are planned anew.
//! - Ids and timestamps: those of an answer that was lost are given to nobody.
//! - A region's heartbeat or removal only as long as it is certain that nothing changed: the PD could not be reached, or
//!   answered that it is exhausted. Once such a call was sent and got no such answer, the caller is told
//!   ([`Error::outcome_unknown`]), for the second one could undo what came between the two: the removal of a region that is
//!   reported again, the report of one that is removed again.
//!
//! Nothing is sent before the connection stands, so a PD that is down is [`Error::Unreachable`], and a call waits for it.

mod batch;
mod connections;
mod error;
mod heartbeats;
mod lookups;
mod options;
mod removals;
mod retry;
mod scan;
mod stores;
mod types;

use std::borrow::Borrow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use protobuf::EnumOrUnknown;

use self::connections::Connections;
use self::retry::Repeat;
use crate::core::{KeyRange, LeaderTransfer, PeerId, Region, RegionId, StoreId, StoreStats};
use crate::proto::{pd, pd_methods, pdlite, pdlite_methods};

pub use self::error::{Error, Refusal};
pub use self::options::ClientOptions;
pub use self::types::{Durability, ServerLimits, Status, Store};

/// A client of a PD. Cloning it is cheap, and the clones share everything.
///
/// What every call can end with: [`Error::Unreachable`], [`Error::TimedOut`], [`Error::Lost`], [`Error::Refused`],
/// [`Error::Malformed`], and [`Error::Invalid`] for what no message has room for.
///
/// # Examples
///
/// ```no_run
/// use pd_lite::client::{Client, Error};
/// use pd_lite::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};
///
/// let client = Client::connect("127.0.0.1:2379")?;
/// let ids = client.alloc_id(2)?;
/// let peer = Peer { store_id: StoreId(1), peer_id: PeerId(*ids.end()) };
/// let region = Region::new(RegionId(*ids.start()), b"a", b"m", Epoch { version: 1, conf_version: 1 }, [peer]);
/// client.region_heartbeat(&region)?;
/// assert_eq!(client.region_by_key(b"apple")?, Some(region));
/// # Ok::<(), Error>(())
/// ```
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
        let request = pd::StoreHeartbeatRequest {
            store_id: store.0,
            region_num: stats.region_num,
            leader_num: stats.leader_num,
            capacity: stats.capacity,
            available: stats.available,
            ..Default::default()
        };
        let answer = self.inner.call(&pd_methods::STORE_HEARTBEAT, &request, Repeat::Always)?;
        if !answer.accepted {
            return Err(self.inner.malformed("a store heartbeat was neither accepted nor refused".into()));
        }
        Ok(answer.operations.iter().filter_map(leader_transfer).collect())
    }

    /// Reports a region as it is now.
    ///
    /// # Errors
    ///
    /// `Refused` (stale, overlapping, above a limit), and what every call can end with.
    pub fn region_heartbeat(&self, region: &Region) -> Result<(), Error> {
        self.inner.region_heartbeat(region, Repeat::UnlessSent)
    }

    /// Reports many regions, in this order, each as [`Client::region_heartbeat`] would. Returns what became of each, in the
    /// same order. They are no transaction: a refused region does not keep the others out.
    ///
    /// They go out in as many messages as they need, one under way at a time, each a call with a timeout of its own. A
    /// region that is too long for any message is `Invalid`, alone. A refusal that may pass, such as a full disk's, is left
    /// to the caller. When a message fails, its regions get its error, and the regions behind are not sent: they get
    /// [`Error::NotSent`], or `Unreachable` like those of the message.
    pub fn region_heartbeats(&self, regions: &[impl Borrow<Region>]) -> Vec<Result<(), Error>> {
        self.inner.region_heartbeats(regions)
    }

    /// Makes the PD forget a region. Returns whether it knew it.
    ///
    /// # Errors
    ///
    /// `Refused` (a region id of 0), and what every call can end with.
    pub fn remove_region(&self, id: RegionId) -> Result<bool, Error> {
        let request = pd::RemoveRegionRequest { region_id: id.0, ..Default::default() };
        Ok(self.inner.call(&pd_methods::REMOVE_REGION, &request, Repeat::UnlessSent)?.removed)
    }

    /// Makes the PD forget many regions, in no particular order. Returns what became of each, in the order of `ids`: whether
    /// the PD knew it.
    ///
    /// Many calls are under way at once, each once. When one fails other than by a refusal, what was not sent by then is
    /// not: it gets [`Error::NotSent`], or `Unreachable` like the one that failed.
    pub fn remove_regions(&self, ids: &[RegionId]) -> Vec<Result<bool, Error>> {
        self.inner.remove_regions(ids)
    }

    /// The region that holds `key`, if there is one. The empty key is the lowest.
    ///
    /// # Errors
    ///
    /// What every call can end with.
    pub fn region_by_key(&self, key: &[u8]) -> Result<Option<Region>, Error> {
        self.inner.region_by_key(key)
    }

    /// The regions that hold `keys`, in the same order. They are asked for in as many messages as they need, one after the
    /// other, each a call with a timeout of its own.
    ///
    /// # Errors
    ///
    /// What every call can end with; then there is no answer to any of the keys.
    pub fn regions_by_keys(&self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Region>>, Error> {
        self.inner.regions_by_keys(keys)
    }

    /// At most `limit` regions that share a key with `start <= key < end` (an empty end: no end), in key order. They come in
    /// as many answers as they need, one after the other, each to a call with a timeout of its own. An answer is of one
    /// moment; what changes between two may be missing.
    ///
    /// # Errors
    ///
    /// `Invalid` when no key is in the range, and what every call can end with. From a PD without `pdlite.v1`, `Unsupported`
    /// when there is a gap between the regions: such a PD cannot tell what is behind it.
    pub fn scan_regions(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Region>, Error> {
        self.inner.scan_regions(KeyRange { start, end }, limit)
    }

    /// The stores that the PD has heard since its start, by ascending id.
    ///
    /// # Errors
    ///
    /// `Unsupported` from a PD without `pdlite.v1`, and what every call can end with.
    pub fn stores(&self) -> Result<Vec<Store>, Error> {
        self.inner.stores()
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
        Ok(answer.timestamp..=answer.timestamp + (answer.count - 1))
    }

    /// `count` ids that nobody has got before: consecutive ones.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, `Refused` for one above the PD's limit, and what every call can end with.
    pub fn alloc_id(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = pd::AllocIDRequest { count, ..Default::default() };
        let answer = self.inner.call(&pd_methods::ALLOC_ID, &request, Repeat::Always)?;
        Ok(answer.first_id..=answer.first_id + (answer.count - 1))
    }
}

impl Inner {
    /// The PD in use has answered something that makes no sense.
    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { addr: self.connections.current().addr().to_owned(), reason }
    }
}

/// `None`: an operation of a kind that is not known here.
fn leader_transfer(operation: &pd::SchedulerOperation) -> Option<LeaderTransfer> {
    let wanted = EnumOrUnknown::new(pd::SchedulerOperationType::SCHEDULER_OPERATION_TYPE_LEADER_TRANSFER);
    (operation.type_ == wanted).then_some(LeaderTransfer {
        region_id: RegionId(operation.region_id),
        source_peer_id: PeerId(operation.source_peer_id),
        target_peer_id: PeerId(operation.target_peer_id),
    })
}
