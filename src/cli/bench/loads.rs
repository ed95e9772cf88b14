//! The calls of a load, and what of their answers is checked.

use std::sync::{Arc, Mutex, PoisonError};

use super::catalog::{Catalog, Target};
use super::checks::Timestamps;
use super::tally::Outcome;
use crate::client::Error;
use crate::client::bare::BareClient;
use crate::core::Region;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Tso,
    Route,
    Heartbeat,
}

/// A load that the command line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Tso,
    Route,
    Heartbeat,
    Mixed,
}

/// Of ten calls six take timestamps, three look keys up and one reports regions.
const MIX: [Kind; 10] = {
    use Kind::{Heartbeat as H, Route as R, Tso as T};
    [T, R, T, T, R, T, H, T, R, T]
};

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tso => "tso",
            Self::Route => "route",
            Self::Heartbeat => "heartbeat",
            Self::Mixed => "mixed",
        }
    }

    /// The kinds of its calls, over and over.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Tso => &[Kind::Tso],
            Self::Route => &[Kind::Route],
            Self::Heartbeat => &[Kind::Heartbeat],
            Self::Mixed => &MIX,
        }
    }

    pub fn makes(self, kind: Kind) -> bool {
        self.kinds().contains(&kind)
    }
}

impl Kind {
    /// The method that is called, `batch` timestamps, keys or regions at a time.
    pub fn method(self, batch: usize) -> &'static str {
        match (self, batch) {
            (Self::Tso, _) => "Tso",
            (Self::Route, 1) => "GetRegionByKey",
            (Self::Route, _) => "GetRegionsByKeys",
            (Self::Heartbeat, 1) => "RegionHeartbeat",
            (Self::Heartbeat, _) => "RegionHeartbeats",
        }
    }
}

/// Makes the calls of one of those that are under way at once, each when the one before is over.
pub struct Caller {
    client: Arc<BareClient>,
    timestamps: Arc<Mutex<Timestamps>>,
    catalog: Arc<Catalog>,
    load: Load,
    /// Calls made so far.
    made: usize,
    batch: usize,
    own: OwnRegions,
    random: fastrand::Rng,
}

/// The regions that one caller reports, so that no report of one overtakes another: every `step`th.
pub struct OwnRegions {
    /// Of the catalog.
    step: u64,
    /// The number of the next one.
    next: u64,
    first: u64,
    /// Of a hundred reports, how many change the region.
    changes: u64,
    reports: u64,
    /// How often each was changed; empty when none ever is.
    versions: Vec<u32>,
}

impl OwnRegions {
    /// Those of caller `number` of `callers`, out of `regions`: a `callers`th, rounded down, at least. With fewer regions than
    /// callers some are reported by several, which is right only as long as none changes.
    pub fn new(number: u64, callers: u64, regions: u64, changes: u64) -> Self {
        let first = if regions == 0 { 0 } else { number % regions };
        let own = if changes == 0 { 0 } else { regions.saturating_sub(first).div_ceil(callers) };
        let versions = vec![0; usize::try_from(own).unwrap_or_default()];
        Self { step: callers, next: first, first, changes, reports: 0, versions }
    }

    /// The next report: a region's number, and how often it was changed.
    fn next(&mut self, regions: u64) -> (u64, u32) {
        let number = self.next;
        self.next = if number + self.step < regions { number + self.step } else { self.first };
        let place = usize::try_from((number - self.first) / self.step).unwrap_or_default();
        // Spread evenly: the sum of the shares passes a whole number.
        let is_change = (self.reports + 1) * self.changes / 100 > self.reports * self.changes / 100;
        self.reports += 1;
        let version = match self.versions.get_mut(place) {
            Some(version) => {
                *version = version.saturating_add(u32::from(is_change));
                *version
            }
            None => 0,
        };
        (number, version)
    }
}

impl Caller {
    pub fn new(
        client: Arc<BareClient>,
        timestamps: Arc<Mutex<Timestamps>>,
        catalog: Arc<Catalog>,
        load: Load,
        batch: usize,
        number: usize,
        own: OwnRegions,
    ) -> Self {
        // Callers of a mixed load do not march in step.
        Self { client, timestamps, catalog, load, made: number, batch, own, random: fastrand::Rng::new() }
    }

    /// The kind of the next call.
    pub fn kind(&self) -> Kind {
        let kinds = self.load.kinds();
        kinds[self.made % kinds.len()]
    }

