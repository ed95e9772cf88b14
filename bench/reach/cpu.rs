//! What a call costs the server, with few regions and with many: the costs must hardly differ.

use pd_lite::proto::{pd, pd_methods};

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, micros, short};
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;

const FEW: u64 = 1000;
const IN_FLIGHT: usize = 64;
const CALLS: Until = Until::Calls(10_000);

/// The store that asks for hints, and the one that its leaders should move to. Both hold replicas of the same regions.
const SOURCE: u64 = 1;
const TARGET: u64 = 2;

/// A server, its load generator and the number of its regions.
struct Side {
    process: PdProcess,
    client: LoadClient,
    regions: u64,
}

/// One run of one kind of call.
type Run = fn(&LoadClient, u64) -> Result<Load>;

/// Measures the three calls.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let few = Side::start(setting, FEW)?;
    let many = Side::start(setting, setting.regions)?;
    for side in [&few, &many] {
        // The target's numbers, without which no store gets a hint.
        side.client.call(&pd_methods::STORE_HEARTBEAT, &store_heartbeat(TARGET))?;
    }
    let calls: [(&str, Run); 3] = [
        ("GetRegionByKey", look_up),
        ("unchanged RegionHeartbeat", report_unchanged),
        ("StoreHeartbeat with a hint", ask_for_hint),
    ];
    for (what, run) in calls {
        compare(report, what, &few, &many, run)?;
    }
    few.process.stop()?;
    many.process.stop()
}

fn compare(report: &mut Report, what: &str, few: &Side, many: &Side, run: Run) -> Result<()> {
    many.run(run)?;
    few.run(run)?;
    let pairs = in_turns(PAIRS, || many.run(run), || few.run(run))?;
    let ratios: Vec<f64> = pairs.iter().map(|(many, few)| many.cost / few.cost).collect();
    let (many_runs, few_runs): (Vec<Cost>, Vec<Cost>) = pairs.into_iter().unzip();
    report.add(
        &format!("{what}: server CPU a call"),
        side_text(&many_runs, many.regions),
        side_text(&few_runs, few.regions),
        &Median::of(&ratios),
        Target::AtMost(1.25),
    );
    Ok(())
}

/// What one run cost.
struct Cost {
    /// Server CPU a call, in µs.
    cost: f64,
    generator_share: f64,
}

fn side_text(runs: &[Cost], regions: u64) -> String {
    let median = |figure: fn(&Cost) -> f64| Median::of(&runs.iter().map(figure).collect::<Vec<_>>()).value;
    format!(
        "{} µs at {} regions (generator {:.0} %)",
        short(median(|run| run.cost)),
        short(float64(regions)),
        100.0 * median(|run| run.generator_share)
    )
}

impl Side {
    fn start(setting: &Setting, count: u64) -> Result<Self> {
        let workdir = setting.workdir(&format!("cpu-{count}"));
        regions::write_workdir(&workdir, count)?;
        let process = PdProcess::durable(&workdir)?;
        let client = LoadClient::connect(process.addr())?;
        Ok(Self { process, client, regions: count })
    }

    fn run(&self, run: Run) -> Result<Cost> {
        let before = self.process.cpu()?;
        let load = run(&self.client, self.regions)?;
        let used = self.process.cpu()?.saturating_sub(before);
        Ok(Cost { cost: micros(used) / float64(load.calls), generator_share: load.generator_share() })
    }
}

/// Looks up keys all over the catalog.
fn look_up(client: &LoadClient, count: u64) -> Result<Load> {
    client.run(
        &pd_methods::GET_REGION_BY_KEY,
        IN_FLIGHT,
        CALLS,
        move |number| regions::lookup(regions::scattered(number, count)),
        move |number, answer| answer.region.id == regions::id(regions::scattered(number, count)),
    )
}

/// Reports regions all over the catalog as they are.
fn report_unchanged(client: &LoadClient, count: u64) -> Result<Load> {
    client.run(
        &pd_methods::REGION_HEARTBEAT,
        IN_FLIGHT,
        CALLS,
        move |number| regions::heartbeat(regions::scattered(number, count), regions::FIRST_VERSION),
        |_, answer| answer.accepted,
    )
}

/// Lets the store with the most leaders report.
fn ask_for_hint(client: &LoadClient, _: u64) -> Result<Load> {
    client.run(
        &pd_methods::STORE_HEARTBEAT,
        IN_FLIGHT,
        CALLS,
        |_| store_heartbeat(SOURCE),
        |_, answer| answer.accepted && answer.operations.len() == 1,
    )
}

fn store_heartbeat(store: u64) -> pd::StoreHeartbeatRequest {
    let mut request = pd::StoreHeartbeatRequest::new();
    request.store_id = store;
    request.region_num = 1000;
    request.leader_num = if store == SOURCE { 900 } else { 100 };
    request.capacity = 1 << 40;
    request.available = 1 << 39;
    request
}
