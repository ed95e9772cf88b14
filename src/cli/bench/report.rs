//! What a run's figures look like: a line each second, and at the end a report for people or for programs.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::Args;
use super::cpu::ProcessCpu;
use super::loads::{Kind, Load};
use super::run::Measured;
use super::tally::{Figures, Seen, TIMED_OUT, Tally};
use crate::cli::ctl::form::{Form, json};
use crate::cli::printable;
use crate::cli::table::table;

/// A run's figures, as JSON has them. Times are in the unit that ends a name.
#[derive(Serialize)]
pub struct Report {
    load: &'static str,
    addr: String,
    clients: usize,
    /// Calls under way at once, of each client.
    concurrency: usize,
    /// Timestamps, keys or regions a call.
    batch: usize,
    /// Looked up or reported.
    regions: u64,
    /// Calls a second that were to be sent; null: a closed loop.
    rate: Option<u64>,
    warm_up_s: f64,
    /// What the figures are of.
    elapsed_s: f64,
    interrupted: bool,
    /// All calls together.
    total: Row,
    /// By method.
    calls: Vec<Row>,
    /// Calls that were due and never sent. Each is in `latency_us` with the time that it had waited by the end.
    unsent: u64,
    errors: Vec<CodeSeen>,
    checks: Checks,
    server_cpu: Option<ServerCpu>,
    /// How many processors this program kept busy; near `clients` it is itself what was measured.
    own_cpus: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    method: &'static str,
    answered: u64,
    failed: u64,
    /// Answers that a check refused.
    wrong: u64,
    answered_per_s: f64,
    /// Timestamps, keys or regions.
    items_per_s: f64,
    /// From when they were due, which in a closed loop is when they were sent: of the calls answered; of those that timed out,
    /// with the time that they took; and of those of `unsent`. Other calls that failed are left out.
    latency_us: Percentiles,
    /// In an open loop: of the calls answered, from when they were sent.
    latency_from_send_us: Option<Percentiles>,
}

#[derive(Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

#[derive(Serialize)]
struct CodeSeen {
    code: String,
    count: u64,
    first: String,
}

#[derive(Serialize)]
struct Checks {
    /// Wrong answers, those of the warm-up included.
    failed: u64,
    first: Option<String>,
}

#[derive(Serialize)]
struct ServerCpu {
    us_per_call: f64,
    /// The kernel counts in ticks: the figure may be off by this, up or down.
    resolution_us: f64,
    tick_ms: f64,
}

impl Report {
    /// The figures of a run against `addr`, with so many regions.
    pub fn new(
        load: Load,
        args: &Args,
        addr: &str,
        regions: u64,
        measured: &Measured,
        server: Option<&ProcessCpu>,
    ) -> Self {
        let Measured { tally, unsent, elapsed, is_interrupted, server_cpu, own_cpu } = measured;
        let all = tally.all();
        let row = |method, figures: &Figures| Row::new(method, figures, args, *elapsed);
        let seen = |(code, seen): (&String, &Seen)| CodeSeen {
            code: code.clone(),
            count: seen.count,
            first: seen.first.clone(),
        };
        let tick = server.map(ProcessCpu::tick).unwrap_or_default();
        Self {
            load: load.name(),
            addr: addr.to_owned(),
            clients: args.clients,
            concurrency: args.concurrency,
            batch: args.batch,
            regions,
            rate: args.rate,
            warm_up_s: args.warm_up.as_secs_f64(),
            elapsed_s: elapsed.as_secs_f64(),
            interrupted: *is_interrupted,
            total: row("all", &all),
            calls: tally.kinds().iter().map(|(kind, figures)| row(kind.method(args.batch), figures)).collect(),
            unsent: *unsent,
            errors: tally.errors().iter().map(seen).collect(),
            checks: Checks {
                failed: tally.wrong().count,
                first: (tally.wrong().count > 0).then(|| tally.wrong().first.clone()),
            },
            server_cpu: server_cpu.filter(|_| all.made() > 0).map(|used| ServerCpu {
                us_per_call: ratio(micros(used), all.made()),
                // User and kernel time are each cut to a tick, at both ends.
                resolution_us: ratio(micros(tick * 2), all.made()),
                tick_ms: micros(tick) / 1e3,
            }),
            own_cpus: own_cpu.filter(|_| !elapsed.is_zero()).map(|used| used.as_secs_f64() / elapsed.as_secs_f64()),
        }
    }

