//! The limits of a request, each at its border and one above, with their flags; the order of checks; and that a refused call
//! changes nothing.

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::{RegionHeartbeatRequest, RegionMeta, RegionPeer};
use pd_lite::proto::pd_methods;

use crate::support::client::region;
use crate::support::{Client, Failure, Launch};

/// Refused because of the request alone: INVALID_ARGUMENT, naming the limit and the flag that moves it.
#[track_caller]
fn above_limit<T: std::fmt::Debug>(answer: Result<T, Failure>, limit: &str, flag: &str) {
    let failure = answer.expect_err("above the limit");
    assert_eq!(failure.code, RpcStatusCode::INVALID_ARGUMENT, "{failure:?}");
    assert!(failure.message.contains(limit) && failure.message.contains(flag), "{failure:?} names {limit} and {flag}");
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Failure>, code: RpcStatusCode) -> String {
    let failure = answer.expect_err("refused");
    assert_eq!(failure.code, code, "{failure:?}");
    failure.message
}

fn with_peers(mut region: RegionMeta, count: u64) -> RegionMeta {
    region.peers =
        (1..=count).map(|peer| RegionPeer { store_id: u64::MAX, peer_id: peer, ..Default::default() }).collect();
    region
}

fn is_empty(client: &Client) {
    for key in [&b""[..], b"a", b"m", &[0xff; 100]] {
        assert_eq!(client.lookup(key).unwrap(), None, "a refused call stores nothing");
    }
}

/// In memory and durable: the limits are the service's, not the disk's.
fn on_both(flags: &[&str], check: impl Fn(&Client)) {
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(workdir.path())] {
        let server = launch.args(flags.iter().copied()).start();
        check(&server.client());
        server.stop();
    }
}

#[test]
fn a_region_border_has_at_most_4096_bytes() {
    on_both(&[], |client| {
        above_limit(client.put(&region(1, &[b'a'; 4097], b"", 1)), "4096", "--max-key-bytes");
        above_limit(client.put(&region(1, b"", &[b'a'; 4097], 1)), "4096", "--max-key-bytes");
        above_limit(client.put(&region(1, b"a", &[b'z'; 60_000], 1)), "4096", "--max-key-bytes");
        is_empty(client);
        let longest = region(1, &[b'a'; 4096], &[b'b'; 4096], 1);
        client.put(&longest).unwrap();
        assert_eq!(client.lookup(&[b'a'; 4096]).unwrap(), Some(longest));
    });
}

#[test]
fn a_region_has_at_most_64_peers() {
    on_both(&[], |client| {
        above_limit(client.put(&with_peers(region(1, b"", b"", 1), 65)), "64", "--max-peers");
        is_empty(client);
        let most = with_peers(region(1, b"", b"", 1), 64);
        client.put(&most).unwrap();
        assert_eq!(client.lookup(b"m").unwrap(), Some(most));
    });
}

#[test]
fn a_call_takes_at_most_2_to_the_20_values() {
    on_both(&[], |client| {
        for count in [(1 << 20) + 1, u64::MAX] {
            above_limit(client.alloc_id(count), "1048576", "--max-count");
            above_limit(client.tso(count), "1048576", "--max-count");
        }
        assert_eq!((client.alloc_id(1 << 20).unwrap(), client.tso(1 << 20).unwrap()), (1, 1));
        assert_eq!((client.alloc_id(1).unwrap(), client.tso(1).unwrap()), ((1 << 20) + 1, (1 << 20) + 1));
    });
}

#[test]
fn a_request_has_at_most_65536_bytes() {
    on_both(&[], |client| {
        // One byte of tag and three of length stand in front of the key.
        client.put(&region(1, b"a", b"", 1)).unwrap();
        assert_eq!(client.lookup(&[b'b'; 65_000]).unwrap().unwrap().id, 1, "a key may be longer than a border");
        assert_eq!(client.lookup(&[b'b'; 65_532]).unwrap().unwrap().id, 1);
        refused(client.lookup(&[b'b'; 65_533]), RpcStatusCode::RESOURCE_EXHAUSTED);
        refused(client.lookup(&vec![b'b'; 5 << 20]), RpcStatusCode::RESOURCE_EXHAUSTED);
        assert_eq!(client.lookup(b"b").unwrap().unwrap().id, 1, "the connection goes on");
    });
}

