//! Calls that gRPC answers before the service sees them, and how the service's own answers arrive.

use grpcio::RpcStatusCode;
use pd_lite::proto::{pd, pd_methods as methods};

use super::serve;
use crate::support::Client;
use crate::support::relay::raw;

#[test]
fn a_request_above_the_limit_is_resource_exhausted_and_one_at_the_limit_is_served() {
    let server = serve();
    let client = Client::connect(server.addr());
    // Tag and length of a bytes field take 4 bytes at this size.
    let request = |len: usize| pd::GetRegionByKeyRequest { key: vec![b'k'; len - 4], ..Default::default() };
    assert!(client.call(&methods::GET_REGION_BY_KEY, &request(65_536)).unwrap().not_found);
    assert_eq!(
        client.call(&methods::GET_REGION_BY_KEY, &request(65_537)).unwrap_err().code,
        RpcStatusCode::RESOURCE_EXHAUSTED
    );
    assert_eq!(
        client.call(&methods::GET_REGION_BY_KEY, &request(8 << 20)).unwrap_err().code,
        RpcStatusCode::RESOURCE_EXHAUSTED
    );
    assert!(client.call(&methods::GET_REGION_BY_KEY, &request(100)).unwrap().not_found, "the connection still works");
}

#[test]
fn a_body_that_is_not_protobuf_is_internal() {
    let server = serve();
    let client = Client::connect(server.addr());
    let deeply_nested_groups = [0x1b; 60_000];
    for body in [&b"\xff\xff\xff\xff"[..], b"\x08", b"\x0a\x7f", &deeply_nested_groups] {
        let start = &body[..body.len().min(4)];
        assert_eq!(
            client.call(&raw("/pb.PD/Tso"), &body.to_vec()).unwrap_err().code,
            RpcStatusCode::INTERNAL,
            "{start:x?}"
        );
    }
    assert_eq!(client.tso(1).unwrap(), 1);
}

#[test]
fn an_unknown_method_or_service_is_unimplemented() {
    let server = serve();
    let client = Client::connect(server.addr());
    for name in ["/pb.PD/Nothing", "/pb.PD/tso", "/pb.Other/Tso", "/grpc.health.v1.Health/Check", "/", "/pb.PD/Tso/"] {
        assert_eq!(client.call(&raw(name), &Vec::new()).unwrap_err().code, RpcStatusCode::UNIMPLEMENTED, "{name}");
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let server = serve();
    let client = Client::connect(server.addr());
    // Field 1 = 3 (the count), field 9 = "ab", field 100 = 5 (fixed32).
    let body = b"\x08\x03\x4a\x02ab\xa5\x06\x05\0\0\0".to_vec();
    let answer = client.call(&raw("/pb.PD/Tso"), &body).unwrap();
    assert_eq!(answer, b"\x08\x01\x10\x03", "timestamp 1, count 3");
}

#[test]
fn a_refusal_arrives_with_its_message_and_keys_of_any_bytes() {
    let server = serve();
    let client = Client::connect(server.addr());
    let heartbeat = |id, start: &[u8], end: &[u8]| pd::RegionHeartbeatRequest {
        region: Some(pd::RegionMeta { id, start_key: start.into(), end_key: end.into(), ..Default::default() }).into(),
        ..Default::default()
    };
    let long = [b'k'; 4096];
    assert!(client.call(&methods::REGION_HEARTBEAT, &heartbeat(1, &long, b"\xff\0")).unwrap().accepted);
    let refused = client.call(&methods::REGION_HEARTBEAT, &heartbeat(2, b"l", b"")).unwrap_err();
    assert_eq!(refused.code, RpcStatusCode::FAILED_PRECONDITION);
    let cut = "k".repeat(32);
    assert_eq!(refused.message, format!("region 2 [l,-) overlaps region 1 [{cut}...(4096 bytes),hex:ff00)"));
}
