//! A placement driver without a network: how it lives, and how a call is made.
//!
//! Thread: with a workdir one that waits for the disk's fatal error, so that every later call fails with it, from here and
//! over a network; it ends with the persistence thread, which the last handle ends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::Receiver;

use super::{EmbedError, PdBuilder, drain};
use crate::client::{Error, Refusal};
use crate::service::{self, Answer, Code, Reply};
use crate::storage::StorageError;

/// A placement driver in this process, without a network. The calls are [`crate::Client`]'s, with the same results, but for
/// what only a network brings. Cloning it is cheap, and the clones share everything.
///
/// A call waits for the disk when it has to, however long that takes; in memory none waits. Timestamps come as futures too,
/// which need no executor of a certain kind. When the last handle goes, the exact counters are written. [`crate::guide`]
/// shows more.
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
    pub(super) fn call<T>(&self, call: impl FnOnce(&service::Pd) -> Answer<T>) -> Result<T, Error> {
        let answer = match call(&self.inner.service) {
            Ok(Reply::Now(answer)) => Ok(answer),
            Ok(Reply::Later(answer)) => pollster::block_on(answer),
            Err(error) => Err(error),
        };
        answer.map_err(|error| self.failed(&error))
    }

    /// Makes a call. The future is ready at once unless the disk has to be waited for.
    pub(super) async fn call_async<T>(&self, call: impl FnOnce(&service::Pd) -> Answer<T>) -> Result<T, Error> {
        let answer = match call(&self.inner.service) {
            Ok(Reply::Now(answer)) => Ok(answer),
            Ok(Reply::Later(answer)) => answer.await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &service::Error) -> Error {
        self.refused(error.code().into(), error.to_string())
    }

    /// What a failure, told as over a network, is without one: nobody is ever lost.
    pub(super) fn refused(&self, code: i32, message: String) -> Error {
        if code == i32::from(Code::Unavailable) {
            return self.inner.ended();
        }
        Error::Refused { refusal: Refusal::of_number(code), message }
    }
}

impl Inner {
    fn stop(&self) -> Result<(), EmbedError> {
        self.is_stopped.store(true, Ordering::SeqCst);
        match self.workdir {
            Some(_) => drain(Arc::clone(&self.service)),
            // Nothing is to be waited for.
            None => Ok(self.service.stop()?),
        }
    }

    /// Why calls are answered no longer.
    fn ended(&self) -> Error {
        let is_stopped = self.is_stopped.load(Ordering::SeqCst);
        match self.failure.get() {
            Some(failure) => Error::Failed { reason: format!("{failure:#}") },
            None if is_stopped => Error::Closed,
            None => Error::Failed { reason: "its disk, or a call that panicked".to_owned() },
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
