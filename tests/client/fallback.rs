//! A PD without `pdlite.v1`, as the Go PD is: the client gets the same by the calls of `pb.PD`, or says what it cannot get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use grpcio::RpcStatusCode;
use pd_lite::client::{Error, Refusal};
use pd_lite::core::Region;
use pd_lite::proto::{pd_methods, pdlite_methods};

use super::{patient, region};
use crate::support::relay::{PB_PD, PDLITE, Reply};
use crate::support::{Launch, Relay};

/// `count` regions side by side from key `0000` on, the last one without an end.
fn row(count: u64) -> Vec<Region> {
    let key = |at: u64| format!("{at:04}").into_bytes();
    (0..count)
        .map(|at| region(at + 1, &key(at), if at + 1 == count { vec![] } else { key(at + 1) }.as_slice(), 1))
        .collect()
}

#[test]
fn what_only_pdlite_offers_is_unsupported() {
    let pd = Launch::in_memory().start();
    let relay = Relay::go_pd(pd.addr());
    let client = patient(relay.addr());
    for _ in 0..2 {
        for (call, error) in [("GetStores", client.stores().unwrap_err()), ("GetStatus", client.status().unwrap_err())]
        {
            assert_eq!(error, Error::Unsupported { addr: relay.addr().into(), call });
        }
    }
}

#[test]
fn many_heartbeats_are_taken_in_one_after_the_other_and_refused_one_by_one() {
    let pd = Launch::in_memory().start();
    let relay = Relay::go_pd(pd.addr());
    let client = patient(relay.addr());
    let whole = region(1, b"", b"", 5);
    let (left, right) = (region(1, b"", b"m", 6), region(2, b"m", b"", 6));
    // The right half is accepted only behind the left one; the rest is stale, overlapping and nameless.
    let regions = [&whole, &left, &right, &whole, &region(3, b"x", b"y", 9), &region(0, b"", b"", 1), &right];
    let verdicts: Vec<Result<(), Refusal>> = client
        .region_heartbeats(&regions)
        .into_iter()
        .map(|verdict| {
            verdict.map_err(|error| match error {
                Error::Refused { refusal, .. } => refusal,
                other => panic!("{other}"),
            })
        })
        .collect();
    let (precondition, argument) = (Err(Refusal::FailedPrecondition), Err(Refusal::InvalidArgument));
    assert_eq!(verdicts, [Ok(()), Ok(()), Ok(()), precondition, precondition, argument, Ok(())]);
    assert_eq!(relay.calls(pd_methods::REGION_HEARTBEAT.name), regions.len(), "each was sent once");
    assert_eq!(client.regions_by_keys(&["a", "z"]).unwrap(), [Some(left), Some(right)]);
}

#[test]
fn nothing_is_sent_behind_a_heartbeat_of_unknown_outcome() {
    let heartbeats = Arc::new(AtomicUsize::new(0));
    let relay =
        Relay::start("127.0.0.1:0", &PB_PD, None, move |_, _| match heartbeats.fetch_add(1, Ordering::Relaxed) {
            2 => Reply::Status(RpcStatusCode::UNAVAILABLE, "the disk failed"),
            _ => Reply::Answer(vec![8, 1]),
        });
    let verdicts = patient(relay.addr()).region_heartbeats(&row(6));
    let lost = Error::Lost { addr: relay.addr().into(), reason: "the disk failed".into() };
    let rest = Error::NotSent { after: lost.clone().into() };
    assert!(lost.outcome_unknown() && !rest.outcome_unknown());
    assert_eq!(verdicts, [Ok(()), Ok(()), Err(lost), Err(rest.clone()), Err(rest.clone()), Err(rest)]);
    assert_eq!(relay.calls(pd_methods::REGION_HEARTBEAT.name), 3);
}

