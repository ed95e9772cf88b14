//! A running `pd-lite bench`: its lines as they come, ended by a signal as soon as a test has seen enough. So no test depends
//! on how much is done in a given time.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::Value;

use crate::support::launch::signal;

/// Only a tool that hangs is silent for so long.
const HANG: Duration = Duration::from_secs(60);

/// A load that runs until it is interrupted, unless its words say otherwise.
pub struct Tool {
    child: Child,
    stderr: Receiver<String>,
    lines: Vec<String>,
}

/// How a load ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: Vec<String>,
}

/// `pd-lite bench WORDS`, without an address in the environment.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
    command.env_remove("PD_ADDR").arg("bench").args(words).stdin(Stdio::null());
    command
}

impl Tool {
    /// Few calls under way, no warm-up, and all the time that a busy machine needs.
    pub fn start(load: &str, addr: &str, words: &[&str]) -> Self {
        let usual = ["--warm-up=0s", "--duration=1h", "--concurrency=4", "--timeout=60s", "-o", "json"];
        let mut command = command(&[&[load, "--addr", addr], &usual[..], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, stderr) = crossbeam_channel::unbounded();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, stderr, lines: Vec::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of which `is_it` says that it is the one.
    pub fn wait_for(&mut self, is_it: impl Fn(&str) -> bool) -> &str {
        loop {
            let line = self.stderr.recv_timeout(HANG).unwrap_or_else(|_| panic!("no such line: {:#?}", self.lines));
            self.lines.push(line);
            if is_it(&self.lines[self.lines.len() - 1]) {
                return &self.lines[self.lines.len() - 1];
            }
        }
    }

    /// Waits for a second in which calls were answered.
    pub fn wait_for_answers(&mut self) {
        self.wait_for(|line| number_before(line, " calls a second").is_some_and(|answered| answered > 0));
    }

    /// As Ctrl-C does.
    pub fn interrupt(self) -> Ended {
        signal(self.pid(), "INT");
        self.end()
    }

    pub fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        while let Ok(line) = self.stderr.recv_timeout(HANG) {
            self.lines.push(line);
        }
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout, stderr: std::mem::take(&mut self.lines) }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // After `end` both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The report of a load that ended with `code`: one line that is right by itself.
    pub fn report(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout.matches('\n').count(), 1, "one line: {}", self.stdout);
        let report: Value = serde_json::from_str(&self.stdout).unwrap();
        check_sums(&report);
        report
    }

    /// The one error line.
    pub fn error(&self) -> &str {
        let mut errors = self.stderr.iter().filter_map(|line| line.strip_prefix("error: "));
        let error = errors.next().unwrap_or_else(|| panic!("no error: {self:#?}"));
        assert_eq!(errors.next(), None);
        error
    }
}

/// The number that stands right before `what`, if there is one.
pub fn number_before(line: &str, what: &str) -> Option<u64> {
    let (before, _) = line.split_once(what)?;
    before.rsplit(' ').next()?.parse().ok()
}

pub fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

/// The kinds of call add up to all calls, the errors to those that failed, and percentiles rise.
fn check_sums(report: &Value) {
    let calls = report["calls"].as_array().unwrap();
    for field in ["answered", "failed", "wrong"] {
        let sum: u64 = calls.iter().map(|row| count(&row[field])).sum();
        assert_eq!(sum, count(&report["total"][field]), "{field}: {report}");
    }
    let errors = report["errors"].as_array().unwrap();
    let failed: u64 = errors.iter().map(|error| count(&error["count"])).sum();
    assert_eq!(failed, count(&report["total"]["failed"]), "{report}");
    for row in calls.iter().chain([&report["total"]]) {
        for times in [&row["latency_us"], &row["latency_from_send_us"]].into_iter().filter(|times| !times.is_null()) {
            let times = ["p50", "p90", "p99", "p99.9", "max"].map(|name| times[name].as_f64().unwrap());
            assert!(times.is_sorted() && (times[0] > 0.0 || count(&row["answered"]) == 0), "{row}");
        }
    }
}
