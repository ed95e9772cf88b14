//! How many changes share one sync when syncs are slow.

use std::sync::Arc;
use std::time::Duration;

use pd_lite::proto::pd_methods;

use crate::Setting;
use crate::support::Result;
use crate::support::disk::CountingDisk;
use crate::support::figures::{Median, PAIRS, Target, float64, short};
use crate::support::in_process::InProcess;
use crate::support::load::{LoadClient, Until};
use crate::support::regions;
use crate::support::report::Report;

const IN_FLIGHT: usize = 64;
const SYNC_DELAY: Duration = Duration::from_millis(2);
/// Far more than calls in flight: no region is reported again before its last report is answered.
const REGIONS: u64 = 10_000;
const CALLS: u64 = 3000;

/// Measures changes a sync.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let (disk, counts) = CountingDisk::new(SYNC_DELAY);
    let server = InProcess::durable(Arc::new(disk), &setting.workdir("batching"))?;
    let client = LoadClient::connect(server.addr())?;
    let mut changes_a_sync = Vec::new();
    let mut rates = Vec::new();
    let mut changes = 0;
    for _ in 0..PAIRS {
        let syncs_before = counts.manifest_syncs();
        let from = changes;
        let load = client.run(
            &pd_methods::REGION_HEARTBEAT,
            IN_FLIGHT,
            Until::Calls(CALLS),
            // Every call is a change: the next region, or on the next round the same one with its epoch bumped.
            move |number| {
                let change = from + number;
                regions::heartbeat(change % REGIONS, regions::FIRST_VERSION + change / REGIONS)
            },
            |_, answer| answer.accepted,
        )?;
        changes += load.calls;
        changes_a_sync.push(float64(load.calls) / float64(counts.manifest_syncs() - syncs_before));
        rates.push(load.rate());
    }
    server.stop()?;
    report.add(
        "changes a sync, syncs delayed by 2 ms",
        format!("{} changes/s", short(Median::of(&rates).value)),
        format!("{IN_FLIGHT} in flight; one sync each would be {}/s", short(1.0 / SYNC_DELAY.as_secs_f64())),
        &Median::of(&changes_a_sync),
        Target::AtLeast(16.0),
    );
    Ok(())
}