    /// The report in the form that the command line asks for.
    pub fn text(&self, args: &Args, load: Load) -> String {
        match args.form {
            Form::Json => json(self),
            Form::Text => self.for_people(args, load),
        }
    }

    fn for_people(&self, args: &Args, load: Load) -> String {
        let mut text = String::new();
        let mut line = |what: String| writeln!(text, "{}", printable(&what)).expect("a String takes everything");
        let pace = self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate} calls a second due"));
        line(format!(
            "{} at {}: {pace}; clients: {}, calls under way: {} each",
            self.load, self.addr, self.clients, self.concurrency
        ));
        let cut = if self.interrupted { ", ended by a signal" } else { "" };
        line(format!("{:.1}s after {:.1}s of warm-up{cut}", self.elapsed_s, self.warm_up_s));
        line(String::new());
        let total = (self.calls.len() != 1).then_some(&self.total);
        let rows = self.calls.iter().chain(total).flat_map(Row::cells);
        let header = ["CALL", "ANSWERED", "FAILED", "WRONG", "A-SECOND", "P50", "P90", "P99", "P99.9", "MAX"];
        let mut rows = table(header, rows);
        rows.push('\n');
        text.push_str(&rows);
        let mut line = |what: String| writeln!(text, "{}", printable(&what)).expect("a String takes everything");
        if args.batch > 1 {
            line(format!("{} a call; {:.0} a second", items(load, args.batch), self.total.items_per_s));
        }
        if self.unsent > 0 {
            line(format!(
                "{} calls were due and never sent: too few calls under way, or too slow a server; in P50 to MAX each \
                 counts with the time that it had waited",
                self.unsent
            ));
        }
        for CodeSeen { code, count, first } in &self.errors {
            let in_times =
                if code == TIMED_OUT { "; in P50 to MAX each counts with the time that it took" } else { "" };
            line(format!("failed with {code}: {count}, the first: {first}{in_times}"));
        }
        match (&self.server_cpu, args.server_pid) {
            (Some(ServerCpu { us_per_call, resolution_us, tick_ms }), _) => line(format!(
                "server CPU: {us_per_call:.2}µs a call, give or take {resolution_us:.2}µs (the kernel's ticks are \
                 {tick_ms:.0}ms)"
            )),
            (None, Some(pid)) => line(format!("server CPU: unknown, for process {pid} has ended or got no call")),
            (None, None) => {}
        }
        if let Some(own) = self.own_cpus {
            line(format!("this program kept {own:.2} processors busy"));
        }
        match &self.checks.first {
            None if self.total.answered > 0 => line(format!("checked: {}", promises(load))),
            None => {}
            Some(first) => line(format!("WRONG: {} answers, the first: {first}", self.checks.failed)),
        }
        text
    }
}

impl Row {
    fn new(method: &'static str, figures: &Figures, args: &Args, elapsed: Duration) -> Self {
        let answered_per_s = if elapsed.is_zero() { 0.0 } else { float(figures.answered) / elapsed.as_secs_f64() };
        let batch = u64::try_from(args.batch).unwrap_or(u64::MAX);
        Self {
            method,
            answered: figures.answered,
            failed: figures.failed,
            wrong: figures.wrong,
            answered_per_s,
            items_per_s: answered_per_s * float(batch),
            latency_us: Percentiles::of(&figures.from_due),
            latency_from_send_us: args.rate.map(|_| Percentiles::of(&figures.from_send)),
        }
    }

