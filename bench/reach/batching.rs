//! Changes that are made durable: how many share one sync when syncs are slow, and how their rate on the real disk compares with
//! that of heartbeats that change nothing.

use std::sync::Arc;
use std::time::Duration;

use pd_lite::proto::{pd, pd_methods};

use crate::Setting;
use crate::side::{self, Side};
use crate::support::Result;
use crate::support::disk::CountingDisk;
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, short};
use crate::support::in_process::InProcess;
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;

const SYNC_DELAY: Duration = Duration::from_millis(2);
/// Far more than calls in flight: no region is reported again before its last report is answered.
const REGIONS: u64 = 10_000;
/// So many calls a turn that the manifest is rewritten in every second one.
const CALLS_ON_DISK: u64 = 20_000;
const IN_FLIGHT_ON_DISK: usize = 64;

/// Measures changes a sync, then rates.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    share_syncs(setting, report, 64, 16.0)?;
    share_syncs(setting, report, 256, 48.0)?;
    use_the_disk(setting, report)
}

fn share_syncs(setting: &Setting, report: &mut Report, in_flight: usize, line: f64) -> Result<()> {
    let (disk, counts) = CountingDisk::new(SYNC_DELAY);
    let server = InProcess::durable(Arc::new(disk), &setting.workdir(&format!("batching-{in_flight}")))?;
    let client = LoadClient::connect(server.addr())?;
    let mut changes = Changes::default();
    let mut changes_a_sync = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..PAIRS {
        let syncs_before = counts.manifest_syncs();
        // At any number in flight a run is some fifty times as long as what its last calls wait for.
        let load = changes.make(&client, in_flight, 50 * u64::try_from(in_flight)?)?;
        changes_a_sync.push(float64(load.calls) / float64(counts.manifest_syncs() - syncs_before));
        rates.push(load.rate());
    }
    server.stop()?;
    report.add(
        &format!("changes a sync, syncs delayed by 2 ms, {in_flight} in flight"),
        format!("{} changes/s", short(Median::of(&rates).value)),
        format!("one sync each would be {}/s at most", short(1.0 / SYNC_DELAY.as_secs_f64())),
        &Median::of(&changes_a_sync),
        Target::AtLeast(line),
    );
    Ok(())
}

fn use_the_disk(setting: &Setting, report: &mut Report) -> Result<()> {
    let changing = Side::new(PdProcess::durable(&setting.workdir("batching-changed"))?)?;
    let mut changes = Changes::default();
    changes.make(&changing.client, IN_FLIGHT_ON_DISK, CALLS_ON_DISK)?;
    let unchanging = Side::new(PdProcess::durable(&setting.workdir("batching-unchanged"))?)?;
    Changes::default().make(&unchanging.client, IN_FLIGHT_ON_DISK, REGIONS)?;
    let pairs = in_turns(
        PAIRS,
        || changing.run(|client| changes.make(client, IN_FLIGHT_ON_DISK, CALLS_ON_DISK)),
        || {
            unchanging
                .run(|client| report_all(client, IN_FLIGHT_ON_DISK, CALLS_ON_DISK, |number| change(number % REGIONS)))
        },
    )?;
    let ratios: Vec<f64> = pairs.iter().map(|(changed, same)| changed.load.rate() / same.load.rate()).collect();
    report.add(
        &format!("durable changed heartbeats, {IN_FLIGHT_ON_DISK} in flight: rate / that of unchanged ones"),
        side::text(pairs.iter().map(|(changed, _)| changed)),
        side::text(pairs.iter().map(|(_, same)| same)) + " unchanged",
        &Median::of(&ratios),
        Target::AtLeast(0.5),
    );
    changing.process.stop()?;
    unchanging.process.stop()
}

/// Heartbeats of which each is a change.
#[derive(Default)]
struct Changes {
    made: u64,
}

impl Changes {
    /// Makes so many more.
    fn make(&mut self, client: &LoadClient, in_flight: usize, calls: u64) -> Result<Load> {
        let from = self.made;
        self.made += calls;
        report_all(client, in_flight, calls, move |number| change(from + number))
    }
}

/// A change by its number: of the next region, or on the next round of the same one with its epoch bumped.
fn change(number: u64) -> pd::RegionHeartbeatRequest {
    regions::heartbeat(number % REGIONS, regions::FIRST_VERSION + number / REGIONS)
}

fn report_all(
    client: &LoadClient,
    in_flight: usize,
    calls: u64,
    heartbeat: impl Fn(u64) -> pd::RegionHeartbeatRequest + Send + Sync + 'static,
) -> Result<Load> {
    client.run(&pd_methods::REGION_HEARTBEAT, in_flight, Until::Calls(calls), heartbeat, |_, answer| answer.accepted)
}
