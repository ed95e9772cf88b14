//! A placement driver with a catalog, at every level: its state in process, its calls without a network, and its address.
//! Its regions are changed one after the other, round and round, so that the version of each is known at any time.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use pd_lite::core::Cluster;
use pd_lite::proto::pd;
use pd_lite::service::Pd;
use pd_lite::storage::fs::OsFs;

use super::Result;
use super::in_process::InProcess;
use super::regions::{self, FIRST_VERSION};
use super::timed::{at_once, wait};

/// The store that asks for hints, and the one that its leaders should move to. Both hold replicas of the same regions.
pub const SOURCE: u64 = 1;
pub const TARGET: u64 = 2;

/// A catalog of regions that is served.
pub struct Catalog {
    server: InProcess,
    count: u64,
    changes: Cell<u64>,
}

impl Catalog {
    /// `count` regions in memory.
    pub fn in_memory(count: u64) -> Result<Self> {
        Self::new(InProcess::in_memory(regions::all(count))?, count)
    }

    /// `count` regions in a workdir, which is created.
    pub fn durable(workdir: &Path, count: u64) -> Result<Self> {
        regions::write_workdir(workdir, count)?;
        let catalog = Self::new(InProcess::durable(Arc::new(OsFs), workdir)?, count)?;
        // The first change also waits for what the start has left to the disk.
        let (i, version) = catalog.versions().change(catalog.take_changes(1));
        wait(catalog.pd().region_heartbeat(&regions::heartbeat(i, version))).map_err(|error| error.to_string())?;
        Ok(catalog)
    }

    /// Both stores have reported, as in a cluster that plans: every later change keeps the planner's sets up to date.
    fn new(server: InProcess, count: u64) -> Result<Self> {
        for store in [TARGET, SOURCE] {
            at_once(server.pd().store_heartbeat(&store_heartbeat(store))).ok_or("a store's heartbeat is refused")?;
        }
        Ok(Self { server, count, changes: Cell::new(0) })
    }

    pub fn addr(&self) -> &str {
        self.server.addr()
    }

    pub fn pd(&self) -> &Pd {
        self.server.pd()
    }

    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.server.state().cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The regions as they are now.
    pub fn versions(&self) -> Versions {
        Versions { count: self.count, changes: self.changes.get() }
    }

    /// The number of the first of the next `count` changes, which the caller makes.
    pub fn take_changes(&self, count: u64) -> u64 {
        let first = self.changes.get();
        self.changes.set(first + count);
        first
    }

    /// Ends the server and writes what is left.
    pub fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

/// Which version each region of a catalog has.
#[derive(Clone, Copy)]
pub struct Versions {
    count: u64,
    changes: u64,
}

impl Versions {
    /// A region by a number of any size, and its version.
    pub fn scattered(self, number: u64) -> (u64, u64) {
        let place = regions::scattered(number, self.count);
        let version = FIRST_VERSION + self.changes / self.count + u64::from(place < self.changes % self.count);
        (self.region_at(place), version)
    }

    /// The region that a change meets, and the version that it gets.
    pub fn change(self, number: u64) -> (u64, u64) {
        (self.region_at(number % self.count), FIRST_VERSION + 1 + number / self.count)
    }

    /// Places follow each other by ascending number, and their regions lie all over the catalog.
    fn region_at(self, place: u64) -> u64 {
        regions::shuffled(place, self.count)
    }
}

/// A report of a store that has too many leaders, or of one that has too few.
pub fn store_heartbeat(store: u64) -> pd::StoreHeartbeatRequest {
    pd::StoreHeartbeatRequest {
        store_id: store,
        region_num: 1000,
        leader_num: if store == SOURCE { 900 } else { 100 },
        capacity: 1 << 40,
        available: 1 << 39,
        ..Default::default()
    }
}
