//! What a route out of the router's cache costs, beside a lookup of the same keys in an ordered map. In time on a core: what
//! else the machine does at the time counts only as far as it takes the caches.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pd_lite::client::Error;
use pd_lite::client::router::{RegionSource, Router};
use pd_lite::core::Region;

use crate::Setting;
use crate::support::figures::{Median, PAIRS, Target, float, in_turns, short};
use crate::support::process::cpu_of_thread;
use crate::support::regions::{self, FIRST_VERSION};
use crate::support::report::Report;
use crate::support::{Result, machine};

const REGIONS: u64 = 100_000;
/// Lookups of a thread that are measured at once; each key is another one.
const ROUND: u64 = 200_000;
const THREADS: [usize; 2] = [1, 2];

/// Finds the region of a key by its number.
struct ByNumber;

impl RegionSource for ByNumber {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> std::result::Result<Vec<Option<Region>>, Error> {
        let number = |key: &[u8]| std::str::from_utf8(key).ok()?.strip_prefix("user/")?.parse().ok();
        Ok(keys.iter().map(|key| number(key).map(|number| regions::region(number, FIRST_VERSION))).collect())
    }
}

/// Measures hits, by one thread and by two at a time.
pub fn measure(_: &Setting, report: &mut Report) -> Result<()> {
    let router = Router::new(ByNumber);
    let mut map = BTreeMap::new();
    for number in 0..REGIONS {
        let region = router.region(&regions::key(number))?.ok_or("a region of the bench is not found")?;
        map.insert(region.start_key().to_vec(), region);
    }
    // Somewhere in the region, as rows are, not on its border.
    let key = |number| [regions::key(regions::scattered(number, REGIONS)), number.to_be_bytes().to_vec()].concat();
    let keys: Vec<Vec<u8>> = (0..ROUND).map(key).collect();
    let in_map = |key: &[u8]| {
        let (_, region) = map.range::<[u8], _>((Unbounded, Included(key))).next_back()?;
        region.range().contains(key).then(|| Arc::clone(region))
    };
    for threads in THREADS {
        let pairs = in_turns(
            PAIRS,
            || time_a_lookup(threads, &keys, |key| router.region(key).ok().flatten()),
            || time_a_lookup(threads, &keys, in_map),
        )?;
        let nanos = |time: &Duration| time.as_secs_f64() * 1e9;
        let hits: Vec<f64> = pairs.iter().map(|(hit, _)| nanos(hit)).collect();
        let in_map: Vec<f64> = pairs.iter().map(|(_, in_map)| nanos(in_map)).collect();
        let ratios: Vec<f64> = hits.iter().zip(&in_map).map(|(hit, in_map)| hit / in_map).collect();
        let each = if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads, each") };
        report.add(
            &format!("router hit, 100,000 regions, {each}, ns"),
            format!("{} of the map's time", Median::of(&ratios)),
            format!("BTreeMap, same keys: {} ns", short(Median::of(&in_map).value)),
            &Median::of(&hits),
            Target::AtMost(300.0),
        );
    }
    let stats = router.stats();
    if stats.lookups != REGIONS {
        return Err(format!("hits were measured, but there were misses: {stats:?}").into());
    }
    Ok(())
}

/// The time that a thread computes for one lookup, while `threads` of them make lookups, each in an order of its own.
fn time_a_lookup(
    threads: usize,
    keys: &[Vec<u8>],
    find: impl Fn(&[u8]) -> Option<Arc<Region>> + Sync,
) -> Result<Duration> {
    let run = |thread: usize| -> Option<Duration> {
        let (front, back) = keys.split_at(keys.len() / threads * thread);
        let this = machine::this_thread().ok()?;
        let before = cpu_of_thread(&this).ok()?;
        let found = back.iter().chain(front).filter(|key| black_box(find(black_box(key))).is_some()).count();
        (found == keys.len()).then_some(cpu_of_thread(&this).ok()? - before)
    };
    let times: Vec<Option<Duration>> = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let sum: Option<Duration> = times.into_iter().sum();
    let sum = sum.ok_or("a region of the bench is not found, or a thread's time cannot be read")?;
    Ok(sum.div_f64(float(threads) * float(keys.len())))
}
