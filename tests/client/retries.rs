//! What is made again and what is not: no change is ever sent twice when the first may have been made.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use grpcio::RpcStatusCode;
use pd_lite::client::{Client, Error, Refusal};
use pd_lite::core::{RegionId, StoreId, StoreStats};
use pd_lite::proto::{pd, pd_methods};

use super::{HANG, hasty, patient, region};
use crate::support::relay::{PB_PD, Reply};
use crate::support::{Launch, Relay};

/// A call of the client by the method that it uses.
type Call = (&'static str, fn(&Client) -> Result<(), Error>);

const CHANGES: [Call; 3] = [
    (pd_methods::REGION_HEARTBEAT.name, |client| client.region_heartbeat(&region(1, b"", b"", 1))),
    (pd_methods::REGION_HEARTBEAT.name, |client| client.region_heartbeats(&[region(1, b"", b"", 1)]).remove(0)),
    (pd_methods::REMOVE_REGION.name, |client| client.remove_region(RegionId(1)).map(drop)),
];

const HARMLESS: [Call; 2] = [
    (pd_methods::STORE_HEARTBEAT.name, |client| client.store_heartbeat(StoreId(1), StoreStats::default()).map(drop)),
    (pd_methods::GET_REGION_BY_KEY.name, |client| client.region_by_key(b"").map(drop)),
];

/// A PD that gives each call of `pb.PD` an answer of which nothing is wrong.
fn answer(method: &str) -> Reply {
    match method {
        name if name == pd_methods::STORE_HEARTBEAT.name => {
            Reply::message(&pd::StoreHeartbeatResponse { accepted: true, ..Default::default() })
        }
        name if name == pd_methods::REGION_HEARTBEAT.name => {
            Reply::message(&pd::RegionHeartbeatResponse { accepted: true, ..Default::default() })
        }
        name if name == pd_methods::REMOVE_REGION.name => Reply::message(&pd::RemoveRegionResponse::new()),
        _ => Reply::message(&pd::GetRegionByKeyResponse { not_found: true, ..Default::default() }),
    }
}

/// A PD that answers the first `failures` calls with a status and the others well.
fn failing(failures: usize, code: RpcStatusCode) -> Relay {
    let calls = Arc::new(AtomicUsize::new(0));
    Relay::start("127.0.0.1:0", &PB_PD, None, move |method, _| {
        let at = calls.fetch_add(1, Ordering::Relaxed);
        if at < failures { Reply::Status(code, "as the test wants") } else { answer(method) }
    })
}

#[test]
fn a_change_that_was_sent_is_not_sent_again_unless_nothing_can_have_changed() {
    for (method, call) in CHANGES {
        for code in
            [RpcStatusCode::UNAVAILABLE, RpcStatusCode::CANCELLED, RpcStatusCode::INTERNAL, RpcStatusCode::UNKNOWN]
        {
            let pd = failing(1, code);
            let error = call(&patient(pd.addr())).unwrap_err();
            assert!(error.outcome_unknown(), "{code:?}: {error}");
            assert_eq!(pd.calls(method), 1, "{method}, {code:?}");
        }
    }
}

#[test]
fn a_change_is_sent_again_when_the_pd_was_exhausted() {
    for at in [0, 2] {
        let (method, call) = CHANGES[at];
        let pd = failing(3, RpcStatusCode::RESOURCE_EXHAUSTED);
        call(&patient(pd.addr())).unwrap();
        assert_eq!(pd.calls(method), 4);
    }
    // Of many, each is left to the caller, as in a batch.
    let pd = failing(3, RpcStatusCode::RESOURCE_EXHAUSTED);
    let verdicts = patient(pd.addr()).region_heartbeats(&[region(1, b"", b"", 1), region(1, b"", b"", 1)]);
    let refused = |verdict: &Result<(), Error>| {
        matches!(verdict, Err(Error::Refused { refusal: Refusal::ResourceExhausted, .. }))
    };
    assert!(verdicts.iter().all(refused), "{verdicts:?}");
    assert_eq!(pd.calls(pd_methods::REGION_HEARTBEAT.name), 2);
}

#[test]
fn a_call_that_twice_is_as_good_as_once_is_made_again() {
    for (method, call) in HARMLESS {
        for code in [RpcStatusCode::UNAVAILABLE, RpcStatusCode::CANCELLED, RpcStatusCode::INTERNAL] {
            let pd = failing(3, code);
            call(&patient(pd.addr())).unwrap();
            assert_eq!(pd.calls(method), 4, "{method}, {code:?}");
        }
    }
}

#[test]
fn what_would_fail_again_is_not_made_again() {
    for (method, call) in CHANGES.into_iter().chain(HARMLESS) {
        for code in [
            RpcStatusCode::INVALID_ARGUMENT,
            RpcStatusCode::FAILED_PRECONDITION,
            RpcStatusCode::UNIMPLEMENTED,
            RpcStatusCode::UNAUTHENTICATED,
        ] {
            let pd = failing(1, code);
            let error = call(&patient(pd.addr())).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert_eq!(pd.calls(method), 1, "{method}, {code:?}");
        }
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_malformed() {
    for (method, call) in CHANGES.into_iter().chain(HARMLESS) {
        // No protobuf at all, and a region heartbeat, store heartbeat or lookup of which nothing is said.
        for bytes in [&[0xff][..], &[]] {
            let pd = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| Reply::Answer(bytes.to_vec()));
            match call(&patient(pd.addr())) {
                Ok(()) => assert_eq!((method, bytes), (pd_methods::REMOVE_REGION.name, &[][..])),
                Err(error) => assert!(matches!(error, Error::Malformed { .. }), "{error}"),
            }
            assert_eq!(pd.calls(method), 1);
        }
    }
}

#[test]
fn a_pd_that_does_not_answer_is_given_up_after_the_timeout_and_gets_nothing_twice() {
    for (method, call) in CHANGES.into_iter().chain(HARMLESS) {
        let pd = Relay::start("127.0.0.1:0", &PB_PD, None, |_, _| Reply::Silence);
        let timeout = Duration::from_millis(300);
        let error = call(&hasty(pd.addr(), timeout)).unwrap_err();
        match &error {
            Error::TimedOut { addr, waited } => assert!(addr == pd.addr() && *waited >= timeout, "{error}"),
            // So slow was this machine that not even the connection stood in time.
            Error::Unreachable { .. } => continue,
            _ => panic!("{error}"),
        }
        assert!(error.outcome_unknown());
        assert_eq!(pd.calls(method), 1);
    }
}

#[test]
fn a_change_under_way_when_the_pd_ends_is_lost_and_not_sent_to_the_next_pd() {
    for (method, call) in CHANGES {
        let (sender, arrived) = crossbeam_channel::unbounded();
        let silent = Relay::start("127.79.0.2:0", &PB_PD, None, move |_, _| {
            sender.send(()).unwrap();
            Reply::Silence
        });
        let addr = silent.addr().to_owned();
        let client = patient(&addr);
        let caller = thread::spawn(move || call(&client));
        arrived.recv_timeout(HANG).unwrap();
        drop(silent);
        let next = Relay::start(&addr, &PB_PD, None, |method, _| answer(method));
        let error = caller.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert_eq!(next.calls(method), 0);
    }
}

#[test]
fn a_harmless_call_under_way_when_the_pd_ends_is_answered_by_the_next_pd() {
    for (method, call) in HARMLESS {
        let (sender, arrived) = crossbeam_channel::unbounded();
        let silent = Relay::start("127.79.0.3:0", &PB_PD, None, move |_, _| {
            sender.send(()).unwrap();
            Reply::Silence
        });
        let addr = silent.addr().to_owned();
        let client = patient(&addr);
        let caller = thread::spawn(move || call(&client));
        arrived.recv_timeout(HANG).unwrap();
        drop(silent);
        let next = Relay::start(&addr, &PB_PD, None, |method, _| answer(method));
        caller.join().unwrap().unwrap();
        assert_eq!(next.calls(method), 1);
    }
}

#[test]
fn a_call_to_a_pd_that_is_down_waits_for_it() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).on("127.79.0.4:0").start();
    let addr = server.addr().to_owned();
    server.kill();
    let callers: Vec<_> = [CHANGES.as_slice(), &HARMLESS]
        .concat()
        .into_iter()
        .map(|(_, call)| {
            let client = patient(&addr);
            thread::spawn(move || call(&client))
        })
        .collect();
    let server = Launch::durable(workdir.path()).on(&addr).start();
    for caller in callers {
        caller.join().unwrap().unwrap();
    }
    server.stop();
}

#[test]
fn nobody_there_is_unreachable_and_nothing_was_sent() {
    // An address of its own: no other test listens there.
    let addr = TcpListener::bind("127.79.0.5:0").unwrap().local_addr().unwrap().to_string();
    for (_, call) in CHANGES.into_iter().chain(HARMLESS) {
        let error = call(&hasty(&addr, Duration::from_millis(100))).unwrap_err();
        assert!(matches!(&error, Error::Unreachable { addrs, .. } if *addrs == addr), "{error}");
        assert!(error.retryable() && !error.outcome_unknown());
    }
}
