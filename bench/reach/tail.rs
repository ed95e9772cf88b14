//! How long timestamps take at a fixed rate while changes are synced, beside none: the load tool's figures, in time from when a
//! call was due. Where the disk is emulated on the cores that the bench runs on, any program that syncs so often delays every
//! other one; so once more beside a bare program that syncs as often, at rates that leave this machine as free as the target's
//! rates leave a fast one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, in_turns, short};
use crate::support::process::{PD_LITE, PdProcess, terminate};
use crate::support::report::Report;

/// What goes to the server in a second.
#[derive(Clone, Copy)]
struct Rates {
    timestamps: u64,
    changes: u64,
}

const TARGET: Rates = Rates { timestamps: 10_000, changes: 1000 };
/// The target's rate of timestamps is such a part of what a machine can do whose bare calls cost 15.5 µs at the server and
/// about as much at the client: one sixth.
const PART_OF_RATE_MAX: u64 = 6;
/// How long a run is, in seconds.
const RUN_S: u64 = 2;

/// A pair counts for nothing when half of the calls take so long, in µs, without any change: the machine does not keep the rate
/// up, and what is measured is how long a run was.
const LATE_US: f64 = 10_000.0;

/// Measures one server: with and without changes, then with changes and with syncs that are not its own.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let server = PdProcess::durable(&setting.workdir("tail"))?;
    let addr = server.addr();
    let name = format!("at {} calls/s with {} synced changes a second / without", TARGET.timestamps, TARGET.changes);
    compare(addr, TARGET, &name, take_timestamps, Target::AtMost(2.0), report)?;
    let answered = &run(&mut tool(addr, "tso", None))?["answered"];
    let answered = answered.as_u64().ok_or("the calls answered are no whole number")?;
    let timestamps = (answered / RUN_S / PART_OF_RATE_MAX).next_multiple_of(100);
    let rates = Rates { timestamps, changes: timestamps / 10 };
    let file = setting.workdir("tail-syncs");
    let beside_syncs = |addr: &str, timestamps| {
        let syncs = Syncs::begin(&file, rates.changes)?;
        let times = take_timestamps(addr, timestamps)?;
        syncs.end()?;
        Ok(times)
    };
    let name = "at a sixth of the most calls, a tenth as many synced changes / as many syncs by a bare program";
    compare(addr, rates, name, beside_syncs, Target::None, report)?;
    server.stop()
}

/// Compares timestamps that are taken while changes are synced with what `other` measures.
fn compare(
    addr: &str,
    rates: Rates,
    name: &str,
    other: impl Fn(&str, u64) -> Result<Times>,
    target: Target,
    report: &mut Report,
) -> Result<()> {
    let Rates { timestamps, changes } = rates;
    let mut changes_a_second = Vec::new();
    let pairs = in_turns(
        PAIRS,
        || {
            let changes = Changes::begin(addr, changes)?;
            let times = take_timestamps(addr, timestamps)?;
            changes_a_second.push(changes.end()?);
            Ok(times)
        },
        || other(addr, timestamps),
    )?;
    let kept: Vec<(Times, Times)> = pairs.into_iter().filter(|(_, other)| other.p50 < LATE_US).collect();
    if kept.len() < PAIRS / 2 {
        return Err(format!("the machine is too busy for {timestamps} calls/s: half of them come late").into());
    }
    let ratios: Vec<f64> = kept.iter().map(|(changing, other)| changing.p99 / other.p99).collect();
    let text = |times: &mut dyn Iterator<Item = &Times>| {
        let (p50, p99): (Vec<f64>, Vec<f64>) = times.map(|times| (times.p50, times.p99)).unzip();
        format!("p99 {} µs, p50 {} µs", short(Median::of(&p99).value), short(Median::of(&p50).value))
    };
    report.add(
        &format!("Tso p99 {name}"),
        format!(
            "{} at {timestamps} calls/s with {} changes/s",
            text(&mut kept.iter().map(|(changing, _)| changing)),
            short(Median::of(&changes_a_second).value)
        ),
        format!("{}; {} of {PAIRS} pairs", text(&mut kept.iter().map(|(_, other)| other)), kept.len()),
        &Median::of(&ratios),
        target,
    );
    Ok(())
}

