//! What an adapter is told at its start: the pace, who is told of what the store says, and who of errors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Error;
use crate::core::{Region, RegionId, StoreId, StoreStats};

/// Is told what the PD was being told, and why it was not.
pub type ErrorCallback = Arc<dyn Fn(Action, &Error) + Send + Sync>;

/// How an adapter works. How long a call to the PD may take is an option of its client.
#[derive(Clone)]
pub struct AdapterOptions {
    /// The time between two rounds (3 s). In a round the PD is told again of the regions that are as it has acknowledged
    /// them, if the store has reported them since, and of those that it refused.
    pub round: Duration,
    /// How long [`Adapter::stop`](super::Adapter::stop) goes on delivering what the PD has not been told (2 s).
    pub drain: Duration,
    /// Is told of everything first, on the store's thread (none).
    pub mirror: Option<Arc<dyn Mirror>>,
    /// Is told why the PD has not been told something, on the adapter's thread, which goes on with its work afterwards
    /// (one line to the log). It is no flood: an outage is told once for each kind of call and each way in which it fails, a
    /// refused state of a region once, and of each kind of call one refusal a round. It must not wait for the adapter.
    pub on_error: ErrorCallback,
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(3),
            drain: Duration::from_secs(2),
            mirror: None,
            on_error: Arc::new(|action, error| log::warn!("{action}: {error}")),
        }
    }
}

/// What an adapter was telling the PD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    RegionHeartbeat,
    RemoveRegion,
    StoreHeartbeat,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Someone else who is told what the PD is told, such as a store's own view of its cluster.
///
/// It is called on the store's thread, before the PD is told, with everything but ids of 0: it must not wait.
pub trait Mirror: Send + Sync {
    fn region_heartbeat(&self, region: &Region);
    fn remove_region(&self, id: RegionId);
    fn store_heartbeat(&self, store: StoreId, stats: StoreStats);
    /// What it was told.
    fn snapshot(&self) -> Snapshot;
}

/// Regions and stores at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub regions: Vec<Region>,
    pub stores: Vec<(StoreId, StoreStats)>,
}
