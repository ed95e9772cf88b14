//! The leader transfers that the PD has hinted and the store has not taken yet.
//!
//! Invariants: at most one a region, and [`LEN_MAX`] in all; none of a region that the store has removed since; all ids are
//! other than 0.

use crate::core::{LeaderTransfer, PeerId, RegionId};

/// So many may wait; the PD gives a further one again, should it still want it when these are taken.
const LEN_MAX: usize = 1024;

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
            None => {
                self.queue.push(hint);
                self.queue.truncate(LEN_MAX);
            }
        }
    }

    /// Drops the hint of a region that is gone.
    pub(super) fn forget(&mut self, region: RegionId) {
        self.queue.retain(|hint| hint.region_id != region);
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
    fn a_region_that_is_gone_has_none_and_their_number_is_bounded() {
        let mut hints = Hints::default();
        let len_max = u64::try_from(LEN_MAX).unwrap();
        (1..=len_max + 1).for_each(|region| hints.push(hint(region, 11, 12)));
        hints.forget(RegionId(2));
        let kept: Vec<u64> = hints.take().iter().map(|hint| hint.region_id.0).collect();
        let expected: Vec<u64> = std::iter::once(1).chain(3..=len_max).collect();
        assert_eq!(kept, expected);
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