/// Records that are appended to a file of their own and synced, one by one at a fixed rate.
struct Syncs {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Syncs {
    /// About what the record of a changed region and its commit take.
    const RECORD: [u8; 200] = [7; 200];

    fn begin(path: &Path, rate: u64) -> Result<Self> {
        let mut file = File::create(path)?;
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut due = Instant::now();
            while !is_ended.load(Ordering::Relaxed) {
                file.write_all(&Self::RECORD)?;
                file.sync_data()?;
                due += Duration::from_secs(1) / u32::try_from(rate).expect("a rate of a bench is small");
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        Ok(Self { ended, thread })
    }

    fn end(self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        Ok(self.thread.join().expect("nothing in it panics")?)
    }
}

/// How long calls took, in µs.
struct Times {
    p50: f64,
    p99: f64,
}

fn take_timestamps(addr: &str, rate: u64) -> Result<Times> {
    let latency = &run(&mut tool(addr, "tso", Some(rate)))?["latency_us"];
    Ok(Times { p50: number(&latency["p50"])?, p99: number(&latency["p99"])? })
}

/// The row of all calls of a short run.
fn run(tool: &mut Command) -> Result<Value> {
    let ended = tool.args(["--warm-up=500ms", &format!("--duration={RUN_S}s")]).output()?;
    if !ended.status.success() {
        return Err(format!("the load tool failed: {}", String::from_utf8_lossy(&ended.stderr)).into());
    }
    checked(&ended.stdout)
}

/// A load of changes, from before a measurement until after it.
struct Changes {
    load: Child,
}

impl Changes {
    /// Returns when the first changes are made: the regions are there and other connections exist.
    fn begin(addr: &str, rate: u64) -> Result<Self> {
        let mut load = tool(addr, "heartbeat", Some(rate));
        load.args(["--changes", "100", "--warm-up", "1ms", "--duration", "1h"]);
        let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut changes = Self { load };
        let mut told = String::new();
        let mut lines = BufReader::new(changes.load.stderr.take().expect("stderr is piped"));
        // The tool's first line is about the warm-up, and comes when all is set up.
        if lines.read_line(&mut told)? == 0 || !told.starts_with("warming up") {
            return Err(format!("the load tool did not begin: {told}").into());
        }
        // A pipe that nobody empties would stop the tool.
        thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(changes)
    }

    /// Ends the load, whose regions it removes. Returns how many changes a second it made.
    fn end(mut self) -> Result<f64> {
        terminate(&self.load)?;
        let mut report = Vec::new();
        self.load.stdout.take().expect("stdout is piped").read_to_end(&mut report)?;
        let status = self.load.wait()?;
        if !status.success() {
            return Err(format!("the load tool ended by {status}").into());
        }
        number(&checked(&report)?["answered_per_s"])
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        drop(self.load.kill());
        drop(self.load.wait());
    }
}

/// `pd-lite bench` with a fixed rate of calls, or with as many as are answered.
fn tool(addr: &str, load: &str, rate: Option<u64>) -> Command {
    let mut tool = Command::new(PD_LITE);
    tool.args(["bench", load, "--addr", addr, "-o", "json"]).stdin(Stdio::null());
    if let Some(rate) = rate {
        tool.arg(format!("--rate={rate}"));
    }
    tool
}

/// The row of all calls of a report.
///
/// # Errors
///
/// A call failed or was answered wrongly.
fn checked(report: &[u8]) -> Result<Value> {
    let mut report: Value = serde_json::from_slice(report)?;
    let total = report["total"].take();
    if total["failed"] != 0 || report["checks"]["failed"] != 0 {
        return Err(format!("calls of the load failed: {} {}", report["errors"], report["checks"]).into());
    }
    Ok(total)
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().ok_or_else(|| format!("a number in a report is {value}").into())
}