#[test]
fn every_limit_follows_its_flag() {
    let flags = ["--max-key-bytes", "8", "--max-peers", "3", "--max-count", "100", "--max-request-bytes", "1024"];
    on_both(&flags, |client| {
        above_limit(client.put(&region(1, b"123456789", b"", 1)), "8", "--max-key-bytes");
        above_limit(client.put(&with_peers(region(1, b"", b"", 1), 4)), "3", "--max-peers");
        above_limit(client.alloc_id(101), "100", "--max-count");
        above_limit(client.tso(101), "100", "--max-count");
        refused(client.lookup(&[b'k'; 1022]), RpcStatusCode::RESOURCE_EXHAUSTED);
        is_empty(client);
        client.put(&region(1, b"12345678", b"", 1)).unwrap();
        assert_eq!((client.alloc_id(100).unwrap(), client.tso(100).unwrap()), (1, 1));
        // One byte of tag and two of length stand in front of the key.
        assert_eq!(client.lookup(&[b'k'; 1021]).unwrap().unwrap().id, 1);
    });
    on_both(&["--max-key-bytes", "10000", "--max-peers", "100", "--max-count", "2000000"], |client| {
        client.put(&with_peers(region(1, &[b'a'; 10_000], b"", 1), 100)).unwrap();
        assert_eq!((client.alloc_id(2_000_000).unwrap(), client.tso(2_000_000).unwrap()), (1, 1));
    });
}

#[test]
fn a_range_without_a_key_is_refused() {
    on_both(&[], |client| {
        for (start, end) in [(&b"m"[..], &b"m"[..]), (b"n", b"m"), (b"m\0", b"m"), (&[0xff], &[0])] {
            refused(client.put(&region(1, start, end, 1)), RpcStatusCode::INVALID_ARGUMENT);
        }
        is_empty(client);
        // An empty end is above every key, and an empty start at or below it.
        client.put(&region(1, &[0xff; 4096], b"", 1)).unwrap();
        client.put(&region(2, b"", &[0], 1)).unwrap();
        assert_eq!(client.lookup(b"").unwrap().unwrap().id, 2);
    });
}

#[test]
fn id_0_comes_before_the_limits_and_the_limits_before_epochs_and_overlaps() {
    on_both(&[], |client| {
        let there = region(1, b"d", b"m", 5);
        client.put(&there).unwrap();
        let (long, inverted) = (region(0, &[b'a'; 4097], b"", 1), region(0, b"z", b"a", 1));
        for request in [&long, &inverted, &with_peers(long.clone(), 65)] {
            let message = refused(client.put(request), RpcStatusCode::INVALID_ARGUMENT);
            assert!(!message.contains("--max"), "id 0 is what is wrong first: {message}");
        }
        let absent = client.call(&pd_methods::REGION_HEARTBEAT, &RegionHeartbeatRequest::default());
        refused(absent, RpcStatusCode::INVALID_ARGUMENT);

        // Stale, and above a limit or without a key.
        above_limit(client.put(&region(1, &[b'd'; 4097], b"m", 4)), "4096", "--max-key-bytes");
        above_limit(client.put(&with_peers(region(1, b"d", b"m", 4), 65)), "64", "--max-peers");
        refused(client.put(&region(1, b"m", b"d", 4)), RpcStatusCode::INVALID_ARGUMENT);
        // Overlapping, and above a limit or without a key.
        above_limit(client.put(&region(2, b"", &[b'e'; 4097], 9)), "4096", "--max-key-bytes");
        refused(client.put(&region(2, b"e", b"e", 9)), RpcStatusCode::INVALID_ARGUMENT);
        // Stale and overlapping, with nothing else wrong.
        client.put(&region(3, b"m", b"p", 5)).unwrap();
        refused(client.put(&region(3, b"e", b"f", 4)), RpcStatusCode::FAILED_PRECONDITION);
        assert_eq!(client.lookup(b"e").unwrap(), Some(there), "nothing of this changed a region");
        assert_eq!(client.lookup(b"z").unwrap(), None);
    });
}

#[test]
fn calls_that_name_nothing_are_refused() {
    on_both(&[], |client| {
        refused(client.remove(0), RpcStatusCode::INVALID_ARGUMENT);
        refused(client.store(0, 1, 1), RpcStatusCode::INVALID_ARGUMENT);
        assert!(!client.remove(77).unwrap(), "an unknown region is no error");
    });
}
