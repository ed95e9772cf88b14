//! The scheduler of a store without a placement driver: a catalog in the same process, which is told what a placement driver
//! would be told. It hears one store, and there is nowhere to move its leaders to.
//!
//! Lock order: `catalog` is the only lock, held for one look or change.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::adapter::{Mirror, Snapshot};
use crate::core::{Cluster, Region, RegionId, StoreId, StoreStats, Verdict};

/// The catalog of one store.
pub struct Standalone {
    catalog: Mutex<Cluster>,
    /// Heartbeats are dated by the time since then.
    born: Instant,
}

impl Default for Standalone {
    fn default() -> Self {
        Self { catalog: Mutex::default(), born: Instant::now() }
    }
}

impl Standalone {
    fn catalog(&self) -> MutexGuard<'_, Cluster> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror for Standalone {
    fn region_heartbeat(&self, region: &Region) {
        let mut catalog = self.catalog();
        match catalog.judge(region) {
            Ok(Verdict::Unchanged) => {}
            Ok(Verdict::Changed) => catalog.put(region.clone()),
            Err(refusal) => log::debug!("the scheduler of this process refuses a region: {refusal:?}"),
        }
    }

    fn remove_region(&self, id: RegionId) {
        self.catalog().remove(id);
    }

    fn store_heartbeat(&self, store: StoreId, stats: StoreStats) {
        let hint = self.catalog().store_heartbeat(store, stats, self.born.elapsed());
        debug_assert!(hint.is_none(), "a single store has nowhere to move a leader to");
    }

    fn snapshot(&self) -> Snapshot {
        let catalog = self.catalog();
        Snapshot {
            regions: catalog.regions_from(RegionId(0)).cloned().collect(),
            stores: catalog.stores_from(StoreId(0)).map(|(store, stats, _)| (store, stats)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Epoch;

    #[test]
    fn it_holds_what_it_was_told_by_the_rules_of_a_placement_driver() {
        let region = |id: u64, start: &str, end: &str, version: u64| {
            let epoch = Epoch { version, conf_version: 1 };
            Region::new(RegionId(id), start.as_bytes(), end.as_bytes(), epoch, [])
        };
        let standalone = Standalone::default();
        for told in [region(1, "", "m", 2), region(2, "l", "", 1), region(1, "", "m", 1), region(3, "m", "", 1)] {
            standalone.region_heartbeat(&told);
        }
        standalone.store_heartbeat(StoreId(1), StoreStats { region_num: 2, ..StoreStats::default() });
        standalone.remove_region(RegionId(3));
        let Snapshot { regions, stores } = standalone.snapshot();
        assert_eq!(regions, [region(1, "", "m", 2)]);
        assert_eq!(stores, [(StoreId(1), StoreStats { region_num: 2, ..StoreStats::default() })]);
    }
}