    /// A line, and in an open loop another one for the times from when the calls were sent.
    fn cells(&self) -> Vec<[String; 10]> {
        let [p50, p90, p99, p999, max] = self.latency_us.cells();
        let counts = [self.answered, self.failed, self.wrong].map(|count| count.to_string());
        let [answered, failed, wrong] = counts;
        let rate = format!("{:.0}", self.answered_per_s);
        let mut lines = vec![[self.method.to_owned(), answered, failed, wrong, rate, p50, p90, p99, p999, max]];
        if let Some(from_send) = &self.latency_from_send_us {
            let [p50, p90, p99, p999, max] = from_send.cells();
            let none = || "-".to_owned();
            lines.push(["..from-send".to_owned(), none(), none(), none(), none(), p50, p90, p99, p999, max]);
        }
        lines
    }
}

impl Percentiles {
    /// Of times in ns.
    fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| float(times.value_at_quantile(quantile)) / 1e3;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: float(times.max()) / 1e3 }
    }

    fn cells(&self) -> [String; 5] {
        [self.p50, self.p90, self.p99, self.p999, self.max].map(time_text)
    }
}

/// The line of one second.
pub fn progress_line(so_far: Duration, part: &Tally, time: Duration, overdue: u64) -> String {
    let all = part.all();
    let rate = if time.is_zero() { 0.0 } else { float(all.answered) / time.as_secs_f64() };
    let times = Percentiles::of(&all.from_due);
    let mut line = format!(
        "{:.0}s: {rate:.0} calls a second, p50 {}, p99 {}, max {}, {} failed",
        so_far.as_secs_f64(),
        time_text(times.p50),
        time_text(times.p99),
        time_text(times.max),
        all.failed
    );
    for (count, what) in [(part.wrong().count, "WRONG"), (overdue, "due and not sent yet")] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

fn items(load: Load, batch: usize) -> String {
    let what: Vec<&str> = [(Kind::Tso, "timestamps"), (Kind::Route, "keys"), (Kind::Heartbeat, "regions")]
        .into_iter()
        .filter_map(|(kind, what)| load.makes(kind).then_some(what))
        .collect();
    format!("{batch} {}", what.join(" or "))
}

/// What held of every answer.
fn promises(load: Load) -> String {
    let what: Vec<&str> = [
        (Kind::Tso, "timestamps were unique, and above all that were answered before their call"),
        (Kind::Route, "the region found holds the key"),
        (Kind::Heartbeat, "every region reported has a verdict"),
    ]
    .into_iter()
    .filter_map(|(kind, what)| load.makes(kind).then_some(what))
    .collect();
    what.join("; ")
}

/// Microseconds as three digits with a unit.
fn time_text(micros: f64) -> String {
    let (value, unit) = match micros {
        small if small < 999.5 => (small, "µs"),
        middle if middle < 999_500.0 => (middle / 1e3, "ms"),
        large => (large / 1e6, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{unit}")
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ratio(sum: f64, count: u64) -> f64 {
    sum / float(count)
}

/// Counts and times here lie far below 2^53, up to which this is exact.
#[expect(clippy::as_conversions, reason = "the standard library has no other way from u64 to f64")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_three_digits_and_a_unit() {
        for (micros, text) in [
            (0.0, "0.00µs"),
            (9.994, "9.99µs"),
            (9.996, "10.0µs"),
            (99.96, "100µs"),
            (999.4, "999µs"),
            (999.6, "1.00ms"),
            (12_345.0, "12.3ms"),
            (999_600.0, "1.00s"),
            (123_456_789.0, "123s"),
        ] {
            assert_eq!(time_text(micros), text);
        }
    }

    #[test]
    fn percentiles_are_of_the_times_in_microseconds() {
        let mut times = Histogram::new(3).unwrap();
        assert_eq!(Percentiles::of(&times).max, 0.0, "of no calls");
        (1..=1000).for_each(|time| times.record(time * 1_000_000).unwrap());
        let Percentiles { p50, p90, p99, p999, max } = Percentiles::of(&times);
        for (got, millis) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)] {
            assert!((got / 1e3 / millis - 1.0).abs() < 0.002, "{got} {millis}");
        }
    }
}
