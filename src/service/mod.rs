//! The calls of `pb.PD` and `pdlite.v1`: request, validate, log, apply, reply. No gRPC types.
//!
//! A call never waits. It ends with its answer ([`Reply::Now`]) or, when the writer has to make something durable first,
//! with a future that gives the answer ([`Reply::Later`]). A refused call changes nothing.
//!
//! Locks: the cluster's or the allocators', one at a time and never across a wait; for about a microsecond, or, by a call
//! about many regions, for at most a hundred or so of them.
//!
//! A placement driver serves until it is stopped or one of its calls panics, and never serves again after that.

mod allocation;
mod answer;
mod clock;
mod code;
mod error;
mod key_text;
mod region_batch;
mod region_change;
mod request;
mod routing;
mod status;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use futures::future::BoxFuture;

use crate::core::{Cluster, Kind, LeaderTransfer, StoreId, StoreStats};
use crate::proto::pd as pb;
use crate::storage::{State, StorageError, writer::Writer};

pub use clock::Clock;
pub use code::Code;
pub use error::{Border, Error};
pub use request::RequestLimits;

/// Regions (or stores) looked at in one hold of the cluster's lock. A scan looks at all of its answer's in one, so that they
/// belong together.
const HOLD_REGIONS_MAX: usize = 128;

/// What a call ends with.
pub type Answer<T> = Result<Reply<T>, Error>;

/// The answer to a call that is not refused at once.
pub enum Reply<T> {
    Now(T),
    /// Comes once the disk has what the call asks for.
    Later(BoxFuture<'static, Result<T, Error>>),
}

/// A placement driver without a network.
pub struct Pd {
    state: Arc<State>,
    limits: RequestLimits,
    backing: Backing,
    clock: Arc<dyn Clock>,
    ended: OnceLock<End>,
}

enum Backing {
    Memory,
    /// Empty until `attach`.
    Disk(OnceLock<Writer>),
}

/// Why a placement driver serves no longer.
enum End {
    Stopped,
    Broken,
}

impl Pd {
    /// A placement driver that keeps everything in memory.
    #[must_use]
    pub fn in_memory(state: Arc<State>, limits: RequestLimits) -> Self {
        Self::new(state, limits, Backing::Memory)
    }

    /// A placement driver whose changes go through a writer; until `attach` every change is refused as UNAVAILABLE.
    #[must_use]
    pub fn durable(state: Arc<State>, limits: RequestLimits) -> Self {
        Self::new(state, limits, Backing::Disk(OnceLock::new()))
    }

    fn new(state: Arc<State>, limits: RequestLimits, backing: Backing) -> Self {
        Self { state, limits, backing, clock: Arc::new(clock::MachineClock::new()), ended: OnceLock::new() }
    }

    /// The same placement driver by another clock than the machine's; before its first call.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Gives a durable placement driver its writer, once, before it serves.
    ///
    /// # Panics
    ///
    /// When it has one already, or keeps everything in memory.
    pub fn attach(&self, writer: Writer) {
        let attached = match &self.backing {
            Backing::Memory => false,
            Backing::Disk(slot) => slot.set(writer).is_ok(),
        };
        assert!(attached, "a durable placement driver gets one writer");
    }

    /// Refuses every later call, and ends the writer (exact allocator values on disk).
    ///
    /// # Errors
    ///
    /// What `Writer::stop` meets.
    pub fn stop(&self) -> Result<(), StorageError> {
        let _ = self.ended.set(End::Stopped);
        match &self.backing {
            Backing::Disk(slot) => slot.get().map_or(Ok(()), Writer::stop),
            Backing::Memory => Ok(()),
        }
    }

    /// Refuses every later call, because one has panicked: what it was about to do is half done.
    pub fn poison(&self) {
        let _ = self.ended.set(End::Broken);
    }

