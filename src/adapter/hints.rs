//! The leader transfers that the PD has hinted and the store has not taken yet.
//!
//! Invariant: at most one a region, so their number is bounded by that of the regions; all ids are other than 0.

use crate::core::{LeaderTransfer, PeerId, RegionId};

#[derive(Debug, Default)]
pub(super) struct Hints {
    /// In order of arrival.
    queue: Vec<LeaderTransfer>,
}

impl Hints {
    /// Queues a hint. One that waits for the same region already makes room for it: this one knows newer numbers.
    pub(super) fn push(&mut self, hint: LeaderTransfer) {
        if hint.region_id == RegionId(0) || hint.source_peer_id == PeerId(0) || hint.target_peer_id == PeerId(0) {
            return;
        }
        match self.queue.iter_mut().find(|queued| queued.region_id == hint.region_id) {
            Some(queued) => *queued = hint,
            None => self.queue.push(hint),
        }
    }

    /// Hands out everything, once.
    pub(super) fn take(&mut self) -> Vec<LeaderTransfer> {
        std::mem::take(&mut self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(region: u64, source: u64, target: u64) -> LeaderTransfer {
        LeaderTransfer { region_id: RegionId(region), source_peer_id: PeerId(source), target_peer_id: PeerId(target) }
    }

    #[test]
    fn hints_are_handed_out_once_in_order_of_arrival() {
        let mut hints = Hints::default();
        hints.push(hint(2, 21, 22));
        hints.push(hint(1, 11, 12));
        assert_eq!(hints.take(), [hint(2, 21, 22), hint(1, 11, 12)]);
        assert_eq!(hints.take(), []);
        hints.push(hint(2, 21, 22));
        assert_eq!(hints.take(), [hint(2, 21, 22)], "it may come again once it was taken");
    }

    #[test]
    fn a_region_has_one_hint_at_most_the_newest() {
        let mut hints = Hints::default();
        hints.push(hint(1, 11, 12));
        hints.push(hint(2, 21, 22));
        hints.push(hint(1, 11, 12));
        hints.push(hint(1, 11, 13));
        assert_eq!(hints.take(), [hint(1, 11, 13), hint(2, 21, 22)]);
    }

    #[test]
    fn a_hint_with_an_id_of_0_is_none() {
        let mut hints = Hints::default();
        for hint in [hint(0, 1, 2), hint(1, 0, 2), hint(1, 1, 0)] {
            hints.push(hint);
        }
        assert_eq!(hints.take(), []);
    }
}
