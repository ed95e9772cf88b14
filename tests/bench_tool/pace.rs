//! A load with a rate: calls have times at which they are due, and what waits because the server stalls counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::channel::oneshot;
use pd_lite::proto::pd::TsoResponse;
use pd_lite::proto::pd_methods;
use protobuf::Message;

use super::tool::{Ended, Tool, count, number_before};
use crate::support::relay::{PB_PD, Reply};
use crate::support::{Launch, Relay};

/// Calls a second.
const RATE: u64 = 200;
/// How many calls are due before the server that stalls goes on.
const DUE_IN_STALL: u64 = 100;

/// A server of timestamps that leaves its 20th call without an answer until `go`. Returns it with the sender that says so.
fn server_that_stalls() -> (Relay, oneshot::Sender<()>) {
    let (go, gone) = oneshot::channel();
    let gone = gone.shared();
    let calls = Arc::new(AtomicU64::new(0));
    let relay = Relay::start("127.0.0.1:0", &PB_PD, None, move |name, _| {
        assert_eq!(name, pd_methods::TSO.name);
        let timestamp = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = Reply::message(&TsoResponse { timestamp, count: 1, ..Default::default() });
        match answer {
            Reply::Answer(answer) if timestamp == 20 => Reply::AnswerAfter(gone.clone(), answer),
            answer => answer,
        }
    });
    (relay, go)
}

/// All calls that were due in a run of `seconds` at [`RATE`] are accounted for.
fn check_due(ended: &Ended, seconds: u64) {
    let report = ended.report(0);
    let total = &report["total"];
    let made = count(&total["answered"]) + count(&total["failed"]) + count(&total["wrong"]);
    assert_eq!(made + count(&report["unsent"]), seconds * RATE, "{report}");
}

#[test]
fn calls_that_wait_for_a_server_that_stalls_count_from_when_they_were_due() {
    let (pd, go) = server_that_stalls();
    let mut tool = Tool::start("tso", pd.addr(), &["--rate", "200", "--duration", "4s", "--concurrency", "1"]);
    // The server is held until so many calls were due in vain.
    let overdue = |line: &str| number_before(line, " due and not sent yet").unwrap_or(0);
    tool.wait_for(|line| overdue(line) >= DUE_IN_STALL);
    go.send(()).unwrap();
    let ended = tool.end();
    check_due(&ended, 4);
    // Of the calls due in the stall the first has waited for half a second at least, the next one 5 ms less, and so on. More
    // than 1 % of all 800 have waited 400 ms, which only times from when they were due can tell: one call alone was sent then.
    let report = ended.report(0);
    let p99_us = report["total"]["latency_us"]["p99"].as_f64().unwrap();
    assert!(p99_us >= 400_000.0, "{report}");
}

#[test]
fn calls_that_are_never_sent_count_as_ones_that_took_until_the_end() {
    let (pd, go) = server_that_stalls();
    let mut tool = Tool::start("tso", pd.addr(), &["--rate", "200", "--duration", "2s", "--concurrency", "1"]);
    let overdue = |line: &str| number_before(line, " due and not sent yet").unwrap_or(0);
    // From the 20th call on all 380 are due in vain by the end; only then the server goes on.
    tool.wait_for(|line| overdue(line) >= 2 * RATE - 20);
    go.send(()).unwrap();
    let ended = tool.end();
    check_due(&ended, 2);
    let report = ended.report(0);
    assert!(count(&report["unsent"]) >= 380, "{report}");
    // 380 calls that have waited from 0 to 1.9 s.
    let p50_us = report["total"]["latency_us"]["p50"].as_f64().unwrap();
    assert!(p50_us >= 850_000.0, "{report}");
}

#[test]
fn calls_that_time_out_count_as_ones_that_took_at_least_so_long() {
    let calls = Arc::new(AtomicU64::new(0));
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| match calls.fetch_add(1, Ordering::Relaxed) + 1 {
        timestamp @ ..=20 => Reply::message(&TsoResponse { timestamp, count: 1, ..Default::default() }),
        _ => Reply::Silence,
    });
    // There is a caller for each call, so that few are never sent.
    let words = ["--rate", "200", "--duration", "2s", "--concurrency", "400", "--timeout", "500ms"];
    let ended = Tool::start("tso", pd.addr(), &words).end();
    check_due(&ended, 2);
    let report = ended.report(0);
    assert!(count(&report["total"]["failed"]) > count(&report["total"]["answered"]), "{report}");
    assert_eq!(report["errors"][0]["code"], "DEADLINE_EXCEEDED", "{report}");
    // 380 of 400 calls have waited for half a second; gRPC's clock is one of milliseconds.
    let p50_us = report["total"]["latency_us"]["p50"].as_f64().unwrap();
    assert!(p50_us >= 490_000.0, "{report}");
}

#[test]
fn a_run_whose_calls_all_wait_for_one_of_the_warm_up_is_exit_code_1() {
    let (go, gone) = oneshot::channel();
    let gone = gone.shared();
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| {
        let answer = TsoResponse { timestamp: 1, count: 1, ..Default::default() };
        Reply::AnswerAfter(gone.clone(), answer.write_to_bytes().unwrap())
    });
    let words = ["--rate", "200", "--warm-up", "500ms", "--duration", "500ms", "--concurrency", "1"];
    let mut tool = Tool::start("tso", pd.addr(), &words);
    // The one caller makes the call that is due at the begin; 199 others are due in vain, 100 of them after the warm-up.
    tool.wait_for(|line| number_before(line, " due and not sent yet") == Some(199));
    go.send(()).unwrap();
    let ended = tool.end();
    let report = ended.report(1);
    assert_eq!((count(&report["total"]["answered"]), count(&report["unsent"])), (0, 100), "{report}");
    assert!(ended.error().contains("no call was answered: 100 were due and never sent"), "{ended:?}");
}

#[test]
fn a_run_in_which_no_call_is_due_is_exit_code_1_and_claims_no_check() {
    let pd = Launch::in_memory().start();
    // The first call is due in the warm-up, the next one after the end.
    let words = ["--rate", "1", "--warm-up", "100ms", "--duration", "500ms"];
    let ended = Tool::start("tso", pd.addr(), &words).end();
    let report = ended.report(1);
    assert_eq!((count(&report["total"]["answered"]), count(&report["unsent"])), (0, 0), "{report}");
    assert!(ended.error().contains("no call was answered: none was due"), "{ended:?}");
    let ended = Tool::start("tso", pd.addr(), &[&words[..], &["-o", "text"]].concat()).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("ANSWERED") && !ended.stdout.contains("checked"), "{}", ended.stdout);
}

#[test]
fn a_signal_before_the_figures_count_is_no_failure_and_claims_no_check() {
    let pd = Launch::in_memory().start();
    let mut tool = Tool::start("tso", pd.addr(), &["--warm-up", "1h", "-o", "text"]);
    tool.wait_for(|line| line.starts_with("warming up"));
    let ended = tool.interrupt();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("ended by a signal") && !ended.stdout.contains("checked"), "{}", ended.stdout);
}

#[test]
fn a_server_that_keeps_up_gets_every_call_that_was_due() {
    let pd = Launch::in_memory().start();
    let tool =
        Tool::start("tso", pd.addr(), &["--rate", "200", "--duration", "1s", "--warm-up", "500ms", "--clients", "2"]);
    let ended = tool.end();
    check_due(&ended, 1);
    assert_eq!(ended.report(0)["warm_up_s"], 0.5);
}
