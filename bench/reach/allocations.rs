//! Durable allocations beside those in memory, and how often the durable ones are written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pd_lite::proto::{pd, pd_methods};

use crate::Setting;
use crate::side::{self, Side};
use crate::support::Result;
use crate::support::disk::CountingDisk;
use crate::support::figures::{Median, PAIRS, Target, float, in_turns, short};
use crate::support::in_process::InProcess;
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::report::Report;

const IN_FLIGHT: usize = 64;
const LEAD_IN: Duration = Duration::from_millis(600);
const TURN: Duration = Duration::from_millis(400);
/// Long enough for a window to have grown to the rate.
const WARM_UP: Duration = Duration::from_secs(3);
const WATCHED: Duration = Duration::from_secs(12);

/// Measures rates and writes.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let memory = Side::new(PdProcess::in_memory()?)?;
    let durable = Side::new(PdProcess::durable(&setting.workdir("allocations"))?)?;
    compare(report, "durable Tso", &durable, &memory, tso)?;
    compare(report, "durable AllocID", &durable, &memory, alloc_id)?;
    durable.process.stop()?;
    memory.process.stop()?;
    count_writes(setting, report)
}

/// One run of one of the two calls.
type Run = fn(&LoadClient, usize, Duration) -> Result<Load>;

fn compare(report: &mut Report, what: &str, durable: &Side, memory: &Side, run: Run) -> Result<()> {
    // The first load of a turn is not measured: a window that shrank in the other side's turn grows again.
    let turn = |side: &Side| {
        run(&side.client, IN_FLIGHT, LEAD_IN)?;
        side.run(|client| run(client, IN_FLIGHT, TURN))
    };
    // A rate varies more from turn to turn than CPU time does.
    let pairs = in_turns(2 * PAIRS, || turn(durable), || turn(memory))?;
    let ratios: Vec<f64> = pairs.iter().map(|(durable, memory)| durable.load.rate() / memory.load.rate()).collect();
    report.add(
        &format!("{what}, {IN_FLIGHT} in flight: rate"),
        side::text(pairs.iter().map(|(durable, _)| durable)),
        side::text(pairs.iter().map(|(_, memory)| memory)) + " in memory",
        &Median::of(&ratios),
        Target::AtLeast(0.95),
    );
    Ok(())
}

/// Both calls at once on a counted disk: one write raises both counters.
fn count_writes(setting: &Setting, report: &mut Report) -> Result<()> {
    let (disk, counts) = CountingDisk::new(Duration::ZERO);
    let server = InProcess::durable(Arc::new(disk), &setting.workdir("allocations-counted"))?;
    let clients = [LoadClient::connect(server.addr())?, LoadClient::connect(server.addr())?];
    let both = |time: Duration| -> Result<f64> {
        std::thread::scope(|scope| {
            let ids = scope.spawn(|| alloc_id(&clients[0], IN_FLIGHT / 2, time).map_err(|error| error.to_string()));
            let timestamps = tso(&clients[1], IN_FLIGHT / 2, time)?;
            let ids = ids.join().map_err(|_| "the other load generator panicked")??;
            Ok(ids.rate() + timestamps.rate())
        })
    };
    both(WARM_UP)?;
    let from = Instant::now();
    let rate = both(WATCHED)?;
    let until = Instant::now();
    let writes: Vec<Instant> =
        counts.state_writes().into_iter().filter(|write| (from..until).contains(write)).collect();
    server.stop()?;
    let figure = match writes[..] {
        [first, .., last] => float(writes.len() - 1) / last.duration_since(first).as_secs_f64(),
        _ => float(writes.len()) / WATCHED.as_secs_f64(),
    };
    report.add(
        "state writes a second, Tso and AllocID at once",
        format!("{} writes in {} s, most in one second {}", writes.len(), WATCHED.as_secs(), most_in_a_second(&writes)),
        format!("{} calls/s of both", short(rate)),
        &Median::exact(figure),
        Target::AtMost(2.0),
    );
    Ok(())
}

/// The most of `writes`, which are in order, that lie in any one second.
fn most_in_a_second(writes: &[Instant]) -> usize {
    let within = |first: &Instant| {
        writes.iter().filter(|write| (*first..*first + Duration::from_secs(1)).contains(write)).count()
    };
    writes.iter().map(within).max().unwrap_or(0)
}

fn tso(client: &LoadClient, in_flight: usize, time: Duration) -> Result<Load> {
    let request = |_| {
        let mut request = pd::TsoRequest::new();
        request.count = 1;
        request
    };
    client.run(&pd_methods::TSO, in_flight, Until::Time(time), request, |_, answer| {
        answer.count == 1 && answer.timestamp > 0
    })
}

fn alloc_id(client: &LoadClient, in_flight: usize, time: Duration) -> Result<Load> {
    let request = |_| {
        let mut request = pd::AllocIDRequest::new();
        request.count = 1;
        request
    };
    client.run(&pd_methods::ALLOC_ID, in_flight, Until::Time(time), request, |_, answer| {
        answer.count == 1 && answer.first_id > 0
    })
}