    /// Notes a store's numbers and hints at one leader transfer, if one would help.
    ///
    /// # Errors
    ///
    /// `StoreIdZero`.
    pub fn store_heartbeat(&self, request: &pb::StoreHeartbeatRequest) -> Answer<pb::StoreHeartbeatResponse> {
        self.check_serving()?;
        if request.store_id == 0 {
            return Err(Error::StoreIdZero);
        }
        let stats = StoreStats {
            region_num: request.region_num,
            leader_num: request.leader_num,
            capacity: request.capacity,
            available: request.available,
        };
        let now = self.clock.now();
        let hint = self.cluster()?.store_heartbeat(StoreId(request.store_id), stats, now);
        let operations = hint.iter().map(operation).collect();
        Ok(Reply::Now(pb::StoreHeartbeatResponse { accepted: true, operations, ..Default::default() }))
    }

    /// Stores a region as it is sent, unless its epoch is stale or its range overlaps another region.
    ///
    /// # Errors
    ///
    /// What the region's validation, the catalog's rules or the writer meet.
    pub fn region_heartbeat(&self, request: &pb::RegionHeartbeatRequest) -> Answer<pb::RegionHeartbeatResponse> {
        self.check_serving()?;
        self.put(request.region.as_ref().ok_or(Error::RegionAbsent)?)
    }

    /// Forgets a region with its epoch. An unknown one is no error.
    ///
    /// # Errors
    ///
    /// `RegionIdZero`, and what the writer meets.
    pub fn remove_region(&self, request: &pb::RemoveRegionRequest) -> Answer<pb::RemoveRegionResponse> {
        self.check_serving()?;
        let id = request::check_region_id(request.region_id)?;
        match self.writer()? {
            None => self.remove_in_memory(id),
            Some(writer) => self.remove_on_disk(writer, id),
        }
    }

    /// Finds the region that holds a key. Keys of any length route: NoKV's may be longer than a region border.
    ///
    /// # Errors
    ///
    /// `Stopped` or `Broken`.
    pub fn get_region_by_key(&self, request: &pb::GetRegionByKeyRequest) -> Answer<pb::GetRegionByKeyResponse> {
        self.check_serving()?;
        // Taken out of the lock: the copy into the message can wait, other calls cannot.
        let found = self.cluster()?.region_by_key(&request.key).cloned();
        Ok(Reply::Now(routing::answer(found)))
    }

    /// Gives out ids. A count of 0 is taken as 1.
    ///
    /// # Errors
    ///
    /// `CountTooLarge`, and what the allocators meet.
    pub fn alloc_id(&self, request: &pb::AllocIDRequest) -> Answer<pb::AllocIDResponse> {
        self.allocate(Kind::Id, request.count, |first_id, count| pb::AllocIDResponse {
            first_id,
            count,
            ..Default::default()
        })
    }

    /// Gives out timestamps. A count of 0 is taken as 1.
    ///
    /// # Errors
    ///
    /// `CountTooLarge`, and what the allocators meet.
    pub fn tso(&self, request: &pb::TsoRequest) -> Answer<pb::TsoResponse> {
        self.allocate(Kind::Timestamp, request.count, |timestamp, count| pb::TsoResponse {
            timestamp,
            count,
            ..Default::default()
        })
    }

    fn check_serving(&self) -> Result<(), Error> {
        match self.ended.get() {
            None => Ok(()),
            Some(End::Stopped) => Err(Error::Stopped),
            Some(End::Broken) => Err(Error::Broken),
        }
    }

    /// `None`: everything is in memory.
    fn writer(&self) -> Result<Option<&Writer>, Error> {
        match &self.backing {
            Backing::Memory => Ok(None),
            Backing::Disk(slot) => slot.get().map(Some).ok_or(Error::NotReady),
        }
    }

    fn cluster(&self) -> Result<MutexGuard<'_, Cluster>, Error> {
        self.lock(&self.state.cluster)
    }

    /// A lock that was held during a panic guards half-done state: nothing is served from it.
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Error> {
        mutex.lock().map_err(|_| {
            self.poison();
            Error::Broken
        })
    }
}

fn operation(hint: &LeaderTransfer) -> pb::SchedulerOperation {
    pb::SchedulerOperation {
        type_: pb::SchedulerOperationType::SCHEDULER_OPERATION_TYPE_LEADER_TRANSFER.into(),
        region_id: hint.region_id.0,
        source_peer_id: hint.source_peer_id.0,
        target_peer_id: hint.target_peer_id.0,
        ..Default::default()
    }
}
