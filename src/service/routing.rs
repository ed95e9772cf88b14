//! Which regions hold keys: many keys at once, and a range.

use super::answer::Room;
use super::{Answer, Error, HOLD_REGIONS_MAX, Pd, Reply, key_text};
use crate::core::{KeyRange, Region};
use crate::proto::{pd as pb, pdlite};

/// Regions in one answer to a scan.
pub(super) const SCAN_REGIONS_MAX: usize = 1024;

/// The answer about one key.
pub(super) fn answer(found: Option<Region>) -> pb::GetRegionByKeyResponse {
    pb::GetRegionByKeyResponse {
        not_found: found.is_none(),
        region: found.map(|region| pb::RegionMeta::from(&region)).into(),
        ..Default::default()
    }
}

impl Pd {
    /// Finds the regions that hold some keys, each as `get_region_by_key` would. With at least one answer it stops where the
    /// next might make the message too long.
    ///
    /// # Errors
    ///
    /// `Stopped` or `Broken`.
    pub fn get_regions_by_keys(
        &self,
        request: &pdlite::GetRegionsByKeysRequest,
    ) -> Answer<pdlite::GetRegionsByKeysResponse> {
        self.check_serving()?;
        let mut room = Room::new();
        let mut answers = pdlite::GetRegionsByKeysResponse::new();
        'all: for keys in request.keys.chunks(HOLD_REGIONS_MAX) {
            let found: Vec<_> = {
                let cluster = self.cluster()?;
                keys.iter().map(|key| cluster.region_by_key(key).cloned()).collect()
            };
            for found in found {
                let answer = answer(found);
                if !room.take(&answer) {
                    break 'all;
                }
                answers.results.push(answer);
            }
        }
        Ok(Reply::Now(answers))
    }

    /// Lists the regions that share a key with a range, in key order, as they are at one moment: up to a limit, and with at
    /// least one up to where the next might make the message too long.
    ///
    /// # Errors
    ///
    /// `EmptyScan`.
    pub fn scan_regions(&self, request: &pdlite::ScanRegionsRequest) -> Answer<pdlite::ScanRegionsResponse> {
        self.check_serving()?;
        let range = KeyRange { start: &request.start_key, end: &request.end_key };
        if !range.is_well_formed() {
            return Err(Error::EmptyScan { range: key_text::range(range) });
        }
        let limit = match usize::try_from(request.limit) {
            Ok(limit @ 1..=SCAN_REGIONS_MAX) => limit,
            _ => SCAN_REGIONS_MAX,
        };
        // One more than may be told, to know whether it is there.
        let found: Vec<_> = {
            let cluster = self.cluster()?;
            let within = cluster.regions_at(range.start).take_while(|region| region.range().overlaps(&range));
            within.take(limit + 1).cloned().collect()
        };
        let mut room = Room::new();
        let mut answer = pdlite::ScanRegionsResponse::new();
        for region in found.iter().take(limit) {
            let region = pb::RegionMeta::from(region);
            if !room.take(&region) {
                break;
            }
            answer.regions.push(region);
        }
        answer.more = answer.regions.len() < found.len();
        Ok(Reply::Now(answer))
    }
}
