//! What the catalog itself costs a call, in process: short runs over regions from all over a catalog, so that what a call
//! meets is memory that no cache holds. Prints ns a call: the lower decile and the median of the runs. The lower decile is for
//! comparing two builds on a machine with other work.
//!
//! `cargo bench --bench catalog -- [REGIONS]`; to compare two builds, run both programs in turns.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pd_lite::core::{Allocators, Cluster, Limits, Region};
use pd_lite::proto::{pd as pb, pdlite};
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::State;

use support::figures::float;
use support::regions::{self, FIRST_VERSION};

/// Calls of one run. What they are made from fits a small cache.
const CALLS: usize = 32;
const RUNS: usize = 24_000;

/// The numbers of regions, from all over the catalog and never the same again soon.
struct Scattered {
    number: u64,
    count: u64,
}

impl Scattered {
    fn many<T>(&mut self, make: impl Fn(u64) -> T) -> Vec<T> {
        let from = self.number;
        self.number += u64::try_from(CALLS).expect("a small number");
        (from..self.number).map(|number| make(regions::scattered(number, self.count))).collect()
    }
}

/// Measures runs of `CALLS` calls over what `prepare` makes.
fn measure<T>(name: &str, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T) -> T) {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let prepared = prepare();
        let started = Instant::now();
        let done = run(prepared);
        times.push(started.elapsed());
        drop(done);
    }
    times.sort_unstable();
    let ns = |time: Duration| time.as_secs_f64() * 1e9 / float(CALLS);
    println!("{name:36} {:8.0} {:8.0}", ns(times[RUNS / 10]), ns(times[RUNS / 2]));
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has an RSS");
    1024 * line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB")
}

fn main() {
    // Cargo adds `--bench`.
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let before = resident_bytes();
    let mut cluster = Cluster::default();
    let stride = 2_654_435_761;
    for number in 0..count {
        cluster.put(regions::region(number * stride % count, FIRST_VERSION));
    }
    println!(
        "{count} regions, {} bytes each; ns a call, lower decile and median:",
        (resident_bytes() - before) / count
    );

    let mut scattered = Scattered { number: 0, count };
    measure(
        "lookup",
        || scattered.many(regions::key),
        |keys| {
            assert!(keys.iter().all(|key| black_box(cluster.region_by_key(key)).is_some()));
            keys
        },
    );
    measure(
        "judge unchanged",
        || scattered.many(|i| regions::region(i, FIRST_VERSION)),
        |regions| {
            assert!(regions.iter().all(|region| black_box(cluster.judge(region)).is_ok()));
            regions
        },
    );
    let mut version = FIRST_VERSION;
    measure(
        "judge and put a new epoch",
        || {
            version += 1;
            scattered.many(|i| Some(regions::region(i, version)))
        },
        |mut regions: Vec<Option<Region>>| {
            for region in &mut regions {
                let region = region.take().expect("taken once");
                assert!(black_box(cluster.judge(&region)).is_ok());
                cluster.put(region);
            }
            regions
        },
    );
    for i in 0..count {
        cluster.put(regions::region(i, version));
    }

    let pd = Pd::in_memory(
        Arc::new(State {
            cluster: Mutex::new(cluster),
            allocators: Mutex::new(Allocators::unbounded(Limits::default())),
        }),
        RequestLimits::default(),
    );
    measure(
        "unchanged RegionHeartbeat",
        || scattered.many(|i| regions::heartbeat(i, version)),
        |requests: Vec<pb::RegionHeartbeatRequest>| {
            assert!(requests.iter().all(|request| black_box(pd.region_heartbeat(request)).is_ok()));
            requests
        },
    );
    measure(
        "unchanged region of RegionHeartbeats",
        || {
            let regions = scattered.many(|i| regions::message(i, version));
            pdlite::RegionHeartbeatsRequest { regions, ..Default::default() }
        },
        |request: pdlite::RegionHeartbeatsRequest| {
            assert!(black_box(pd.region_heartbeats(&request)).is_ok());
            request
        },
    );
    measure(
        "changed RegionHeartbeat",
        || {
            version += 1;
            scattered.many(|i| regions::heartbeat(i, version))
        },
        |requests: Vec<pb::RegionHeartbeatRequest>| {
            assert!(requests.iter().all(|request| black_box(pd.region_heartbeat(request)).is_ok()));
            requests
        },
    );
}
