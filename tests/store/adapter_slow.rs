//! A slow PD, and many changes at once: the store's updates become few messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pd_lite::adapter::Adapter;
use pd_lite::client::{Client, ClientOptions};
use pd_lite::core::{RegionId, StoreId};
use pd_lite::proto::{pd, pd_methods, pdlite, pdlite_methods};
use protobuf::Message;

use super::adapting::{HANG, NEVER, SOON, Store, Told, eventually, key, patient, region, stats};
use crate::support::Launch;
use crate::support::relay::{PB_PD, PDLITE, Relay, Reply};

const HEARTBEATS: &str = pdlite_methods::REGION_HEARTBEATS.name;
const STATUS: &str = pdlite_methods::GET_STATUS.name;

fn regions_of(message: &[u8]) -> Vec<(u64, u64)> {
    let request = pdlite::RegionHeartbeatsRequest::parse_from_bytes(message).unwrap();
    request.regions.iter().map(|region| (region.id, region.epoch_version)).collect()
}

fn accepted(count: usize) -> Vec<u8> {
    let verdicts = vec![pdlite::RegionVerdict::new(); count];
    pdlite::RegionHeartbeatsResponse { verdicts, ..Default::default() }.write_to_bytes().unwrap()
}

/// The regions of each message that came, by id and version.
type Seen = Arc<Mutex<Vec<Vec<(u64, u64)>>>>;

/// A PD whose first heartbeat is answered when the test says so, and an adapter with that one under way: region 1@1.
fn with_a_call_under_way() -> (Relay, Adapter, Seen) {
    let seen = Seen::default();
    let relay = {
        let seen = Arc::clone(&seen);
        Relay::start("127.0.0.1:0", &PDLITE, None, move |method, message| {
            if method == STATUS {
                return Reply::message(&pdlite::GetStatusResponse::new());
            }
            let regions = regions_of(message);
            let mut seen = seen.lock().unwrap();
            seen.push(regions.clone());
            if seen.len() == 1 { Reply::Silence } else { Reply::Answer(accepted(regions.len())) }
        })
    };
    let adapter = Adapter::start(Some(patient(relay.addr())), Told::default().options(NEVER));
    adapter.region_heartbeat(region(1, b"a", b"b", 1));
    eventually("a call is under way", || relay.calls(HEARTBEATS) == 1);
    (relay, adapter, seen)
}

#[test]
fn updates_of_a_region_while_a_call_is_under_way_become_one() {
    let (relay, adapter, seen) = with_a_call_under_way();
    for version in 2..=1_000 {
        for id in 1..=3 {
            adapter.region_heartbeat(region(id, b"a", b"b", version));
        }
    }
    assert_eq!(adapter.unacknowledged(), 3);
    relay.answer_silent(&accepted(1));
    assert!(adapter.flush(HANG));
    assert_eq!(adapter.unacknowledged(), 0);
    let mut seen = seen.lock().unwrap();
    seen[1].sort_unstable();
    assert_eq!(*seen, [vec![(1, 1)], vec![(1, 1_000), (2, 1_000), (3, 1_000)]]);
}

#[test]
fn changes_of_many_regions_share_messages() {
    const REGIONS: u64 = 10_000;
    let (relay, adapter, seen) = with_a_call_under_way();
    for id in 2..=REGIONS {
        adapter.region_heartbeat(region(id, &key(id), &key(id + 1), 1));
    }
    relay.answer_silent(&accepted(1));
    assert!(adapter.flush(HANG));
    assert_eq!(adapter.unacknowledged(), 0);
    let seen = seen.lock().unwrap();
    let ids: Vec<u64> = seen.iter().flatten().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=REGIONS).collect::<Vec<_>>(), "in the order of the store's calls");
    assert!(seen.len() <= 50, "{} messages", seen.len());
}

