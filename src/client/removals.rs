//! Removals of many regions. The protocol has no message for more than one, so the calls are under way side by side.

use futures::future::join_all;

use super::retry::Span;
use super::{Error, Inner};
use crate::core::RegionId;
use crate::proto::{pd, pd_methods};

/// Calls under way at once: enough to share the PD's syncs, few beside what a connection may have.
const IN_FLIGHT_MAX: usize = 128;

impl Inner {
    /// Makes the PD forget regions, in no particular order, and returns as many answers.
    pub(super) fn remove_regions(&self, all: &[RegionId]) -> Vec<Result<bool, Error>> {
        let mut answers = Vec::with_capacity(all.len());
        for ids in all.chunks(IN_FLIGHT_MAX) {
            answers.extend(self.remove_side_by_side(ids));
            let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
            if let Some(failure) = errors.find(|error| !matches!(error, Error::Refused { .. })) {
                let not_sent = failure.clone().of_rest();
                answers.resize(all.len(), Err(not_sent));
                break;
            }
        }
        answers
    }

    fn remove_side_by_side(&self, ids: &[RegionId]) -> Vec<Result<bool, Error>> {
        let span = Span::new(self.options.timeout);
        pollster::block_on(join_all(ids.iter().map(async |id| {
            let request = pd::RemoveRegionRequest { region_id: id.0, ..Default::default() };
            Ok(self.call_once(&pd_methods::REMOVE_REGION, &request, span).await?.removed)
        })))
    }
}
