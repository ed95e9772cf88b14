//! PD-first routing: which region holds a key, out of a cache that the PD fills.
//!
//! ```
//! use pd_lite::{Client, Router};
//!
//! # use pd_lite::{Epoch, Region, RegionId, Server};
//! # let server = Server::builder().start()?;
//! # let addr = server.addr();
//! # let region = Region::new(RegionId(1), b"", b"", Epoch { version: 1, conf_version: 1 }, []);
//! # server.client().region_heartbeat(&region)?;
//! # let mut answers = [Err(()), Ok(())].into_iter();
//! # let mut call_store = |_: &Region| answers.next().unwrap();
//! let router = Router::new(Client::connect(addr)?);
//! while let Some(region) = router.region(b"key")? {
//!     match call_store(&region) {
//!         Ok(()) => break,
//!         // "Epoch not match", or "not leader": the PD knows better by now, or soon.
//!         Err(()) => router.invalidate(region.id(), region.epoch()),
//!     }
//! }
//! # assert_eq!((router.stats().lookups, answers.next()), (2, None));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the cache does not hold is looked up at the PD, and nowhere else: a configuration file is no route. A key between the
//! regions is not found, and asked for again each time. Misses share lookups (`lookups.rs`), and a region that comes in late
//! does not replace a newer one (`cache.rs`).
//!
//! The cache is not bounded: a region takes about 200 bytes beside its keys and peers, and there is never more than one for
//! a key, so it is as large as the part of the cluster that is used.

mod cache;
mod counter;
mod index;
mod lookups;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use self::cache::Cache;
use self::counter::Counter;
use self::lookups::Lookups;
use super::{Client, Error};
use crate::core::{Epoch, Region, RegionId};

/// Where a router learns of regions: a [`Client`], or whatever else asks a PD.
pub trait RegionSource: Send + Sync {
    /// The regions that hold `keys`, as many answers and in the same order; `None`: no region does. The router calls it from
    /// one thread at a time, with no lock held.
    ///
    /// # Errors
    ///
    /// Any; then there is no answer to any of the keys.
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error>;
}

impl RegionSource for Client {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        Client::regions_by_keys(self, keys)
    }
}

impl<S: RegionSource + ?Sized> RegionSource for Arc<S> {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        S::regions_by_keys(self, keys)
    }
}

/// Finds the region that holds a key. Threads share one by reference or in an [`Arc`].
///
/// Lock order: `lookups`, then `cache`. Neither is held while the source is asked.
pub struct Router<S> {
    source: S,
    lookups: Mutex<Lookups>,
    cache: RwLock<Cache>,
    hits: Counter,
    misses: AtomicU64,
    /// Calls of the source.
    calls: AtomicU64,
}

/// What a router has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterStats {
    /// Keys that the cache answered at once.
    pub hits: u64,
    /// Keys that it did not, whatever became of them.
    pub misses: u64,
    /// Lookups that were sent for the misses.
    pub lookups: u64,
}

impl<S: RegionSource> Router<S> {
    /// A router that knows no region yet.
    pub fn new(source: S) -> Self {
        Self {
            source,
            lookups: Mutex::default(),
            cache: RwLock::default(),
            hits: Counter::default(),
            misses: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }

    /// The region that holds `key`, or `None` when no region does. The empty key is the lowest.
    ///
    /// A region out of the cache may have changed since: whoever learns that from a store calls [`Router::invalidate`] and
    /// asks again. A miss waits for the lookup under way, if there is one, and for the one that it takes part in.
    ///
    /// # Errors
    ///
    /// That of the lookup that the key took part in; `Malformed` when its answers do not fit the keys. What is cached stays.
    pub fn region(&self, key: &[u8]) -> Result<Option<Arc<Region>>, Error> {
        if let Some(region) = self.cached(key) {
            self.hits.raise();
            return Ok(Some(region));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.look_up(key)
    }

    /// Forgets a region that a store has refused ("epoch not match", "not leader") at `epoch`, unless a newer epoch of it is
    /// cached. A lookup that was sent before does not bring it back: the next miss asks the PD anew.
    pub fn invalidate(&self, id: RegionId, epoch: Epoch) {
        let mut lookups = self.lookups();
        lookups.note_invalid(id, epoch);
        self.cache.write().unwrap_or_else(PoisonError::into_inner).invalidate(id, epoch);
    }

    /// Hits and misses so far.
    pub fn stats(&self) -> RouterStats {
        RouterStats {
            hits: self.hits.sum(),
            misses: self.misses.load(Ordering::Relaxed),
            lookups: self.calls.load(Ordering::Relaxed),
        }
    }

    /// The number of cached regions.
    pub fn len(&self) -> usize {
        self.cache().len()
    }

    /// Whether no region is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn cached(&self, key: &[u8]) -> Option<Arc<Region>> {
        self.cache().get(key).map(Arc::clone)
    }

    fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookups(&self) -> MutexGuard<'_, Lookups> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
