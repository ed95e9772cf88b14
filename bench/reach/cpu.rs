//! What a call costs the server: beside a bare handler with the same messages, and with many regions beside few.

use pd_lite::proto::{pd, pd_methods};

use crate::Setting;
use crate::floor::Call;
use crate::side::{self, Side, Turn};
use crate::support::Result;
use crate::support::catalog::{SOURCE, TARGET, store_heartbeat};
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, short};
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;

const FEW: u64 = 1000;
const IN_FLIGHT: usize = 64;
const CALLS: Until = Until::Calls(20_000);

/// With more regions a call costs at most so much more.
const GROWTH: Target = Target::AtMost(1.2);

/// What calls are about: regions of a server, or of none that looks.
#[derive(Clone, Copy)]
struct Catalog {
    regions: u64,
    is_floor: bool,
}

/// A server and what it is asked.
struct Asked {
    side: Side,
    catalog: Catalog,
}

/// One run of one kind of call.
type Run = fn(&LoadClient, Catalog) -> Result<Load>;

/// Measures the four calls.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let few = Asked::start(setting, FEW)?;
    let many = Asked::start(setting, setting.regions)?;
    let memory = Asked { side: Side::new(PdProcess::in_memory()?)?, catalog: Catalog { regions: 0, is_floor: false } };

    let mut over_floor = |what: &str, asked: &Asked, call: Call, run: Run, line: f64| {
        let floor = Side::new(call.start()?)?;
        let floor = Asked { side: floor, catalog: Catalog { is_floor: true, ..asked.catalog } };
        let what = format!("{what}: server CPU / a bare handler's");
        compare(report, &what, (asked, ""), (&floor, " at the floor"), run, Target::AtMost(line))
    };
    over_floor(&format!("Tso, {IN_FLIGHT} in flight"), &memory, Call::Tso, take_timestamp, 1.10)?;
    let name = format!("GetRegionByKey, {} regions", many.regions());
    over_floor(&name, &many, Call::GetRegionByKey, look_up, 1.2)?;
    let name = format!("unchanged RegionHeartbeat, {} regions", many.regions());
    over_floor(&name, &many, Call::RegionHeartbeat, report_unchanged, 1.35)?;

    for side in [&few.side, &many.side] {
        // The target's numbers, without which no store gets a hint.
        side.client.call(&pd_methods::STORE_HEARTBEAT, &store_heartbeat(TARGET))?;
    }
    let calls: [(&str, Run); 3] = [
        ("GetRegionByKey", look_up),
        ("unchanged RegionHeartbeat", report_unchanged),
        ("StoreHeartbeat with a hint", ask_for_hint),
    ];
    let few_text = format!(" at {} regions", few.regions());
    for (what, run) in calls {
        let what = format!("{what}: server CPU at {} regions / {}", many.regions(), few.regions());
        compare(report, &what, (&many, ""), (&few, &few_text), run, GROWTH)?;
    }
    few.side.process.stop()?;
    memory.side.process.stop()?;
    many.side.process.stop()
}

/// Adds the ratio of what a call costs two servers, each with words for it.
fn compare(
    report: &mut Report,
    what: &str,
    (measured, measured_text): (&Asked, &str),
    (other, other_text): (&Asked, &str),
    run: Run,
    target: Target,
) -> Result<()> {
    measured.run(run)?;
    other.run(run)?;
    let pairs = in_turns(PAIRS, || measured.run(run), || other.run(run))?;
    let ratios: Vec<f64> = pairs.iter().map(|(measured, other)| measured.cost / other.cost).collect();
    report.add(
        what,
        side::text(pairs.iter().map(|(measured, _)| measured)) + measured_text,
        side::text(pairs.iter().map(|(_, other)| other)) + other_text,
        &Median::of(&ratios),
        target,
    );
    Ok(())
}

impl Asked {
    /// A server on a workdir with so many regions.
    fn start(setting: &Setting, regions: u64) -> Result<Self> {
        let workdir = setting.workdir(&format!("cpu-{regions}"));
        regions::write_workdir(&workdir, regions)?;
        Ok(Self { side: Side::new(PdProcess::durable(&workdir)?)?, catalog: Catalog { regions, is_floor: false } })
    }

    fn regions(&self) -> String {
        short(float64(self.catalog.regions))
    }

    fn run(&self, run: Run) -> Result<Turn> {
        self.side.run(|client| run(client, self.catalog))
    }
}

fn take_timestamp(client: &LoadClient, _: Catalog) -> Result<Load> {
    client.run(
        &pd_methods::TSO,
        IN_FLIGHT,
        CALLS,
        |_| pd::TsoRequest { count: 1, ..Default::default() },
        |_, answer| answer.count == 1 && answer.timestamp > 0,
    )
}

/// Looks up keys all over the catalog.
fn look_up(client: &LoadClient, Catalog { regions: count, is_floor }: Catalog) -> Result<Load> {
    client.run(
        &pd_methods::GET_REGION_BY_KEY,
        IN_FLIGHT,
        CALLS,
        move |number| regions::lookup(regions::scattered(number, count)),
        move |number, answer| is_floor || answer.region.id == regions::id(regions::scattered(number, count)),
    )
}

/// Reports regions all over the catalog as they are.
fn report_unchanged(client: &LoadClient, Catalog { regions: count, .. }: Catalog) -> Result<Load> {
    client.run(
        &pd_methods::REGION_HEARTBEAT,
        IN_FLIGHT,
        CALLS,
        move |number| regions::heartbeat(regions::scattered(number, count), regions::FIRST_VERSION),
        |_, answer| answer.accepted,
    )
}

/// Lets the store with the most leaders report.
fn ask_for_hint(client: &LoadClient, _: Catalog) -> Result<Load> {
    client.run(
        &pd_methods::STORE_HEARTBEAT,
        IN_FLIGHT,
        CALLS,
        |_| store_heartbeat(SOURCE),
        |_, answer| answer.accepted && answer.operations.len() == 1,
    )
}