    /// Makes the next call, and checks its answer.
    pub async fn call(&mut self) -> Outcome {
        let outcome = match self.kind() {
            Kind::Tso => self.take_timestamps().await,
            Kind::Route if self.batch == 1 => self.look_up().await,
            Kind::Route => self.look_up_many().await,
            Kind::Heartbeat => self.report().await,
        };
        self.made = self.made.wrapping_add(1);
        outcome
    }

    async fn take_timestamps(&self) -> Outcome {
        let count = u64::try_from(self.batch).unwrap_or(u64::MAX);
        let seen = || self.timestamps.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = seen().begin();
        let answer = self.client.timestamps(count).await;
        let verdict = seen().end(floor, answer.as_ref().ok().cloned());
        match (answer, verdict) {
            (Err(error), _) => failed(error),
            (Ok(_), Err(wrong)) => Outcome::Wrong(wrong.to_string()),
            (Ok(_), Ok(())) => Outcome::Right,
        }
    }

    async fn look_up(&mut self) -> Outcome {
        let target = self.catalog.target(&mut self.random);
        match self.client.region_by_key(target.key.clone()).await {
            Ok(found) => checked(target.what_is_wrong(found.as_ref())),
            Err(error) => failed(error),
        }
    }

    async fn look_up_many(&mut self) -> Outcome {
        let targets: Vec<Target> = (0..self.batch).map(|_| self.catalog.target(&mut self.random)).collect();
        let keys = targets.iter().map(|target| target.key.clone()).collect();
        match self.client.regions_by_keys(keys).await {
            Ok(found) if found.len() < targets.len() => {
                let told = format!("{} answers to {} keys: a smaller --batch fits", found.len(), targets.len());
                failed(Error::Invalid(told))
            }
            Ok(found) => {
                let mut answers = targets.iter().zip(&found);
                checked(answers.find_map(|(target, found)| target.what_is_wrong(found.as_ref())))
            }
            Err(error) => failed(error),
        }
    }

    async fn report(&mut self) -> Outcome {
        let regions: Vec<Region> = (0..self.batch)
            .map(|_| {
                let (number, changed) = self.own.next(self.catalog.len());
                self.catalog.region(number, changed)
            })
            .collect();
        let verdict = match &regions[..] {
            [region] => self.client.region_heartbeat(region).await,
            regions => self.client.region_heartbeats(regions).await,
        };
        verdict.map_or_else(failed, |()| Outcome::Right)
    }
}

fn checked(wrong: Option<String>) -> Outcome {
    wrong.map_or(Outcome::Right, Outcome::Wrong)
}

/// An answer that makes no sense is a wrong one.
fn failed(error: Error) -> Outcome {
    match error {
        Error::Malformed { .. } => Outcome::Wrong(error.to_string()),
        error => Outcome::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_ten_mixed_calls_six_take_timestamps_three_look_up_and_one_reports() {
        let count = |wanted| MIX.iter().filter(|kind| **kind == wanted).count();
        assert_eq!([Kind::Tso, Kind::Route, Kind::Heartbeat].map(count), [6, 3, 1]);
    }

    #[test]
    fn callers_share_the_regions_out_and_go_round() {
        let numbers = |number, callers, regions| {
            let mut own = OwnRegions::new(number, callers, regions, 0);
            [(); 5].map(|()| own.next(regions).0)
        };
        assert_eq!(numbers(0, 3, 7), [0, 3, 6, 0, 3]);
        assert_eq!(numbers(2, 3, 7), [2, 5, 2, 5, 2]);
        assert_eq!(numbers(9, 64, 4), [1, 1, 1, 1, 1], "more callers than regions");
    }

    #[test]
    fn no_message_names_a_region_twice_where_there_are_enough_for_each_caller() {
        let (callers, batch) = (3, 5);
        for regions in callers * batch..2 * callers * batch {
            for number in 0..callers {
                let mut own = OwnRegions::new(number, callers, regions, 0);
                for _ in 0..10 {
                    let message: BTreeSet<u64> = (0..batch).map(|_| own.next(regions).0).collect();
                    assert_eq!(u64::try_from(message.len()), Ok(batch), "{number} of {regions}: {message:?}");
                }
            }
        }
    }

    #[test]
    fn a_share_of_the_reports_changes_the_region_and_versions_never_fall() {
        let mut own = OwnRegions::new(1, 4, 10, 30);
        let mut last = [0; 10];
        let mut changes = 0;
        for _ in 0..1000 {
            let (number, version) = own.next(10);
            let number = usize::try_from(number).unwrap();
            assert!(version == last[number] || version == last[number] + 1);
            changes += version - last[number];
            last[number] = version;
        }
        assert_eq!(changes, 300);
    }
}
