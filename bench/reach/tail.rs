//! How long timestamps take at a fixed rate while changes are synced, beside none: the load tool's figures, in time from when a
//! call was due.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Setting;
use crate::support::Result;
use crate::support::figures::{Median, PAIRS, Target, in_turns, short};
use crate::support::process::{PD_LITE, PdProcess, terminate};
use crate::support::report::Report;

const TIMESTAMPS_A_SECOND: u64 = 10_000;
const CHANGES_A_SECOND: u64 = 1000;
/// A pair counts for nothing when half of the calls take so long, in µs, without any change: the machine does not keep the rate
/// up, and what is measured is how long a run was.
const LATE_US: f64 = 10_000.0;

/// Measures one server, with and without changes.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let server = PdProcess::durable(&setting.workdir("tail"))?;
    let mut changes_a_second = Vec::new();
    let pairs = in_turns(
        PAIRS,
        || {
            let changes = Changes::begin(server.addr())?;
            let times = take_timestamps(server.addr())?;
            changes_a_second.push(changes.end()?);
            Ok(times)
        },
        || take_timestamps(server.addr()),
    )?;
    server.stop()?;
    let kept: Vec<(Times, Times)> = pairs.into_iter().filter(|(_, without)| without.p50 < LATE_US).collect();
    if kept.len() < PAIRS / 2 {
        return Err(format!("the machine is too busy for {TIMESTAMPS_A_SECOND} calls/s: half of them come late").into());
    }
    let ratios: Vec<f64> = kept.iter().map(|(with, without)| with.p99 / without.p99).collect();
    let text = |times: &mut dyn Iterator<Item = &Times>| {
        let (p50, p99): (Vec<f64>, Vec<f64>) = times.map(|times| (times.p50, times.p99)).unzip();
        format!("p99 {} µs, p50 {} µs", short(Median::of(&p99).value), short(Median::of(&p50).value))
    };
    report.add(
        &format!("Tso p99 at {TIMESTAMPS_A_SECOND} calls/s with {CHANGES_A_SECOND} synced changes a second / without"),
        format!(
            "{} with {} changes/s",
            text(&mut kept.iter().map(|(with, _)| with)),
            short(Median::of(&changes_a_second).value)
        ),
        text(&mut kept.iter().map(|(_, without)| without)) + " without",
        &Median::of(&ratios),
        Target::AtMost(2.0),
    );
    Ok(())
}

/// How long calls took, in µs.
struct Times {
    p50: f64,
    p99: f64,
}

fn take_timestamps(addr: &str) -> Result<Times> {
    let mut load = tool(addr, "tso", TIMESTAMPS_A_SECOND);
    let ended = load.args(["--warm-up", "500ms", "--duration", "2s"]).output()?;
    if !ended.status.success() {
        return Err(format!("the load tool failed: {}", String::from_utf8_lossy(&ended.stderr)).into());
    }
    let total = checked(&ended.stdout)?;
    Ok(Times { p50: number(&total["latency_us"]["p50"])?, p99: number(&total["latency_us"]["p99"])? })
}

/// A load of changes, from before a measurement until after it.
struct Changes {
    load: Child,
}

impl Changes {
    /// Returns when the first changes are made: the regions are there and other connections exist.
    fn begin(addr: &str) -> Result<Self> {
        let mut load = tool(addr, "heartbeat", CHANGES_A_SECOND);
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
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
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

/// `pd-lite bench` with a fixed rate of calls.
fn tool(addr: &str, load: &str, rate: u64) -> Command {
    let mut tool = Command::new(PD_LITE);
    tool.args(["bench", load, "--addr", addr, "--rate", &rate.to_string(), "-o", "json"]).stdin(Stdio::null());
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
