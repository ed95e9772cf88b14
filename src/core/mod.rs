//! Pure state: regions, the catalog that holds them, allocators and the leader-transfer planner.
//!
//! Nothing here does I/O, reads a clock, takes a lock or starts a thread; time comes in as an argument.

pub mod allocator;
pub mod cluster;
mod counter;
mod id_index;
mod id_set;
mod key_index;
mod key_node;
pub mod lead;
pub mod region;
mod regions;
pub mod scheduler;
mod short_bytes;
mod slab;
mod store_sets;
#[cfg(test)]
mod tests;
pub mod uvarint;

pub use allocator::{AllocError, Allocators, Kind, Limits, Refill, Take};
pub use cluster::{Cluster, Overlap, Refusal, Verdict};
pub use lead::{Lead, LeadRow};
pub use region::{Epoch, KeyRange, Peer, PeerId, Region, RegionId, StoreId};
pub use regions::Regions;
pub use scheduler::{LeaderTransfer, StoreStats};
