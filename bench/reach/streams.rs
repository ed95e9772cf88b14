//! What a timestamp out of a stream costs the server, beside a bare handler of streams.

use pd_lite::proto::{pd, pdlite_methods};

use crate::Setting;
use crate::floor::Call;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, float64, in_turns, micros, short};
use crate::support::process::PdProcess;
use crate::support::report::Report;
use crate::support::streams::Streams;

/// All of them on one connection; each has one call under way.
const STREAMS: usize = 64;
const CALLS: u64 = 20_000;

/// Measures both.
pub fn measure(_: &Setting, report: &mut Report) -> Result<()> {
    let mut server = Side::new(PdProcess::in_memory()?)?;
    let mut floor = Side::new(Call::StreamedTso.start()?)?;
    server.run()?;
    floor.run()?;
    let pairs = in_turns(PAIRS, || server.run(), || floor.run())?;
    let ratios: Vec<f64> = pairs.iter().map(|(server, floor)| server.cost / floor.cost).collect();
    let (servers, floors): (Vec<Turn>, Vec<Turn>) = pairs.into_iter().unzip();
    report.add(
        &format!("streamed Tso, 1 connection, {STREAMS} streams: server CPU / a bare handler's"),
        text(&servers),
        text(&floors) + " at the floor; TiKV's PD took 5.6 µs where the floor of a unary call was 15.5 µs",
        &Median::of(&ratios),
        Target::AtMost(1.15),
    );
    // Streams that wait would make it wait too.
    drop(server.streams);
    server.process.stop()
}

struct Side {
    process: PdProcess,
    streams: Streams<pd::TsoRequest, pd::TsoResponse>,
}

struct Turn {
    /// Server CPU a call, in µs.
    cost: f64,
    /// Calls a second.
    rate: f64,
}

impl Side {
    fn new(process: PdProcess) -> Result<Self> {
        let streams = Streams::open(process.addr(), &pdlite_methods::TSO, STREAMS)?;
        Ok(Self { process, streams })
    }

    fn run(&mut self) -> Result<Turn> {
        let before = self.process.cpu()?;
        let request = || pd::TsoRequest { count: 1, ..Default::default() };
        let took = self.streams.run(CALLS, request, |answer| answer.count == 1 && answer.timestamp > 0)?;
        let used = self.process.cpu()?.saturating_sub(before);
        Ok(Turn { cost: micros(used) / float64(CALLS), rate: float64(CALLS) / took.as_secs_f64() })
    }
}

fn text(turns: &[Turn]) -> String {
    let median = |figure: fn(&Turn) -> f64| Median::of(&turns.iter().map(figure).collect::<Vec<_>>()).value;
    format!("{} µs of server CPU a call, {}/s", short(median(|turn| turn.cost)), short(median(|turn| turn.rate)))
}
