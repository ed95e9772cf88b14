//! Who leads a region.

use super::region::{RegionId, StoreId};

/// The leader of a region in a term. Ordered by term; of two leaders in one term, which only stores that were set up
/// differently can have, the higher store id counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lead {
    /// 1 for the leader that a region begins with, one more with each transfer.
    pub term: u64,
    pub leader: StoreId,
}

/// What a store keeps on its disk of a region's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadRow {
    pub region: RegionId,
    pub lead: Lead,
    /// The store that this one, the leader, has offered the next term to, and that has not answered yet.
    pub offered_to: Option<StoreId>,
}
