//! A call that ends with OK and without a message. gRPC core makes one of a call that crosses its deadline, seldom and on a busy
//! machine, and grpcio panics over it: that once ended an adapter's thread, and could have ended a client's poll thread, after
//! which nobody gets a timestamp any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures::SinkExt;
use grpcio::{Method, MethodType, Server, ServiceBuilder, WriteFlags};
use pd_lite::client::Error;
use pd_lite::proto::{pd, pd_methods};
use protobuf::Message;

use super::{hasty, patient, region};
use crate::support::relay::{PB_PD, raw, serve};

/// A PD that answers nothing while `is_empty`, and then well. On the wire, a stream of no answers is such a call.
fn start(is_empty: &Arc<AtomicBool>) -> (Server, String) {
    let mut service = ServiceBuilder::new();
    for name in PB_PD {
        let is_empty = Arc::clone(is_empty);
        let method = Method { ty: MethodType::ServerStreaming, ..raw(name) };
        service = service.add_server_streaming_handler(&method, move |ctx, _, mut sink| {
            let answer = match name {
                name if name == pd_methods::TSO.name => {
                    pd::TsoResponse { timestamp: 7, count: 1, ..Default::default() }.write_to_bytes()
                }
                _ => pd::RegionHeartbeatResponse { accepted: true, ..Default::default() }.write_to_bytes(),
            };
            let answer = (!is_empty.load(Ordering::SeqCst)).then(|| answer.unwrap());
            ctx.spawn(async move {
                if let Some(answer) = answer {
                    sink.send((answer, WriteFlags::default())).await.unwrap();
                }
                sink.close().await.unwrap();
            });
        });
    }
    serve("127.0.0.1:0", service.build())
}

#[test]
fn a_call_without_an_answer_fails_and_ends_no_thread() {
    let is_empty = Arc::new(AtomicBool::new(true));
    let (_server, addr) = start(&is_empty);
    let client = hasty(&addr, Duration::from_millis(500));
    let failure = client.region_heartbeat(&region(1, b"", b"", 1)).unwrap_err();
    assert!(matches!(failure, Error::Lost { .. }) && failure.outcome_unknown(), "{failure}");
    for failure in [client.get_ts().map(drop).unwrap_err(), client.region_by_key(b"").map(drop).unwrap_err()] {
        assert!(matches!(failure, Error::Lost { .. } | Error::TimedOut { .. }), "{failure}");
    }
    let waiting = patient(&addr);
    thread::scope(|scope| {
        let timestamp = scope.spawn(|| waiting.get_ts());
        is_empty.store(false, Ordering::SeqCst);
        assert_eq!(timestamp.join().unwrap(), Ok(7));
    });
    assert_eq!(client.get_ts(), Ok(7), "the same client goes on");
    assert_eq!(client.region_heartbeat(&region(1, b"", b"", 1)), Ok(()));
}
