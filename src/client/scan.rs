//! Scans of a key range: page after page, or lookup after lookup at a PD without `pdlite.v1`.
//!
//! Each page is of one moment. Where a region overlaps ones of earlier pages, it has replaced them meanwhile, and they are
//! dropped. A page ends behind the one before it, so a scan ends.

use super::retry::Repeat;
use super::{Error, Inner};
use crate::core::{KeyRange, Region};
use crate::proto::{pdlite, pdlite_methods};

/// Regions in key order, and whether there may be more behind the last one.
pub(crate) struct Page {
    pub(crate) regions: Vec<Region>,
    pub(crate) more: bool,
}

impl From<&pdlite::ScanRegionsResponse> for Page {
    fn from(answer: &pdlite::ScanRegionsResponse) -> Self {
        Self { regions: answer.regions.iter().map(Region::from).collect(), more: answer.more }
    }
}

/// The first `limit` regions that share a key with `range`, out of pages that are asked for one after the other.
///
/// # Errors
///
/// `Invalid` for a range without a key, and those of `page`.
pub(crate) fn scan(
    range: KeyRange<'_>,
    limit: usize,
    mut page: impl FnMut(&pdlite::ScanRegionsRequest) -> Result<Page, Error>,
) -> Result<Vec<Region>, Error> {
    if !range.is_well_formed() {
        return Err(Error::Invalid("the end of a range to scan must be above its start, or empty".into()));
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut request = pdlite::ScanRegionsRequest {
        start_key: range.start.to_vec(),
        end_key: range.end.to_vec(),
        ..Default::default()
    };
    while regions.len() < limit && rest(&request).is_well_formed() {
        request.limit = (limit - regions.len()).try_into().unwrap_or(u32::MAX);
        let page = page(&request)?;
        for region in page.regions {
            while regions.last().is_some_and(|last| last.range().overlaps(&region.range())) {
                regions.pop();
            }
            regions.push(region);
        }
        match regions.last().map(Region::end_key) {
            Some(end) if page.more && !end.is_empty() => request.start_key = end.to_vec(),
            _ => break,
        }
    }
    Ok(regions)
}

fn rest(request: &pdlite::ScanRegionsRequest) -> KeyRange<'_> {
    KeyRange { start: &request.start_key, end: &request.end_key }
}

impl Inner {
    /// The first `limit` regions that share a key with `range`.
    ///
    /// # Errors
    ///
    /// Those of [`scan`] and [`Inner::call`]; `Malformed` for a page that is not what was asked for, or says that more follow
    /// and has none; `Unsupported` at a gap, from a PD without `pdlite.v1`.
    pub(super) fn scan_regions(&self, range: KeyRange<'_>, limit: usize) -> Result<Vec<Region>, Error> {
        scan(range, limit, |request| self.page(request))
    }

    /// Regions from the start of what is asked for on, as many as that or fewer.
    fn page(&self, request: &pdlite::ScanRegionsRequest) -> Result<Page, Error> {
        let page = match self.call(&pdlite_methods::SCAN_REGIONS, request, Repeat::Always) {
            Ok(answer) => Page::from(&answer),
            Err(Error::Unsupported { .. }) => return self.page_by_lookup(&request.start_key),
            Err(error) => return Err(error),
        };
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        match what_is_wrong(&page, rest(request), limit) {
            Some(reason) => Err(self.malformed(format!("a scan's page {reason}"))),
            None => Ok(page),
        }
    }

    /// The one region that holds `start`.
    fn page_by_lookup(&self, start: &[u8]) -> Result<Page, Error> {
        match self.region_by_key(start)? {
            Some(region) => Ok(Page { regions: vec![region], more: true }),
            None => Err(Error::Unsupported {
                addr: self.connections.current().addr().to_owned(),
                call: "a scan across a gap between regions",
            }),
        }
    }
}

/// Why `page` is no answer to a scan of `range`, if it is none.
fn what_is_wrong(page: &Page, range: KeyRange<'_>, limit: usize) -> Option<&'static str> {
    let are_in_range = page.regions.iter().all(|region| {
        let own = region.range();
        own.is_well_formed() && own.overlaps(&range)
    });
    let are_in_order = page.regions.windows(2).all(|pair| {
        let end = pair[0].end_key();
        !end.is_empty() && end <= pair[1].start_key()
    });
    let faults = [
        (page.regions.len() > limit, "has more regions than were asked for"),
        (!are_in_range, "has a region outside of the range"),
        (!are_in_order, "is out of order"),
        (page.more && page.regions.is_empty(), "has no regions, yet more are said to follow"),
    ];
    faults.into_iter().find_map(|(is_so, what)| is_so.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Epoch, RegionId};

    const RANGE: KeyRange<'_> = KeyRange { start: b"d", end: b"m" };

    fn page(ranges: &[(&str, &str)], more: bool) -> Page {
        let region = |(start, end): &(&str, &str)| {
            Region::new(RegionId(1), start.as_bytes(), end.as_bytes(), Epoch::default(), [])
        };
        Page { regions: ranges.iter().map(region).collect(), more }
    }

    #[test]
    fn a_page_in_range_and_order_is_taken() {
        for ranges in [&[][..], &[("", "")], &[("c", "e"), ("e", "f"), ("g", "")], &[("", "d\0"), ("l", "m")]] {
            assert_eq!(what_is_wrong(&page(ranges, false), RANGE, 3), None, "{ranges:?}");
        }
    }

    #[test]
    fn a_page_that_could_be_no_answer_is_malformed() {
        for (ranges, more, what) in [
            (&[][..], true, "no regions"),
            (&[("d", "e"), ("e", "f"), ("f", "g"), ("g", "h")], false, "more regions"),
            (&[("c", "d")], false, "outside"),
            (&[("m", "")], false, "outside"),
            (&[("e", "e")], false, "outside"),
            (&[("g", "e")], false, "outside"),
            (&[("e", "g"), ("f", "h")], false, "order"),
            (&[("g", "h"), ("e", "f")], false, "order"),
            (&[("e", ""), ("f", "g")], false, "order"),
        ] {
            let wrong = what_is_wrong(&page(ranges, more), RANGE, 3).expect("a fault");
            assert!(wrong.contains(what), "{ranges:?}: {wrong}");
        }
    }
}
