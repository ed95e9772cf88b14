//! Start and stop. How a stop treats calls under way is tested beside the server, where a call can be held open.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use grpcio::{CallOption, Error, RpcStatusCode};
use pd_lite::proto::{pd, pd_methods as methods};
use pd_lite::server::Server;
use pd_lite::service::{Pd, RequestLimits};

use super::{CALL_TIMEOUT, options, serve, state};
use crate::support::Client;

#[test]
fn a_bound_server_answers_nothing_until_it_is_started() {
    let pd = Arc::new(Pd::in_memory(state(), RequestLimits::default()));
    let mut server = Server::bind(&options("127.0.0.1:0"), pd).unwrap();
    let client = Client::connect(server.addr());
    let early = CallOption::default().wait_for_ready(true).timeout(Duration::from_millis(300));
    match client.raw().unary_call(&methods::TSO, &pd::TsoRequest::new(), early) {
        Err(Error::RpcFailure(status)) => assert_eq!(status.code(), RpcStatusCode::DEADLINE_EXCEEDED),
        other => panic!("{other:?}"),
    }
    let waiting = CallOption::default().wait_for_ready(true).timeout(CALL_TIMEOUT);
    let mut waiting = client.raw().unary_call_async(&methods::TSO, &pd::TsoRequest::new(), waiting).unwrap();
    server.start();
    let (_, answer, _) = waiting.receive_sync().unwrap();
    assert_eq!(answer.timestamp, 1, "the early call was not executed");
}

#[test]
fn a_stopped_server_is_unavailable_and_drops_its_connections() {
    let mut server = serve();
    let client = Client::connect(server.addr());
    assert_eq!(client.tso(1).unwrap(), 1);
    // One client has said nothing yet; the other one froze behind HTTP/2's preface and an empty SETTINGS frame.
    let silent = TcpStream::connect(server.addr()).unwrap();
    let mut frozen = TcpStream::connect(server.addr()).unwrap();
    frozen.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    frozen.read_exact(&mut [0; 9]).unwrap();
    assert!(server.stop(CALL_TIMEOUT), "no call is under way");
    assert_eq!(client.tso(1).unwrap_err().code, RpcStatusCode::UNAVAILABLE);
    assert_eq!(Client::connect(server.addr()).tso(1).unwrap_err().code, RpcStatusCode::UNAVAILABLE);
    for mut client in [silent, frozen] {
        client.set_read_timeout(Some(CALL_TIMEOUT)).unwrap();
        // What the server still had to say, and then the end of the connection, orderly or not.
        let end = client.read_to_end(&mut Vec::new());
        assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the connection is open");
    }
    assert!(server.stop(CALL_TIMEOUT), "a second stop finds nothing to do");
}

#[test]
fn a_stopped_placement_driver_refuses_every_call_over_an_open_port() {
    let pd = Arc::new(Pd::in_memory(state(), RequestLimits::default()));
    let mut server = Server::bind(&options("127.0.0.1:0"), Arc::clone(&pd)).unwrap();
    server.start();
    let client = Client::connect(server.addr());
    assert!(client.call(&methods::ALLOC_ID, &pd::AllocIDRequest::new()).is_ok());
    pd.stop().unwrap();
    let refused = [
        client.tso(1).unwrap_err().code,
        client.call(&methods::ALLOC_ID, &pd::AllocIDRequest::new()).unwrap_err().code,
        client.call(&methods::GET_REGION_BY_KEY, &pd::GetRegionByKeyRequest::new()).unwrap_err().code,
        client.call(&methods::REGION_HEARTBEAT, &pd::RegionHeartbeatRequest::new()).unwrap_err().code,
        client.call(&methods::REMOVE_REGION, &pd::RemoveRegionRequest::new()).unwrap_err().code,
        client.call(&methods::STORE_HEARTBEAT, &pd::StoreHeartbeatRequest::new()).unwrap_err().code,
    ];
    assert_eq!(refused, [RpcStatusCode::UNAVAILABLE; 6]);
}
