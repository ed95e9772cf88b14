//! Servers that break a promise, and servers that fail: the first is exit code 1, the second is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::channel::oneshot;
use grpcio::RpcStatusCode;
use pd_lite::proto::pd::{GetRegionByKeyResponse, RegionHeartbeatResponse, TsoResponse};
use pd_lite::proto::pd_methods;
use protobuf::Message;
use serde_json::Value;

use super::tool::{Tool, count};
use crate::support::client::region;
use crate::support::relay::{PB_PD, Reply};
use crate::support::{Launch, Relay};

const TSO: &str = pd_methods::TSO.name;
const LOOKUP: &str = pd_methods::GET_REGION_BY_KEY.name;
const HEARTBEAT: &str = pd_methods::REGION_HEARTBEAT.name;

/// The bytes of an answer.
fn seven() -> Vec<u8> {
    TsoResponse { timestamp: 7, count: 1, ..Default::default() }.write_to_bytes().unwrap()
}

fn timestamp(timestamp: u64) -> Reply {
    Reply::message(&TsoResponse { timestamp, count: 1, ..Default::default() })
}

/// Runs a load until an answer is seen to be wrong. Returns its report; the error line says `what`, too.
fn caught(load: &str, addr: &str, what: &str) -> Value {
    let mut tool = Tool::start(load, addr, &[]);
    tool.wait_for(|line| line.contains(" WRONG"));
    let ended = tool.interrupt();
    let report = ended.report(1);
    let first = report["checks"]["first"].as_str().unwrap();
    assert!(first.contains(what) && ended.error().contains(first), "{ended:#?}");
    assert!(count(&report["checks"]["failed"]) > 0);
    assert_eq!(report["checks"]["failed"], report["total"]["wrong"], "there is no warm-up");
    report
}

#[test]
fn timestamps_that_go_back_are_caught() {
    let next = Arc::new(AtomicU64::new(1 << 40));
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| timestamp(next.fetch_sub(1, Ordering::Relaxed)));
    caught("tso", pd.addr(), "timestamps went back");
}

#[test]
fn a_timestamp_that_two_calls_under_way_get_is_caught() {
    let calls = Arc::new(Mutex::new((0, None)));
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| {
        let (calls, other) = &mut *calls.lock().unwrap();
        *calls += 1;
        match (*calls, other.take()) {
            // Until the second call is there, the first one stays under way.
            (1, _) => {
                let (go, gone) = oneshot::channel();
                *other = Some(go);
                Reply::AnswerAfter(gone.shared(), seven())
            }
            (2, Some(go)) => {
                go.send(()).unwrap();
                timestamp(7)
            }
            (number, _) => timestamp(number * 100),
        }
    });
    let report = caught("tso", pd.addr(), "timestamps were given out twice: 7..7");
    assert_eq!(count(&report["total"]["wrong"]), 1, "all later ones rise: {report}");
}

#[test]
fn an_answer_of_another_count_is_caught() {
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| {
        Reply::message(&TsoResponse { timestamp: 1, count: 2, ..Default::default() })
    });
    caught("tso", pd.addr(), "makes no sense: 2 timestamps from 1 on, in place of 1");
}

#[test]
fn a_region_that_does_not_hold_the_key_is_caught_and_so_is_none() {
    let pd = Launch::in_memory().start();
    let wrong = GetRegionByKeyResponse { region: Some(region(1, b"a", b"b", 1)).into(), ..Default::default() };
    let other = GetRegionByKeyResponse { region: Some(region(1, b"", b"", 1)).into(), ..Default::default() };
    let none = GetRegionByKeyResponse { not_found: true, ..Default::default() };
    for (answer, what) in [
        (wrong, "which it does not hold"),
        (other, "region 1 was found for the key"),
        (none, "no region was found for the key"),
        (GetRegionByKeyResponse::new(), "both a region and none, or neither"),
    ] {
        let relay = Relay::start("127.0.0.1:0", &PB_PD, Some(pd.addr()), move |name, _| match name {
            LOOKUP => Reply::message(&answer),
            _ => Reply::PassOn,
        });
        caught("route", relay.addr(), what);
    }
}

#[test]
fn a_heartbeat_that_is_neither_accepted_nor_refused_is_caught() {
    let pd = Launch::in_memory().start();
    let calls = AtomicU64::new(0);
    let calls = Arc::new(calls);
    let relay = Relay::start("127.0.0.1:0", &PB_PD, Some(pd.addr()), move |name, _| match name {
        // The first thousand set the regions up.
        HEARTBEAT if calls.fetch_add(1, Ordering::Relaxed) >= 1000 => Reply::message(&RegionHeartbeatResponse::new()),
        _ => Reply::PassOn,
    });
    caught("heartbeat", relay.addr(), "neither accepted nor refused");
}

#[test]
fn errors_are_counted_by_code_and_the_load_goes_on() {
    let calls = Arc::new(AtomicU64::new(0));
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
        number if number % 3 == 1 => Reply::Status(RpcStatusCode::RESOURCE_EXHAUSTED, "full"),
        number if number % 3 == 2 => Reply::Status(RpcStatusCode::INTERNAL, "odd"),
        number => timestamp(number + 1),
    });
    let mut tool = Tool::start("tso", pd.addr(), &["--concurrency", "1"]);
    tool.wait_for(|line| line.contains(" failed") && !line.contains(", 0 failed"));
    let report = tool.interrupt().report(0);
    let errors = report["errors"].as_array().unwrap();
    let codes: Vec<&str> = errors.iter().map(|error| error["code"].as_str().unwrap()).collect();
    assert!(codes.starts_with(&["INTERNAL"]) || codes == ["RESOURCE_EXHAUSTED"], "{report}");
    let answered = count(&report["total"]["answered"]);
    let failed = count(&report["total"]["failed"]);
    assert!((2 * answered).abs_diff(failed) <= 2, "one call at a time: one right, two failed, and so on: {report}");
}

#[test]
fn a_server_that_answers_nothing_is_exit_code_1() {
    let pd = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| Reply::Status(RpcStatusCode::INTERNAL, "broken"));
    let mut tool = Tool::start("tso", pd.addr(), &[]);
    tool.wait_for(|line| line.contains(" failed") && !line.contains(", 0 failed"));
    let ended = tool.interrupt();
    assert_eq!(count(&ended.report(1)["total"]["answered"]), 0);
    assert!(ended.error().contains("no call was answered") && ended.error().contains("broken"), "{ended:?}");
    // A server of other services.
    let other = Relay::start("127.0.0.1:0", &[TSO], None, |_, _| timestamp(1));
    let ended = Tool::start("route", other.addr(), &[]).end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
}

#[test]
fn a_pd_that_is_killed_and_started_again_costs_errors_and_no_check() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let pd = launch.start();
    let addr = pd.addr().to_owned();
    let mut tool = Tool::start("mixed", &addr, &["--timeout", "5s"]);
    tool.wait_for_answers();
    pd.kill();
    let pd = launch.on(&addr).start();
    // What was under way when it was killed has failed by the next line, or one behind it.
    tool.wait_for(|line| line.contains(" failed") && !line.contains(", 0 failed"));
    tool.wait_for_answers();
    let report = tool.interrupt().report(0);
    assert!(count(&report["total"]["failed"]) > 0 && count(&report["total"]["answered"]) > 0);
    assert_eq!(count(&report["checks"]["failed"]), 0, "{report}");
    assert_eq!(pd_lite::Client::connect(pd.addr()).unwrap().status().unwrap().regions, 0, "removed at the end");
}
