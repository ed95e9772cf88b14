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

pub(crate) mod bare;
mod batch;
mod connections;
mod error;
mod heartbeats;
mod ids;
mod lookups;
pub(crate) mod messages;
mod options;
mod peer;
mod removals;
mod retry;
pub mod router;
pub(crate) mod scan;
mod stores;
pub mod tso;
mod types;

use std::borrow::Borrow;
use std::ops::RangeInclusive;
use std::sync::Arc;

use self::connections::Connections;
use self::ids::IdRanges;
use self::retry::{Repeat, Span};
use self::tso::{Batcher, BatcherOptions, GrpcTransport, TsBatchFuture, TsFuture};
use crate::core::{KeyRange, LeaderTransfer, Region, RegionId, StoreId, StoreStats};
use crate::proto::{pd, pd_methods, pdlite, pdlite_methods};

pub use self::error::{Error, Refusal};
pub use self::options::ClientOptions;
pub use self::peer::StoreClient;
pub use self::types::{Durability, ServerLimits, Status, Store};

/// A client of a PD. Cloning it is cheap, and the clones share everything.
///
/// What every call can end with: [`Error::Unreachable`], [`Error::TimedOut`], [`Error::Lost`], [`Error::Refused`],
/// [`Error::Malformed`], and [`Error::Invalid`] for what no message has room for.
///
/// # Examples
///
/// ```
/// use pd_lite::{Client, Epoch, Peer, PeerId, Region, RegionId, StoreId};
///
/// # let server = pd_lite::Server::builder().start()?;
/// # let addr = server.addr();
/// let client = Client::connect(addr)?;
/// let ids = client.alloc_id(2)?;
/// let peer = Peer { store_id: StoreId(1), peer_id: PeerId(*ids.end()) };
/// let region = Region::new(RegionId(*ids.start()), b"a", b"m", Epoch { version: 1, conf_version: 1 }, [peer]);
/// client.region_heartbeat(&region)?;
/// assert_eq!(client.region_by_key(b"apple")?, Some(region));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    connections: Arc<Connections>,
    timestamps: Batcher,
    ids: IdRanges,
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
        let connections = Arc::new(Connections::new(&options));
        let timestamps = Batcher::new(GrpcTransport::new(Arc::clone(&connections)), BatcherOptions::from(&options));
        let ids = IdRanges::new(options.id_range, options.timeout);
        Ok(Self { inner: Arc::new(Inner { options, connections, timestamps, ids }) })
    }

    /// Waits for the connection that the first call would make, at most a call's timeout.
    ///
    /// # Errors
    ///
    /// `Unreachable`.
    pub(crate) fn wait_for_connection(&self) -> Result<(), Error> {
        let span = Span::new(self.inner.options.timeout);
        pollster::block_on(self.inner.connections.ready(span.deadline)).map(drop)
    }

    /// Reports a store's numbers. Returns the PD's hints: leaders that it should transfer.
    ///
    /// # Errors
    ///
    /// `Refused` (a store id of 0), and what every call can end with.
    pub fn store_heartbeat(&self, store: StoreId, stats: StoreStats) -> Result<Vec<LeaderTransfer>, Error> {
        let request = messages::store_heartbeat(store, stats);
        let answer = self.inner.call(&pd_methods::STORE_HEARTBEAT, &request, Repeat::Always)?;
        if !answer.accepted {
            return Err(self.inner.malformed("a store heartbeat was neither accepted nor refused".into()));
        }
        Ok(messages::leader_transfers(&answer))
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

    /// The next timestamp: above every one that was returned before this call began. Callers share calls ([`tso`]); a lone
    /// one waits for one round trip.
    ///
    /// # Errors
    ///
    /// `TimestampWentBack`, `QueueFull`, and what every call can end with.
    pub fn get_ts(&self) -> Result<u64, Error> {
        self.inner.timestamps.get()
    }

    /// The next `count` timestamps, consecutive ones.
    ///
    /// # Errors
    ///
    /// Those of [`Client::get_ts`]; `Invalid` for a count of 0; `Refused` for one above the PD's limit.
    pub fn get_ts_batch(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        self.inner.timestamps.get_batch(count)
    }

    /// [`Client::get_ts`] as a future, for any executor. Its waker is called on the client's poll thread, which all calls
    /// depend on: one that polls at once, there, must make no blocking call of the client.
    pub fn get_ts_async(&self) -> TsFuture {
        self.inner.timestamps.get_async()
    }

    /// [`Client::get_ts_batch`] as a future, for any executor.
    pub fn get_ts_batch_async(&self, count: u64) -> TsBatchFuture {
        self.inner.timestamps.get_batch_async(count)
    }

    /// `count` ids that nobody has got before: consecutive ones. With [`ClientOptions::id_range`] they come from memory, as
    /// long as it holds so many in a row; the calls for a range are shared by those who wait for them, failures included.
    /// A `count` of a whole range or more is a call of its own.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, `Refused` for one above the PD's limit, and what every call can end with.
    pub fn alloc_id(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        self.inner.ids.take(count, |count| self.inner.alloc_ids(count), |waited| self.inner.late(waited))
    }
}

impl Inner {
    /// The PD in use has answered something that makes no sense.
    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { addr: self.connections.current().addr().to_owned(), reason }
    }
}