#[test]
fn a_message_without_an_answer_is_sent_again() {
    let pd = Launch::in_memory().start();
    let calls = Arc::new(Mutex::new(0));
    // Takes a while to answer the first calls: for ever.
    let relay = Relay::start("127.0.0.1:0", &PB_PD, Some(pd.addr()), move |_, _| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        if *calls <= 3 { Reply::Silence } else { Reply::PassOn }
    });
    let client = Client::new(ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::new(relay.addr()) });
    let mut store = Store::new(Adapter::start(Some(client.unwrap()), Told::default().options(SOON)));
    for number in 1..20 {
        store.split(&key(number));
    }
    store.merge(&key(3));
    eventually("everything is acknowledged", || store.adapter.unacknowledged() == 0);
    store.assert_known(&pd.client());
}

/// A PD that hung over one region's heartbeat got nothing else from the adapter any more: no other region, no removal and
/// none of the store's numbers, which a PD takes for a store that is down.
#[test]
fn a_pd_that_hangs_over_one_region_is_told_all_the_rest() {
    const HUNG: u64 = 5;
    for methods in [PB_PD.to_vec(), [&PDLITE[..], &PB_PD[..]].concat()] {
        let pd = Launch::in_memory().start();
        let relay = Relay::start("127.0.0.1:0", &methods, Some(pd.addr()), move |method, message| {
            let hangs = match method {
                HEARTBEATS => regions_of(message).iter().any(|(id, _)| *id == HUNG),
                name if name == pd_methods::REGION_HEARTBEAT.name => {
                    pd::RegionHeartbeatRequest::parse_from_bytes(message).unwrap().region.id == HUNG
                }
                _ => false,
            };
            if hangs { Reply::Silence } else { Reply::PassOn }
        });
        let client =
            Client::new(ClientOptions { timeout: Duration::from_millis(100), ..ClientOptions::new(relay.addr()) });
        let adapter = Adapter::start(Some(client.unwrap()), Told::default().options(NEVER));
        adapter.remove_region(RegionId(77));
        for id in 1..=20 {
            adapter.region_heartbeat(region(id, &key(id), &key(id + 1), 1));
        }
        for number in 1..=3 {
            adapter.store_heartbeat(StoreId(1), stats(20, number));
            let heartbeats = || relay.calls(pd_methods::STORE_HEARTBEAT.name);
            eventually("the numbers are told", || heartbeats() >= number.try_into().unwrap());
        }
        eventually("all but the one are acknowledged", || adapter.unacknowledged() == 1);
        let known = |id| pd.client().lookup(&key(id)).unwrap().map(|region| region.id);
        assert_eq!((1..=20).filter(|id| known(*id) != Some(*id)).collect::<Vec<_>>(), [HUNG]);
    }
}

#[test]
fn unchanged_regions_are_told_again_once_a_round_and_numbers_at_once() {
    let relay = Relay::start("127.0.0.1:0", &[&PDLITE[..], &PB_PD[..]].concat(), None, move |method, message| {
        if method == HEARTBEATS {
            return Reply::Answer(accepted(regions_of(message).len()));
        }
        if method == STATUS {
            return Reply::message(&pdlite::GetStatusResponse::new());
        }
        Reply::message(&pd_lite::proto::pd::StoreHeartbeatResponse { accepted: true, ..Default::default() })
    });
    let adapter = Adapter::start(Some(patient(relay.addr())), Told::default().options(NEVER));
    let report = || adapter.region_heartbeat(region(1, b"", b"", 1));
    report();
    assert!(adapter.flush(HANG));
    assert_eq!(relay.calls(HEARTBEATS), 1);
    // The first round is the first repeat, and the next one never comes.
    report();
    eventually("a round has come", || relay.calls(HEARTBEATS) == 2);
    assert!(adapter.flush(HANG));
    for number in 1..=100 {
        report();
        adapter.store_heartbeat(StoreId(1), stats(1, number));
        assert!(adapter.flush(HANG));
    }
    assert_eq!((relay.calls(HEARTBEATS), relay.calls(pd_methods::STORE_HEARTBEAT.name)), (2, 100));
}
