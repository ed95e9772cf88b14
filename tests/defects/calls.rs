//! Defects that calls show.

use std::fs;

use grpcio::{CallOption, Method, MethodType, RpcStatusCode};
use pd_lite::proto::pd::{TsoRequest, TsoResponse};
use pd_lite::proto::pd_methods;

use super::three;
use crate::support::client::region;
use crate::support::{EXIT_DAMAGED, Launch, manifest, recorded_workdir};

#[test]
fn defect_1_no_count_wraps_a_counter() {
    // The ends of both counters, start values and restarts are in `u64_edges`.
    let server = Launch::in_memory().args(["--max-count", &u64::MAX.to_string()]).start();
    let client = server.client();
    assert_eq!((client.tso(10).unwrap(), client.alloc_id(10).unwrap()), (1, 1));
    for count in [u64::MAX, u64::MAX - 5, u64::MAX - 9] {
        for answer in [client.tso(count), client.alloc_id(count)] {
            assert_eq!(answer.unwrap_err().code, RpcStatusCode::RESOURCE_EXHAUSTED);
        }
    }
    assert_eq!((client.tso(1).unwrap(), client.alloc_id(1).unwrap()), (11, 11));
}

#[test]
fn defect_2_a_range_without_keys_is_refused_and_hides_no_region() {
    let server = Launch::in_memory().start();
    let client = server.client();
    client.put(&region(1, b"d", b"m", 1)).unwrap();
    for (start, end) in [(b"m", b"d"), (b"d", b"d"), (b"m", b"m"), (b"z", b"a")] {
        let failure = client.put(&region(2, start, end, 1)).unwrap_err();
        assert_eq!(failure.code, RpcStatusCode::INVALID_ARGUMENT, "{failure:?}");
    }
    for key in [&b"d"[..], b"e", b"lzz"] {
        assert_eq!(client.lookup(key).unwrap().unwrap().id, 1);
    }
}

#[test]
fn defect_15_no_port_is_opened_for_a_workdir_that_cannot_be_used() {
    // Were the port tried first, the one in use would be what the server ends for.
    let other = Launch::in_memory().start();
    let workdir = recorded_workdir("state-empty");
    let exit = Launch::durable(workdir.path()).on(other.addr()).refused();
    assert_eq!(exit.code, Some(EXIT_DAMAGED), "{exit:#?}");
}

#[test]
fn defect_15_a_call_that_never_ends_does_not_keep_the_server_from_stopping() {
    // A caller that opens a call and sends nothing.
    const ENDLESS: Method<TsoRequest, TsoResponse> = Method { ty: MethodType::ClientStreaming, ..pd_methods::TSO };
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(workdir.path())] {
        let server = launch.start();
        let client = server.client();
        let endless = client.raw().client_streaming(&ENDLESS, CallOption::default()).unwrap();
        assert_eq!(client.tso(1).unwrap(), 1, "the endless call is on its way: it was sent first");
        server.stop();
        drop(endless);
    }
}

#[test]
fn defect_16_an_unchanged_heartbeat_writes_nothing() {
    // That its cost does not grow with the number of regions is measured by the benches.
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    three().iter().for_each(|region| client.put(region).unwrap());
    let before = fs::read(manifest(workdir.path())).unwrap();
    for _ in 0..50 {
        three().iter().for_each(|region| client.put(region).unwrap());
    }
    assert_eq!(fs::read(manifest(workdir.path())).unwrap(), before);
    server.stop();
}
