//! The store's side of a PD: what a key-value store embeds to tell the PD of its regions and to get its hints.
//!
//! An [`Adapter`] takes what the store says (a region as it is now, a region that is gone, the store's numbers) and returns
//! at once. Its own thread tells the PD, and goes on until the PD has acknowledged the newest state of every region and
//! every removal, however long the PD is away; hints come back through [`Adapter::plan`].
//!
//! - **The newest state counts.** What the store says of one region while the PD is slow or away becomes one state, and a
//!   removal in front of it where there was one. Memory: one entry for each region that the store has reported and not
//!   removed, with its newest state, and one for each removal that is not acknowledged, whatever the number of updates.
//! - **The store is the authority of its regions.** A call whose outcome is unknown is made again: the newest state said
//!   twice is as good as once, and so is a removal, for it stands until the store itself reports the region again.
//! - **A refusal for a stale epoch or an overlap is an answer**, not an error. In a split or a merge it only says that
//!   another region has to come first, so the state is tried again once another change was accepted, a few times, and then
//!   once a round. That goes on until it is accepted or the store says something newer: for a region that another store knows
//!   by a newer epoch, one try a round.
//! - **A round** is what a PD that has forgotten everything (it restarted without a workdir) learns from: a store reports all
//!   of its regions every few seconds, and the adapter passes on those that are as acknowledged, too, once a round at most.
//! - Removals are sent before states, states in the order in which their regions were first changed. An update that is
//!   not part of a backlog is sent at once, so in the order of the store's calls.
//!
//! Thread: one, `pd-adapter`, whose loop and end are told in `worker.rs`. Lock: one, around what is pending; nobody holds it
//! during a call, and it is never held while the mirror or the error callback runs.

mod hints;
mod options;
mod pending;
mod rounds;
mod shared;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use self::shared::Shared;
use self::worker::Worker;
use crate::client::Client;
use crate::core::{LeaderTransfer, Region, RegionId, StoreId, StoreStats};

pub use self::options::{Action, AdapterOptions, ErrorCallback, Mirror, Snapshot};

/// The store's side of a PD. Its methods may be called from any thread, and none of them waits for the PD but
/// [`Adapter::flush`] and [`Adapter::stop`]. When it goes its thread ends, after the call that is under way; what the PD has
/// not been told is lost, which [`Adapter::stop`] avoids.
pub struct Adapter {
    mirror: Option<Arc<dyn Mirror>>,
    drain: Duration,
    delivery: Option<Delivery>,
}

/// The way to the PD.
struct Delivery {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Adapter {
    /// An adapter that tells the PD behind `client`; without one, the mirror alone.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread.
    #[must_use]
    pub fn start(client: Option<Client>, options: AdapterOptions) -> Self {
        let delivery = client.map(|client| {
            let shared = Arc::new(Shared::default());
            let worker = Worker::new(client, Arc::clone(&shared), &options);
            let thread = Builder::new().name("pd-adapter".to_owned()).spawn(|| worker.run());
            let thread = thread.unwrap_or_else(|error| panic!("no thread for the adapter: {error}"));
            Delivery { shared, thread: Mutex::new(Some(thread)) }
        });
        Self { mirror: options.mirror, drain: options.drain, delivery }
    }

    /// The store says what a region is now. An id of 0 does nothing.
    pub fn region_heartbeat(&self, region: Region) {
        if region.id() == RegionId(0) {
            return;
        }
        if let Some(mirror) = &self.mirror {
            mirror.region_heartbeat(&region);
        }
        if let Some(delivery) = &self.delivery {
            delivery.shared.change(|state| state.pending.region_heartbeat(region));
        }
    }

    /// The store says that a region is gone: merged into another, say. An id of 0 does nothing.
    pub fn remove_region(&self, id: RegionId) {
        if id == RegionId(0) {
            return;
        }
        if let Some(mirror) = &self.mirror {
            mirror.remove_region(id);
        }
        if let Some(delivery) = &self.delivery {
            delivery.shared.change(|state| {
                state.pending.remove_region(id);
                state.hints.forget(id);
            });
        }
    }

    /// A store tells its numbers. They reach the PD behind the changes of regions that were reported before, if the PD answers
    /// to those. An id of 0 does nothing.
    pub fn store_heartbeat(&self, store: StoreId, stats: StoreStats) {
        if store == StoreId(0) {
            return;
        }
        if let Some(mirror) = &self.mirror {
            mirror.store_heartbeat(store, stats);
        }
        if let Some(delivery) = &self.delivery {
            delivery.shared.change(|state| state.pending.store_heartbeat(store, stats));
        }
    }

    /// Hands out the leader transfers that the PD has hinted since the last time, in order of arrival, one a region. The PD
    /// hints again what it still wants: of a transfer that the store is at work on it may hear a second time.
    #[must_use]
    pub fn plan(&self) -> Vec<LeaderTransfer> {
        self.delivery.as_ref().map(|delivery| delivery.shared.lock().hints.take()).unwrap_or_default()
    }

    /// What the mirror was told; without a mirror, nothing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.mirror.as_ref().map(|mirror| mirror.snapshot()).unwrap_or_default()
    }

    /// How many regions there are whose newest state, or whose removal, the PD has not acknowledged: those on their way and
    /// those that it refuses.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.delivery.as_ref().map_or(0, |delivery| delivery.shared.lock().pending.unacknowledged())
    }

    /// Waits until the PD has answered, by acknowledgement or refusal, to everything that the store has said, and hints and
    /// errors are where they belong, at most for `timeout`. Returns whether it has. What waits for the next round is not
    /// waited for.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.delivery.as_ref().is_none_or(|delivery| delivery.shared.wait_for_rest(timeout))
    }

    /// Flushes, for [`AdapterOptions::drain`] at most, and ends the thread. From then on only the mirror is told. Returns
    /// whether everything was answered. When a call is under way by the end of that time, the thread ends after it.
    pub fn stop(&self) -> bool {
        let begun = Instant::now();
        let is_answered = self.flush(self.drain);
        if let Some(delivery) = &self.delivery {
            delivery.shared.end();
            if delivery.shared.wait_for_end(self.drain.saturating_sub(begun.elapsed())) {
                delivery.join();
            }
        }
        is_answered
    }
}

impl Delivery {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().expect("the thread catches the callback's panics and has none of its own");
        }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.shared.end();
        }
    }
}
