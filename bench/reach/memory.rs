//! What a catalog of many regions costs in memory and at a start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pd_lite::proto::pd_methods;

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, Target, float64, short};
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;
use crate::support::timed::read_and_checksum;

const IN_FLIGHT: usize = 512;
const STARTS: usize = 10;
const TARGET: Target = Target::AtMost(300.0);

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
    start(setting, report, "our own form", &|_| Ok(workdir.clone()))?;
    fs::remove_dir_all(&workdir)?;
    // The first start rewrites it in ours.
    let in_the_references_form = |turn| {
        let workdir = setting.workdir(&format!("memory-reference-{turn}"));
        regions::write_workdir(&workdir, setting.regions)?;
        // What is not on the disk yet would be written with the first sync of the start.
        File::open(workdir.join(fs::read_to_string(workdir.join("CURRENT"))?))?.sync_all()?;
        Ok(workdir)
    };
    start(setting, report, "the reference's form", &in_the_references_form)?;
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

/// Starts on a loaded workdir again and again, in turns with reading and checksumming its manifest. CPU time is told too:
/// other work on the machine makes a start longer, and hardly dearer. `workdir` makes the one of a turn, which is then in the
/// page cache.
fn start(setting: &Setting, report: &mut Report, form: &str, workdir: &dyn Fn(usize) -> Result<PathBuf>) -> Result<()> {
    let empty = start_once(&setting.workdir("memory-empty"), None)?;
    let last = setting.regions - 1;
    let mut manifest_len = 0;
    let mut starts = Vec::new();
    let mut reads = Vec::new();
    for turn in 0..STARTS {
        let workdir = workdir(turn)?;
        let manifest = workdir.join(fs::read_to_string(workdir.join("CURRENT"))?);
        manifest_len = fs::metadata(&manifest)?.len();
        reads.push(read_and_checksum(&manifest)?);
        starts.push(start_once(&workdir, Some(last))?);
    }
    let median = |times: &mut dyn Iterator<Item = Duration>| {
        Median::of(&times.map(|time| time.as_secs_f64()).collect::<Vec<_>>())
    };
    let time = median(&mut starts.iter().map(|start| start.time));
    report.add(
        &format!("seconds from exec to the first answer, {} regions in {form}", short(float64(setting.regions))),
        format!(
            "{} s, of it CPU {} s; manifest of {} MB in the page cache",
            short(time.value),
            short(median(&mut starts.iter().map(|start| start.cpu)).value),
            manifest_len / 1_000_000
        ),
        format!(
            "{} s to read and checksum it; {} s for an empty workdir",
            short(median(&mut reads.into_iter()).value),
            short(empty.time.as_secs_f64())
        ),
        &time,
        Target::AtMost(1.5),
    );
    let resident = starts.iter().map(|start| start.resident_bytes).max().expect("there was a start");
    tell(setting, report, &format!("started on {form}"), "after the first answer", resident, empty.resident_bytes);
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

/// What one start took.
struct Start {
    /// From exec to the first answer.
    time: Duration,
    cpu: Duration,
    resident_bytes: u64,
}

/// Starts a server, asks it for region `i` (or for a key of an empty catalog) and stops it.
fn start_once(workdir: &Path, i: Option<u64>) -> Result<Start> {
    let process = PdProcess::durable(workdir)?;
    let client = LoadClient::connect(process.addr())?;
    let answer = client.call(&pd_methods::GET_REGION_BY_KEY, &regions::lookup(i.unwrap_or(0)))?;
    let time = process.started().elapsed();
    if answer.not_found != i.is_none() || answer.region.id != i.map_or(0, regions::id) {
        return Err(format!("a start on {} lost its regions", workdir.display()).into());
    }
    let start = Start { time, cpu: process.cpu()?, resident_bytes: process.resident_bytes()? };
    process.stop()?;
    Ok(start)
}

/// Reports every region once with this epoch version.
fn report_all(client: &LoadClient, count: u64, version: u64, order: Order) -> Result<Load> {
    let place = move |number: u64| match order {
        Order::Ascending => number,
        Order::Scattered => regions::shuffled(number, count),
    };
    client.run(
        &pd_methods::REGION_HEARTBEAT,
        IN_FLIGHT,
        Until::Calls(count),
        move |number| regions::heartbeat(place(number), version),
        |_, answer| answer.accepted,
    )
}
