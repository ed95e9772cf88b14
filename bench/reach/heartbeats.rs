//! Batches of unchanged region heartbeats, in messages of about 60 KiB: as a store reports all that it holds, by ascending
//! key, and regions from all over the catalog. Beside them, a heartbeat each, and a bare handler that reads the same messages
//! and looks at nothing.

use std::iter;
use std::time::Duration;

use grpcio::Method;
use pd_lite::proto::pdlite::{RegionHeartbeatsRequest, RegionHeartbeatsResponse, RegionVerdict};
use pd_lite::proto::{pd_methods, pdlite_methods};
use protobuf::Message;

use crate::Setting;
use crate::support::Result;
use crate::support::encoded::{self, Bytes};
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, micros, short};
use crate::support::in_process::BareHandler;
use crate::support::load::{Load, LoadClient, Until};
use crate::support::process::PdProcess;
use crate::support::regions;
use crate::support::report::Report;

/// Batches that one client has under way.
const IN_FLIGHT: usize = 4;
const BATCH_BYTES: u64 = 60 << 10;
/// The store that reports.
const STORE: u64 = 1;
/// Calls of one region each.
const SINGLE_CALLS: u64 = 10_000;

/// The generator is not what is measured.
const ENCODED: Method<Bytes, Vec<u8>> = encoded::method(pdlite_methods::REGION_HEARTBEATS.name);

/// Measures both orders; the targets are for that of a store.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let workdir = setting.workdir("heartbeats");
    regions::write_workdir(&workdir, setting.regions)?;
    let process = PdProcess::durable(&workdir)?;
    let client = LoadClient::connect(process.addr())?;
    let single = single(setting, &process, &client)?;

    let held = (0..setting.regions).filter(|&i| regions::peers(i).any(|(store, _)| store == STORE));
    let by_key = Batches::of(held);
    let scattered = (0..by_key.regions).map(|number| regions::scattered(number, setting.regions));
    let scattered = Figures::measure(&Batches::of(scattered), &process, &client)?;
    let figures = Figures::measure(&by_key, &process, &client)?;
    process.stop()?;

    report.add(
        &format!("batched unchanged heartbeats a second, {} regions", short(float64(setting.regions))),
        format!(
            "{}/s as a store holds them, {} regions a batch (generator {:.0} %)",
            short(figures.rate.value),
            by_key.regions_a_batch,
            100.0 * figures.generator_share.value
        ),
        format!(
            "{}/s of the same messages at a bare handler; {}/s in no order",
            short(figures.bare_rate.value),
            short(scattered.rate.value)
        ),
        &figures.rate,
        Target::AtLeast(600_000.0),
    );
    report.add(
        "batched unchanged heartbeats: server CPU a region, in µs",
        format!("{} µs as a store holds them", short(figures.cost.value)),
        format!("{} µs in a call of its own; {} µs in no order", short(single), short(scattered.cost.value)),
        &figures.cost,
        Target::AtMost(1.2),
    );
    Ok(())
}

/// Server CPU of an unchanged region that comes in a call of its own, in µs.
fn single(setting: &Setting, process: &PdProcess, client: &LoadClient) -> Result<f64> {
    let count = setting.regions;
    let before = process.cpu()?;
    let load = client.run(
        &pd_methods::REGION_HEARTBEAT,
        64,
        Until::Calls(SINGLE_CALLS),
        move |number| regions::heartbeat(regions::scattered(number, count), regions::FIRST_VERSION),
        |_, answer| answer.accepted,
    )?;
    Ok(micros(process.cpu()?.saturating_sub(before)) / float64(load.calls))
}

/// Messages that are reported one after the other, for ever anew.
struct Batches {
    messages: &'static [Bytes],
    regions: u64,
    /// Of a batch that is full.
    regions_a_batch: usize,
}

impl Batches {
    /// Regions as the server holds them, in this order.
    fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let (mut regions, mut regions_a_batch) = (0, 0);
        let mut messages = numbers.map(|number| regions::message(number, regions::FIRST_VERSION)).peekable();
        let batch = || {
            let mut batch = RegionHeartbeatsRequest::new();
            let mut left = BATCH_BYTES;
            let mut fits = |region: &_| {
                let room = left.checked_sub(Message::compute_size(region) + 2);
                left = room.unwrap_or(left);
                room.is_some()
            };
            batch.regions.extend(iter::from_fn(|| messages.next_if(&mut fits)));
            regions += batch.regions.len();
            regions_a_batch = regions_a_batch.max(batch.regions.len());
            (!batch.regions.is_empty()).then_some(batch)
        };
        let messages = encoded::all(iter::from_fn(batch));
        Self { messages, regions: regions.try_into().expect("a number of regions fits 64 bits"), regions_a_batch }
    }

    /// Reports every region once.
    fn run(&self, client: &LoadClient) -> Result<Load> {
        let messages = self.messages;
        client.run(
            &ENCODED,
            IN_FLIGHT,
            Until::Calls(messages.len().try_into().expect("the number of messages")),
            move |number| encoded::nth(messages, number),
            // Each verdict is an empty message: OK.
            |_, answer| answer.chunks(2).all(|verdict| verdict == [0x0a, 0]),
        )
    }
}

/// What one order of the regions comes to.
struct Figures {
    /// Regions a second.
    rate: Median,
    /// The same at a bare handler.
    bare_rate: Median,
    /// Server CPU a region, in µs.
    cost: Median,
    generator_share: Median,
}

impl Figures {
    fn measure(batches: &Batches, process: &PdProcess, client: &LoadClient) -> Result<Self> {
        let verdicts = vec![RegionVerdict::new(); batches.regions_a_batch];
        let answer = RegionHeartbeatsResponse { verdicts, ..Default::default() };
        let bare = BareHandler::start(&pdlite_methods::REGION_HEARTBEATS, answer)?;
        let bare_client = LoadClient::connect(bare.addr())?;
        batches.run(client)?;
        batches.run(&bare_client)?;
        let measured = || {
            let before = process.cpu()?;
            let load = batches.run(client)?;
            Ok((load, process.cpu()?.saturating_sub(before)))
        };
        let pairs = in_turns(PAIRS, measured, || Ok((batches.run(&bare_client)?, Duration::ZERO)))?;
        let regions = float64(batches.regions);
        let rate = |load: &Load| regions / load.elapsed.as_secs_f64();
        let median = |figure: &dyn Fn(&Load, Duration, &Load) -> f64| {
            Median::of(&pairs.iter().map(|((load, cpu), (bare, _))| figure(load, *cpu, bare)).collect::<Vec<_>>())
        };
        Ok(Self {
            rate: median(&|load, _, _| rate(load)),
            bare_rate: median(&|_, _, bare| rate(bare)),
            cost: median(&|_, cpu, _| micros(cpu) / regions),
            generator_share: median(&|load, _, _| load.generator_share()),
        })
    }
}
