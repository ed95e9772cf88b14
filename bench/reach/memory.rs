//! What a catalog of many regions costs in memory and at a start.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use pd_lite::proto::pd_methods;

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, Target, float64, in_turns, short};
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;

const IN_FLIGHT: usize = 512;
/// The fewest measurements that have an interval of 95 %.
const STARTS: usize = 6;
const TARGET: Target = Target::AtMost(400.0);

/// In which order regions are reported.
#[derive(Clone, Copy)]
enum Order {
    Ascending,
    Scattered,
}

/// Measures memory while a catalog is loaded, changed and read back.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let workdir = setting.workdir("memory-ascending");
    load(setting, report, &workdir, Order::Ascending)?;
    start(setting, report, &workdir)?;
    fs::remove_dir_all(&workdir)?;
    load(setting, report, &setting.workdir("memory-scattered"), Order::Scattered)
}

/// Loads all regions through gRPC, then bumps every epoch.
fn load(setting: &Setting, report: &mut Report, workdir: &Path, order: Order) -> Result<()> {
    let process = PdProcess::durable(workdir)?;
    let client = LoadClient::connect(process.addr())?;
    let empty = process.resident_bytes()?;
    let name = match order {
        Order::Ascending => "in ascending order",
        Order::Scattered => "in no order",
    };
    for (what, version) in [("loaded", regions::FIRST_VERSION), ("every epoch bumped", regions::FIRST_VERSION + 1)] {
        let load = report_all(&client, setting.regions, version, order)?;
        let how = format!("at {}/s, generator {:.0} %", short(load.rate()), 100.0 * load.generator_share());
        tell(setting, report, &format!("{what} {name}"), &how, process.resident_bytes()?, empty);
    }
    process.stop()
}

/// Starts on the loaded workdir again and again, in turns with reading and checksumming the same manifest.
fn start(setting: &Setting, report: &mut Report, workdir: &Path) -> Result<()> {
    let empty_workdir = setting.workdir("memory-empty");
    let (empty, empty_start) = start_once(&empty_workdir, None)?;
    let manifest = workdir.join(fs::read_to_string(workdir.join("CURRENT"))?);
    let manifest_len = fs::metadata(&manifest)?.len();
    let last = setting.regions - 1;
    let mut resident = 0;
    let pairs = in_turns(
        STARTS,
        || {
            let (bytes, time) = start_once(workdir, Some(last))?;
            resident = bytes;
            Ok(time.as_secs_f64())
        },
        || Ok(read_and_checksum(&manifest)?.as_secs_f64()),
    )?;
    let (starts, reads): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    report.add(
        &format!("exec to the first answer, {} regions, seconds", short(float64(setting.regions))),
        format!("{} s, manifest {} MB in the page cache", short(Median::of(&starts).value), manifest_len / 1_000_000),
        format!(
            "{} s to read and checksum it; {} s for an empty workdir",
            short(Median::of(&reads).value),
            short(empty_start.as_secs_f64())
        ),
        &Median::of(&starts),
        Target::AtMost(2.0),
    );
    tell(setting, report, "started on the workdir", "after the first answer", resident, empty);
    Ok(())
}

/// Adds a line about resident memory.
fn tell(setting: &Setting, report: &mut Report, what: &str, how: &str, resident: u64, empty: u64) {
    let mebibytes = |bytes: u64| float64(bytes) / 1_048_576.0;
    report.add(
        &format!("bytes a region, {what}"),
        format!("{:.1} MiB resident ({how})", mebibytes(resident)),
        format!("{:.1} MiB of the empty process", mebibytes(empty)),
        &Median::exact(float64(resident.saturating_sub(empty)) / float64(setting.regions)),
        TARGET,
    );
}

/// Starts a server, asks it for region `i` (or for a key of an empty catalog) and stops it. Returns its resident bytes and
/// the time from exec to the answer.
fn start_once(workdir: &Path, i: Option<u64>) -> Result<(u64, Duration)> {
    let process = PdProcess::durable(workdir)?;
    let client = LoadClient::connect(process.addr())?;
    let answer = client.call(&pd_methods::GET_REGION_BY_KEY, &regions::lookup(i.unwrap_or(0)))?;
    let time = process.started().elapsed();
    if answer.not_found != i.is_none() || answer.region.id != i.map_or(0, regions::id) {
        return Err(format!("a start on {} lost its regions", workdir.display()).into());
    }
    let resident = process.resident_bytes()?;
    process.stop()?;
    Ok((resident, time))
}

/// The yardstick: what any start has to do at least.
fn read_and_checksum(path: &Path) -> Result<Duration> {
    let started = Instant::now();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut checksum = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
    }
    std::hint::black_box(checksum);
    Ok(started.elapsed())
}

/// Reports every region once with this epoch version.
fn report_all(client: &LoadClient, count: u64, version: u64, order: Order) -> Result<Load> {
    /// A prime: with any smaller count, its multiples meet every region once.
    const STRIDE: u64 = 2_654_435_761;
    let place = move |number: u64| match order {
        Order::Ascending => number,
        Order::Scattered => number * STRIDE % count,
    };
    client.run(
        &pd_methods::REGION_HEARTBEAT,
        IN_FLIGHT,
        Until::Calls(count),
        move |number| regions::heartbeat(place(number), version),
        |_, answer| answer.accepted,
    )
}
