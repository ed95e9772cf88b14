//! What the catalog itself costs a call, in process: short runs over regions from all over a catalog, so that what a call
//! meets is memory that no cache holds. Prints ns a call, the median of the runs.
//!
//! `catalog [REGIONS] [--against PROGRAM]`: with the same program of another build, both are run in turns (10 pairs), and the
//! ratios of their medians are printed.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use lexopt::prelude::{Long, Value, ValueExt};
use pd_lite::core::{Allocators, Cluster, Limits, Region};
use pd_lite::proto::pdlite;
use pd_lite::service::{Pd, RequestLimits};
use pd_lite::storage::State;

use support::figures::{Median, float64, in_turns, short};
use support::process::resident_bytes_of_this_process;
use support::regions::{self, FIRST_VERSION};
use support::table::aligned;
use support::timed::{NEAR, Numbers, median_nanos};
use support::{Result, exit_code};

/// Regions of a call that takes many.
const BATCH: u64 = 256;
/// Runs whose median is told, each of [`NEAR`] calls or one batch.
const RUNS: u64 = 20_000;
const PAIRS: usize = 10;

fn main() -> ExitCode {
    exit_code("catalog", run())
}

fn run() -> Result<()> {
    let (mut regions, mut other) = (1_000_000, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            // Cargo adds this one to every bench.
            Long("bench") => {}
            Long("against") => other = Some(PathBuf::from(arguments.value()?)),
            Value(count) => regions = count.parse::<NonZeroU64>()?.get(),
            _ => return Err(argument.unexpected().into()),
        }
    }
    match other {
        None => {
            Catalog::of(regions)?.measure(|name, nanos| println!("{name:LEN$} {}", short(nanos)))?;
        }
        Some(other) => compare(&[std::env::current_exe()?, other], regions)?,
    }
    Ok(())
}

/// The width of a name.
const LEN: usize = 37;

/// Runs both programs in turns.
fn compare(programs: &[PathBuf; 2], regions: u64) -> Result<()> {
    let run = |program: &PathBuf| {
        let output = Command::new(program).arg(regions.to_string()).output()?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} ended by {}: {}", program.display(), output.status, told.trim_end()).into());
        }
        figures(OsStr::to_str(program.as_ref()).unwrap_or("the other program"), &String::from_utf8(output.stdout)?)
    };
    let pairs = in_turns(PAIRS, || run(&programs[0]), || run(&programs[1]))?;
    let names: Vec<&String> = pairs[0].0.keys().collect();
    let rows: Vec<[String; 4]> = names
        .into_iter()
        .filter_map(|name| {
            let both: Option<Vec<(f64, f64)>> =
                pairs.iter().map(|(this, other)| Some((*this.get(name)?, *other.get(name)?))).collect();
            let (this, other): (Vec<f64>, Vec<f64>) = both?.into_iter().unzip();
            let ratios: Vec<f64> = this.iter().zip(&other).map(|(this, other)| this / other).collect();
            Some([
                name.clone(),
                short(Median::of(&this).value),
                short(Median::of(&other).value),
                Median::of(&ratios).to_string(),
            ])
        })
        .collect();
    println!("{}", aligned(["WHAT", "THIS", "OTHER", "THIS TO OTHER [95 %]"], &rows));
    Ok(())
}

/// What a run has printed.
fn figures(program: &str, text: &str) -> Result<BTreeMap<String, f64>> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.trim_end().to_owned(), value.replace(',', "").parse().ok()?))
    };
    let read: Option<_> = text.lines().map(line).collect();
    read.ok_or_else(|| format!("{program} prints other lines than this program").into())
}

struct Catalog {
    cluster: Cluster,
    count: u64,
    numbers: Numbers,
    bytes: u64,
}

impl Catalog {
    /// A catalog whose regions came in no order.
    fn of(count: u64) -> Result<Self> {
        let before = resident_bytes_of_this_process()?;
        let mut cluster = Cluster::default();
        for place in 0..count {
            cluster.put(regions::region(regions::shuffled(place, count), FIRST_VERSION));
        }
        let bytes = resident_bytes_of_this_process()?.saturating_sub(before) / count;
        Ok(Self { cluster, count, numbers: Numbers::default(), bytes })
    }

    /// Measures everything, and tells of each thing.
    fn measure(mut self, tell: impl Fn(&str, f64)) -> Result<()> {
        let count = self.count;
        tell("bytes a region", float64(self.bytes));
        let find = |cluster: &mut Cluster, key: &mut Vec<u8>| black_box(cluster.region_by_key(key)).is_some();
        tell("lookup", self.nanos(|i, _| regions::key(i), find)?);
        let judge = |cluster: &mut Cluster, region: &mut Region| black_box(cluster.judge(region)).is_ok();
        tell("judge unchanged", self.nanos(|i, _| regions::region(i, FIRST_VERSION), judge)?);
        let put = |cluster: &mut Cluster, region: &mut Option<Region>| {
            let region = region.take().expect("taken once");
            let is_right = black_box(cluster.judge(&region)).is_ok();
            cluster.put(region);
            is_right
        };
        tell("judge and put a new epoch", self.nanos(|i, number| Some(regions::region(i, 2 + number)), put)?);

        let Self { mut cluster, mut numbers, .. } = self;
        let version = 2 + numbers.take(0);
        (0..count).for_each(|i| cluster.put(regions::region(i, version)));
        let state =
            State { cluster: Mutex::new(cluster), allocators: Mutex::new(Allocators::unbounded(Limits::default())) };
        let pd = Pd::in_memory(Arc::new(state), RequestLimits::default());
        let scattered = |number| regions::scattered(number, count);
        let accepts = |request: &mut _| black_box(pd.region_heartbeat(request)).is_ok();
        let unchanged = |number| regions::heartbeat(scattered(number), version);
        tell("unchanged RegionHeartbeat", median_nanos(RUNS, &mut numbers, NEAR, unchanged, accepts)?);
        let batch = |number| pdlite::RegionHeartbeatsRequest {
            regions: (0..BATCH).map(|at| regions::message(scattered(number * BATCH + at), version)).collect(),
            ..Default::default()
        };
        let accepts_all = |request: &mut _| black_box(pd.region_heartbeats(request)).is_ok();
        let nanos = median_nanos(RUNS, &mut numbers, 1, batch, accepts_all)? / float64(BATCH);
        tell("unchanged region of RegionHeartbeats", nanos);
        let changed = |number| regions::heartbeat(scattered(number), version + number);
        tell("changed RegionHeartbeat", median_nanos(RUNS, &mut numbers, NEAR, changed, accepts)?);
        Ok(())
    }

    /// ns for a call about a region from anywhere. `prepare` gets the region's number and that of the call.
    fn nanos<T>(
        &mut self,
        prepare: impl Fn(u64, u64) -> T,
        call: impl Fn(&mut Cluster, &mut T) -> bool,
    ) -> Result<f64> {
        let Self { cluster, count, numbers, .. } = self;
        let prepare = |number| prepare(regions::scattered(number, *count), number);
        median_nanos(RUNS, numbers, NEAR, prepare, |prepared| call(cluster, prepared))
    }
}
