//! The calls of a placement driver without a network.
//!
//! Thread: with a workdir one that waits for the disk's fatal error, so that every later call fails with it, from here and
//! over a network; it ends with the persistence thread, which the last handle ends.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::Receiver;

use super::{EmbedError, PdBuilder, drain, refusal};
use crate::client::{Error, messages};
use crate::core::{LeaderTransfer, Region, RegionId, StoreId, StoreStats};
use crate::proto::pd as pb;
use crate::service::{self, Answer, Reply};
use crate::storage::StorageError;

/// A placement driver in this process, without a network. The calls are [`crate::Client`]'s, with the same results, but for
/// what only a network brings. Cloning it is cheap, and the clones share everything.
///
/// A call waits for the disk when it has to, however long that takes; in memory none waits. When the last handle goes, the
/// exact counters are written. [`crate::guide`] shows more.
///
/// ```
/// use pd_lite::{Epoch, Pd, Region, RegionId};
///
/// let pd = Pd::in_memory();
/// let region = Region::new(RegionId(1), b"a", b"m", Epoch { version: 1, conf_version: 1 }, []);
/// pd.region_heartbeat(&region)?;
/// assert_eq!(pd.region_by_key(b"hello")?, Some(region));
/// assert_eq!(pd.region_by_key(b"zebra")?, None);
///
/// let first = pd.get_ts()?;
/// assert_eq!(pd.get_ts_batch(10)?, first + 1..=first + 10);
/// # Ok::<(), pd_lite::Error>(())
/// ```
#[derive(Clone)]
pub struct Pd {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<service::Pd>,
    /// `None`: in memory.
    workdir: Option<PathBuf>,
    is_stopped: AtomicBool,
    /// Why the disk takes no more.
    failure: Arc<OnceLock<StorageError>>,
}

impl Pd {
    /// A placement driver that keeps everything in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(PdBuilder::default().parts.in_memory(), None, Arc::default())
    }

    /// A placement driver with a workdir, or other than the default ones.
    pub fn builder() -> PdBuilder {
        PdBuilder::default()
    }

    /// `fatal` gets the error that ends the persistence thread.
    pub(super) fn new(
        service: Arc<service::Pd>,
        workdir: Option<PathBuf>,
        fatal: Receiver<StorageError>,
    ) -> Result<Self, EmbedError> {
        let failure = Arc::default();
        if let Some(workdir) = &workdir {
            watch(&service, &failure, fatal).map_err(|source| StorageError::Io {
                action: "start the thread that watches",
                path: workdir.clone(),
                source,
            })?;
        }
        Ok(Self::over(service, workdir, failure))
    }

    fn over(service: Arc<service::Pd>, workdir: Option<PathBuf>, failure: Arc<OnceLock<StorageError>>) -> Self {
        Self { inner: Arc::new(Inner { service, workdir, is_stopped: AtomicBool::new(false), failure }) }
    }

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
        Ok(self.call(|pd| pd.get_region_by_key(&request))?.region.as_ref().map(Region::from))
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
        let request = pb::TsoRequest { count: check_count(count)?, ..Default::default() };
        let answer = self.call(|pd| pd.tso(&request))?;
        Ok(values(answer.timestamp, answer.count))
    }

    /// `count` ids that nobody has got before: consecutive ones.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, `Refused` for one above the limit, and what every call can end with.
    pub fn alloc_id(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = pb::AllocIDRequest { count: check_count(count)?, ..Default::default() };
        let answer = self.call(|pd| pd.alloc_id(&request))?;
        Ok(values(answer.first_id, answer.count))
    }

    /// Refuses every later call, of every handle, as [`Error::Closed`], and writes the exact counters.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Storage`] when the disk has failed, now or before; [`EmbedError::DiskHangs`] after 5 s. Whatever it is,
    /// what was acknowledged is safe. Another stop has nothing left to do.
    pub fn stop(&self) -> Result<(), EmbedError> {
        self.inner.stop()
    }

    /// The error of the disk that has ended this placement driver: every later call fails as [`Error::Failed`]. Told a
    /// moment after the first call that fails.
    #[must_use]
    pub fn failure(&self) -> Option<&StorageError> {
        self.inner.failure.get()
    }

    /// The directory that everything is kept in; `None`: in memory.
    #[must_use]
    pub fn workdir(&self) -> Option<&Path> {
        self.inner.workdir.as_deref()
    }

    /// Makes a call and waits for its answer.
    fn call<T>(&self, call: impl FnOnce(&service::Pd) -> Answer<T>) -> Result<T, Error> {
        let answer = match call(&self.inner.service) {
            Ok(Reply::Now(answer)) => Ok(answer),
            Ok(Reply::Later(answer)) => pollster::block_on(answer),
            Err(error) => Err(error),
        };
        answer.map_err(|error| refusal::client_error(&error, || self.inner.failure_text()))
    }
}

impl Inner {
    fn stop(&self) -> Result<(), EmbedError> {
        self.is_stopped.store(true, Ordering::SeqCst);
        drain(Arc::clone(&self.service))
    }

    /// Why calls are refused; `None`: because of a stop.
    fn failure_text(&self) -> Option<String> {
        let is_stopped = self.is_stopped.load(Ordering::SeqCst);
        match self.failure.get() {
            Some(failure) => Some(format!("{failure:#}")),
            None if is_stopped => None,
            None => Some("its disk, or a call that panicked".to_owned()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_stopped.load(Ordering::SeqCst)
            && let Err(error) = self.stop()
        {
            log::error!("{error}");
        }
    }
}

impl fmt::Debug for Pd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pd").field("workdir", &self.inner.workdir).finish_non_exhaustive()
    }
}

/// Refuses a count of 0, which would be taken as 1.
fn check_count(count: u64) -> Result<u64, Error> {
    if count == 0 { Err(Error::Invalid("a count of 0 asks for nothing".to_owned())) } else { Ok(count) }
}

/// `count` values from `first` on; at least one, and never above the end of the 64 bits.
fn values(first: u64, count: u64) -> RangeInclusive<u64> {
    first..=first + (count - 1)
}

/// Starts the thread that waits for the disk's fatal error.
fn watch(
    service: &Arc<service::Pd>,
    failure: &Arc<OnceLock<StorageError>>,
    fatal: Receiver<StorageError>,
) -> std::io::Result<()> {
    let (service, failure) = (Arc::downgrade(service), Arc::clone(failure));
    thread::Builder::new().name("pd-watch".to_owned()).spawn(move || {
        // A writer that is stopped says nothing when it ends.
        if let Ok(error) = fatal.recv() {
            log::error!("the placement driver in this process serves no longer: {error:#}");
            let _ = failure.set(error);
            if let Some(service) = service.upgrade() {
                service.poison();
            }
        }
    })?;
    Ok(())
}