#[test]
fn many_lookups_are_answered_in_the_order_of_their_keys() {
    let pd = Launch::in_memory().start();
    let relay = Relay::go_pd(pd.addr());
    let client = patient(relay.addr());
    let regions = row(50);
    assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
    client.remove_region(regions[7].id()).unwrap();
    let keys: Vec<String> = (0..200).map(|at| format!("{:04}x", at * 37 % 53)).collect();
    let found = client.regions_by_keys(&keys).unwrap();
    let wanted: Vec<Option<Region>> = keys
        .iter()
        .map(|key| regions.iter().find(|region| region.range().contains(key.as_bytes())).cloned())
        .map(|region| region.filter(|region| region.id() != regions[7].id()))
        .collect();
    assert_eq!(found, wanted);
    assert!(found.iter().any(Option::is_none));
    assert!(client.regions_by_keys(&[""; 0]).unwrap().is_empty());
}

#[test]
fn a_scan_walks_from_region_to_region() {
    let pd = Launch::in_memory().start();
    let relay = Relay::go_pd(pd.addr());
    let client = patient(relay.addr());
    let regions = row(20);
    assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
    let scan = |start: &str, end: &str, limit| client.scan_regions(start.as_bytes(), end.as_bytes(), limit);
    assert_eq!(scan("0000", "", usize::MAX).unwrap(), regions);
    assert_eq!(scan("0000", "", 20).unwrap(), regions);
    assert_eq!(scan("0003x", "0005", 100).unwrap(), regions[3..5], "a region is part of it from any key of its own on");
    assert_eq!(scan("0003x", "0005\0", 100).unwrap(), regions[3..6]);
    assert_eq!(scan("0018", "", 1).unwrap(), regions[18..19]);
    assert!(scan("0018", "", 0).unwrap().is_empty());
    for (start, end) in [("0005", "0005"), ("0006", "0005")] {
        assert!(matches!(scan(start, end, 9), Err(Error::Invalid(_))), "no key is in the range");
    }
}

#[test]
fn what_is_behind_a_gap_cannot_be_told() {
    let pd = Launch::in_memory().start();
    let relay = Relay::go_pd(pd.addr());
    let client = patient(relay.addr());
    let regions = row(9);
    assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
    client.remove_region(regions[4].id()).unwrap();
    let scan = |start: &str, end: &str, limit| client.scan_regions(start.as_bytes(), end.as_bytes(), limit);
    assert_eq!(scan("0000", "0004", 9).unwrap(), regions[..4], "the gap is behind the range");
    assert_eq!(scan("0000", "", 4).unwrap(), regions[..4], "the gap is behind the limit");
    for (start, end) in [("0000", ""), ("0004", "0005"), ("", "0001")] {
        let error = scan(start, end, 9).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { call, .. } if call.contains("gap")), "{error}");
    }
}

#[test]
fn a_pd_is_asked_for_pdlite_once_a_connection() {
    let pd = Launch::in_memory().start();
    let pd_addr = pd.addr().to_owned();
    let serve = |addr: &str| {
        Relay::start(addr, &[&PB_PD[..], &PDLITE].concat(), Some(&pd_addr), |method, _| {
            if PDLITE.contains(&method) { Reply::Status(RpcStatusCode::UNIMPLEMENTED, "") } else { Reply::PassOn }
        })
    };
    let asked = |relay: &Relay| PDLITE.map(|method| relay.calls(method)).iter().sum::<usize>();
    let relay = serve("127.79.0.1:0");
    let addr = relay.addr().to_owned();
    let client = patient(&addr);
    for _ in 0..3 {
        assert_eq!(client.region_heartbeats(&row(3)), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(client.regions_by_keys(&["0001"]).unwrap(), [Some(row(3)[1].clone())]);
        assert_eq!(client.scan_regions(b"0001", b"", 9).unwrap(), row(3)[1..]);
        client.stores().unwrap_err();
    }
    assert_eq!((asked(&relay), relay.calls(pdlite_methods::GET_STATUS.name)), (1, 1));
    drop(relay);
    let relay = serve(&addr);
    for _ in 0..3 {
        assert_eq!(client.regions_by_keys(&["0001"]).unwrap(), [Some(row(3)[1].clone())]);
    }
    assert_eq!(asked(&relay), 1, "another PD may have come");
}
