//! What the catalog costs in process, with calls about regions from all over it, so that what they meet is memory that no cache
//! holds: lookups beside an ordered map, heartbeats beside those of a catalog that fits the caches and beside a single read of
//! such memory, of which each takes three or four.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound::{Included, Unbounded};
use std::sync::{Arc, Mutex};

use pd_lite::core::{Allocators, Cluster, Limits};
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::State;

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, short};
use crate::support::regions::{self, FIRST_VERSION};
use crate::support::report::Report;
use crate::support::timed::{NEAR, Numbers, at_once, median_nanos};

const FEW: u64 = 1000;
/// Runs of a turn, each of [`NEAR`] calls. Their median stands for it.
const RUNS: u64 = 1200;

/// Numbers of which single ones are read: about as many bytes as a catalog of a million regions.
const COLD_NUMBERS: u64 = 20_000_000;

/// Measures lookups, then heartbeats.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let count = setting.regions;
    look_up(count, report)?;
    let mut many = Reporting::to_a_catalog_of(count);
    let mut few = Reporting::to_a_catalog_of(FEW);
    let read = time_cold_reads()?;
    for (what, changes, line) in [("unchanged", false, 2e6), ("changed", true, 0.7e6)] {
        many.rate(changes)?;
        few.rate(changes)?;
        let pairs = in_turns(PAIRS, || many.rate(changes), || few.rate(changes))?;
        let (many, few): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let rate = Median::of(&many);
        report.add(
            &format!("in process, {} regions: {what} heartbeats a second", short(float64(count))),
            format!("{} ns a heartbeat, on one core", short(1e9 / rate.value)),
            format!(
                "{}/s with {} regions; a read of cold memory takes {} ns",
                short(Median::of(&few).value),
                short(float64(FEW)),
                short(read)
            ),
            &rate,
            Target::AtLeast(line),
        );
    }
    Ok(())
}

/// A catalog whose regions came in no order.
fn cluster_of(count: u64) -> Cluster {
    let mut cluster = Cluster::default();
    for place in 0..count {
        cluster.put(regions::region(regions::shuffled(place, count), FIRST_VERSION));
    }
    cluster
}

fn look_up(count: u64, report: &mut Report) -> Result<()> {
    let cluster = cluster_of(count);
    let map: BTreeMap<Vec<u8>, u64> =
        (0..count).map(|place| regions::shuffled(place, count)).map(|i| (regions::key(i), i)).collect();
    let in_cluster = |key: &[u8]| black_box(cluster.region_by_key(key)).is_some();
    let in_map = |key: &[u8]| black_box(map.range::<[u8], _>((Unbounded, Included(key))).next_back()).is_some();
    let (mut clusters, mut maps) = (Numbers::default(), Numbers::default());
    let pairs =
        in_turns(PAIRS, || time_lookups(&mut clusters, count, in_cluster), || time_lookups(&mut maps, count, in_map))?;
    let (cluster, map): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let time = Median::of(&cluster);
    report.add(
        &format!("in process, {} regions: lookup of a random key, in µs", short(float64(count))),
        format!("{} µs", short(time.value)),
        format!("{} µs in a BTreeMap of the same keys", short(Median::of(&map).value)),
        &time,
        Target::AtMost(1.5),
    );
    Ok(())
}

/// µs a lookup.
fn time_lookups(numbers: &mut Numbers, count: u64, finds: impl Fn(&[u8]) -> bool) -> Result<f64> {
    let key = |number| regions::key(regions::scattered(number, count));
    median_nanos(RUNS, numbers, NEAR, key, |key: &mut Vec<u8>| finds(key)).map(|nanos| nanos / 1e3)
}

/// ns for a read of memory that no cache holds, when the next one has to wait for it.
fn time_cold_reads() -> Result<f64> {
    let cold = black_box(vec![1_u64; usize::try_from(COLD_NUMBERS)?]);
    let last = Cell::new(1);
    let read = |number: &mut u64| {
        let at = regions::scattered(*number * last.get(), COLD_NUMBERS);
        last.set(usize::try_from(at).map_or(0, |at| cold[at]));
        last.get() == 1
    };
    median_nanos(RUNS, &mut Numbers::default(), NEAR, |number| number, read)
}

/// A placement driver in memory and the heartbeats that it gets.
struct Reporting {
    pd: Pd,
    count: u64,
    numbers: Numbers,
}

impl Reporting {
    fn to_a_catalog_of(count: u64) -> Self {
        let state = State {
            cluster: Mutex::new(cluster_of(count)),
            allocators: Mutex::new(Allocators::unbounded(Limits::default())),
        };
        let pd = Pd::in_memory(Arc::new(state), RequestLimits::default());
        Self { pd, count, numbers: Numbers::default() }
    }

    /// Heartbeats a second. Those that change something change it again with each call; then none is unchanged any more.
    fn rate(&mut self, changes: bool) -> Result<f64> {
        let Self { pd, count, numbers } = self;
        let request = |number| {
            let version = if changes { FIRST_VERSION + number } else { FIRST_VERSION };
            regions::heartbeat(regions::scattered(number, *count), version)
        };
        let is_accepted = |request: &mut _| at_once(pd.region_heartbeat(request)).is_some_and(|answer| answer.accepted);
        median_nanos(RUNS, numbers, NEAR, request, is_accepted).map(|nanos| 1e9 / nanos)
    }
}
