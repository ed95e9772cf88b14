//! Lists that take several messages: each keeps the limits, and the answers come together in order. A server inside the test
//! looks at the messages; it answers as `pdlite.v1` says, or on purpose not so.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use grpcio::RpcStatusCode;
use pd_lite::client::{Client, ClientOptions, Error};
use pd_lite::core::{KeyRange, Region, RegionId};
use pd_lite::proto::{pd, pd_methods, pdlite, pdlite_methods};
use protobuf::Message;

use super::{HANG, hasty, patient, region};
use crate::support::Relay;
use crate::support::relay::{PDLITE, Reply};

const HEARTBEATS: &str = pdlite_methods::REGION_HEARTBEATS.name;
const LOOKUPS: &str = pdlite_methods::GET_REGIONS_BY_KEYS.name;
const REMOVAL: &str = pd_methods::REMOVE_REGION.name;
const SCAN: &str = pdlite_methods::SCAN_REGIONS.name;
const STATUS: &str = pdlite_methods::GET_STATUS.name;

/// What is known of a server's messages.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Vec<u8>>>>);

impl Seen {
    fn add(&self, message: &[u8]) {
        self.0.lock().unwrap().push(message.to_vec());
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }

    /// The ids of all regions reported, in the order in which they came.
    fn regions(&self) -> Vec<u64> {
        let regions = |message: &Vec<u8>| pdlite::RegionHeartbeatsRequest::parse_from_bytes(message).unwrap().regions;
        self.messages().iter().flat_map(regions).map(|region| region.id).collect()
    }
}

fn status(request_bytes: u64) -> Reply {
    let limits = Some(pdlite::ServerLimits { request_bytes, ..Default::default() });
    Reply::message(&pdlite::GetStatusResponse { limits: limits.into(), ..Default::default() })
}

/// All accepted.
fn accept(message: &[u8]) -> Reply {
    let regions = pdlite::RegionHeartbeatsRequest::parse_from_bytes(message).unwrap().regions;
    verdicts(regions.len())
}

fn verdicts(count: usize) -> Reply {
    let verdicts = vec![pdlite::RegionVerdict::new(); count];
    Reply::message(&pdlite::RegionHeartbeatsResponse { verdicts, ..Default::default() })
}

fn limited(addr: &str, request_bytes_max: usize) -> Client {
    Client::new(ClientOptions { request_bytes_max, timeout: HANG, ..ClientOptions::new(addr) }).unwrap()
}

fn regions(count: u64) -> Vec<Region> {
    (1..=count).map(|id| region(id, format!("{id:05}").as_bytes(), format!("{:05}", id + 1).as_bytes(), 1)).collect()
}

/// A server of `pdlite.v1` whose messages are seen, but for those that ask for the status.
fn serve(
    request_bytes: u64,
    seen: &Seen,
    reply: impl Fn(&'static str, &[u8]) -> Reply + Send + Clone + 'static,
) -> Relay {
    let seen = seen.clone();
    Relay::start("127.0.0.1:0", &PDLITE, None, move |method, message| {
        if method == STATUS {
            return status(request_bytes);
        }
        seen.add(message);
        reply(method, message)
    })
}

#[test]
fn messages_keep_the_lower_one_of_both_limits_and_are_as_full_as_they_can_be() {
    for (client_max, server_max, longest) in [(1_000, 65_536, 1_000), (65_536, 1_000, 1_000), (65_536, 0, 65_536)] {
        let seen = Seen::default();
        let relay = serve(server_max, &seen, |_, message| accept(message));
        let client = limited(relay.addr(), client_max);
        let regions = regions(3_000);
        assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
        assert_eq!(seen.regions(), (1..=3_000).collect::<Vec<u64>>(), "each once, in order");
        let lens: Vec<usize> = seen.messages().iter().map(Vec::len).collect();
        let (_, full) = lens.split_last().unwrap();
        assert!(lens.iter().all(|&len| len <= longest), "{lens:?}");
        assert!(full.iter().all(|&len| len > longest - 60), "a region takes less than 60 bytes: {lens:?}");
        assert_eq!(relay.calls(STATUS), 1, "the limit is asked for once");
    }
}

#[test]
fn a_region_that_is_too_long_for_any_message_is_invalid_alone() {
    let seen = Seen::default();
    let relay = serve(1_000, &seen, |_, message| accept(message));
    let client = patient(relay.addr());
    let mut regions = regions(5);
    for at in [0, 2, 4] {
        regions[at] = region(9, &[b'k'; 1_000], b"", 1);
    }
    let verdicts = client.region_heartbeats(&regions);
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(matches!(verdict, Err(Error::Invalid(_))), at % 2 == 0, "{verdicts:?}");
    }
    assert_eq!(seen.regions(), [2, 4]);
}

#[test]
fn a_key_or_region_that_is_too_long_is_not_sent() {
    let relay = serve(1_000, &Seen::default(), |_, _| Reply::Status(RpcStatusCode::UNKNOWN, "sent"));
    let client = limited(relay.addr(), 500);
    let long = [b'k'; 500];
    assert!(matches!(client.regions_by_keys(&[&long]), Err(Error::Invalid(_))));
    assert!(matches!(client.region_by_key(&long), Err(Error::Invalid(_))));
    assert!(matches!(client.scan_regions(&long, b"", 1), Err(Error::Invalid(_))));
    assert!(matches!(client.region_heartbeat(&region(1, &long, b"", 1)), Err(Error::Invalid(_))));
}

#[test]
fn a_limit_that_sank_unnoticed_is_asked_for_again() {
    // A PD that refuses what it told would fit: another one came, and the client did not see it.
    let (seen, asked) = (Seen::default(), Seen::default());
    let (refused, told) = (seen.clone(), asked.clone());
    let relay = Relay::start("127.0.0.1:0", &PDLITE, None, move |method, message| {
        if method == STATUS {
            told.add(message);
            return status(if told.messages().len() == 1 { 10_000 } else { 1_000 });
        }
        if message.len() > 1_000 {
            return Reply::Status(RpcStatusCode::RESOURCE_EXHAUSTED, "too long");
        }
        refused.add(message);
        accept(message)
    });
    let client = hasty(relay.addr(), Duration::from_secs(3));
    let regions = regions(100);
    assert!(client.region_heartbeats(&regions).iter().all(Result::is_ok));
    assert_eq!((seen.regions(), asked.messages().len()), ((1..=100).collect(), 2));
}

#[test]
fn a_limit_that_sank_with_the_connection_is_found_out_within_the_call() {
    let (seen, asked) = (Seen::default(), Seen::default());
    let (taken, told) = (seen.clone(), asked.clone());
    let (sender, refused) = crossbeam_channel::unbounded();
    let methods = [&PDLITE[..], &[REMOVAL]].concat();
    let relay = Relay::start("127.0.0.1:0", &methods, None, move |method, message| match method {
        REMOVAL => Reply::Status(RpcStatusCode::UNAVAILABLE, "another one comes"),
        STATUS => {
            told.add(message);
            status(if told.messages().len() == 1 { 10_000 } else { 1_000 })
        }
        _ if message.len() > 1_000 => {
            sender.send(()).unwrap();
            Reply::Status(RpcStatusCode::RESOURCE_EXHAUSTED, "too long")
        }
        _ => {
            taken.add(message);
            accept(message)
        }
    });
    let client = patient(relay.addr());
    let caller = client.clone();
    let caller = thread::spawn(move || caller.region_heartbeats(&regions(100)));
    refused.recv_timeout(HANG).unwrap();
    // It shares the connection, so both callers learn that it broke.
    client.remove_region(RegionId(1)).unwrap_err();
    assert!(caller.join().unwrap().iter().all(Result::is_ok));
    assert_eq!(seen.regions(), (1..=100).collect::<Vec<_>>());
    // Because of the refusal and because of the loss, which may come to the same.
    assert!((2..=3).contains(&asked.messages().len()));
}

#[test]
fn a_failed_message_gives_its_regions_its_error_and_nothing_behind_it_is_sent() {
    let seen = Seen::default();
    let counted = seen.clone();
    let relay = serve(200, &seen, move |_, message| match counted.messages().len() {
        2 => Reply::Status(RpcStatusCode::INTERNAL, "broken"),
        _ => accept(message),
    });
    let verdicts = patient(relay.addr()).region_heartbeats(&regions(30));
    let sent = seen.regions().len();
    let accepted = verdicts.iter().take_while(|verdict| verdict.is_ok()).count();
    let failed = verdicts.iter().filter(|verdict| matches!(verdict, Err(Error::Refused { .. }))).count();
    let unsent = verdicts.iter().filter(|verdict| matches!(verdict, Err(Error::NotSent { .. }))).count();
    assert_eq!((accepted + failed, failed + unsent), (sent, 30 - accepted), "{verdicts:?}");
    assert!(accepted > 0 && failed > 0 && unsent > 0 && seen.messages().len() == 2);
    assert!(verdicts.iter().rev().take(unsent).all(|verdict| !verdict.as_ref().unwrap_err().outcome_unknown()));
}

#[test]
fn a_wrong_number_of_verdicts_is_malformed() {
    for count in [0, 2, 4] {
        let relay = serve(1_000, &Seen::default(), move |_, _| verdicts(count));
        let answer = patient(relay.addr()).region_heartbeats(&regions(3));
        assert!(answer.iter().all(|verdict| matches!(verdict, Err(Error::Malformed { .. }))), "{answer:?}");
        assert_eq!((answer.len(), relay.calls(HEARTBEATS)), (3, 1));
    }
}

/// What an honest PD that has all `regions` answers, as far as `results_max` results.
fn found(regions: &[Region], message: &[u8], results_max: usize) -> Reply {
    let keys = pdlite::GetRegionsByKeysRequest::parse_from_bytes(message).unwrap().keys;
    let result = |key: &Vec<u8>| {
        let region = regions.iter().find(|region| region.range().contains(key));
        pd::GetRegionByKeyResponse {
            not_found: region.is_none(),
            region: region.map(pd::RegionMeta::from).into(),
            ..Default::default()
        }
    };
    let results = keys.iter().take(results_max).map(result).collect();
    Reply::message(&pdlite::GetRegionsByKeysResponse { results, ..Default::default() })
}

#[test]
fn lookups_that_stop_early_are_asked_for_again() {
    for results_max in [1, 7, usize::MAX] {
        let (seen, regions) = (Seen::default(), regions(50));
        let known = regions.clone();
        let relay = serve(200, &seen, move |_, message| found(&known, message, results_max));
        let keys: Vec<String> = (0..60).map(|at| format!("{:05}", at * 7 % 60)).collect();
        let wanted: Vec<Option<Region>> = keys
            .iter()
            .map(|key| regions.iter().find(|region| region.range().contains(key.as_bytes())).cloned())
            .collect();
        assert_eq!(patient(relay.addr()).regions_by_keys(&keys).unwrap(), wanted);
        assert!(seen.messages().len() > 1 && seen.messages().iter().all(|message| message.len() <= 200));
    }
}

#[test]
fn lookups_that_could_be_no_answer_are_malformed() {
    let region = region(1, b"a", b"c", 1);
    let meta = || Some(pd::RegionMeta::from(&region)).into();
    let result = |not_found, region| pd::GetRegionByKeyResponse { not_found, region, ..Default::default() };
    let nothing = || result(true, None.into());
    for (results, keys) in [
        (vec![], &["b"][..]),
        (vec![nothing(), nothing()], &["b"]),
        (vec![result(false, None.into())], &["b"]),
        (vec![result(true, meta())], &["b"]),
        (vec![result(false, meta())], &["c"]),
        (vec![nothing(), result(false, meta())], &["b", "c"]),
    ] {
        let answer = pdlite::GetRegionsByKeysResponse { results: results.clone(), ..Default::default() };
        let answer = answer.write_to_bytes().unwrap();
        let relay = serve(1_000, &Seen::default(), move |_, _| Reply::Answer(answer.clone()));
        let found = patient(relay.addr()).regions_by_keys(keys);
        assert!(matches!(found, Err(Error::Malformed { .. })), "{results:?}: {found:?}");
        assert_eq!(relay.calls(LOOKUPS), 1);
    }
}

/// What an honest PD that has all `regions` answers, `page_max` at a time.
fn page(regions: &[Region], message: &[u8], page_max: usize) -> Reply {
    let request = pdlite::ScanRegionsRequest::parse_from_bytes(message).unwrap();
    let range = KeyRange { start: &request.start_key, end: &request.end_key };
    let all: Vec<&Region> = regions.iter().filter(|region| region.range().overlaps(&range)).collect();
    let limit = page_max.min(usize::try_from(request.limit).unwrap());
    Reply::message(&pdlite::ScanRegionsResponse {
        regions: all.iter().take(limit).map(|region| pd::RegionMeta::from(*region)).collect(),
        more: all.len() > limit,
        ..Default::default()
    })
}

#[test]
fn a_scan_goes_on_until_its_limit_or_the_end() {
    let seen = Seen::default();
    let mut regions = regions(50);
    regions.remove(20);
    let known = regions.clone();
    let relay = serve(200, &seen, move |_, message| page(&known, message, 8));
    let client = patient(relay.addr());
    assert_eq!(client.scan_regions(b"", b"", usize::MAX).unwrap(), regions);
    assert_eq!(seen.messages().len(), 7, "of 8 each");
    assert_eq!(client.scan_regions(b"", b"", 17).unwrap(), regions[..17]);
    assert_eq!(client.scan_regions(b"00003x", b"00040", usize::MAX).unwrap(), regions[2..38]);
    assert!(client.scan_regions(b"9", b"", usize::MAX).unwrap().is_empty());
}

#[test]
fn a_region_that_grew_between_two_pages_replaces_those_that_it_covers() {
    let seen = Seen::default();
    let before = regions(6);
    let grown = region(3, before[2].start_key(), before[5].end_key(), 2);
    let after = [before[..2].to_vec(), vec![grown]].concat();
    let (counted, wanted) = (seen.clone(), after.clone());
    let relay = serve(200, &seen, move |_, message| match counted.messages().len() {
        1 => page(&before, message, 4),
        _ => page(&after, message, 4),
    });
    assert_eq!(patient(relay.addr()).scan_regions(b"", b"", usize::MAX).unwrap(), wanted);
}

#[test]
fn a_page_that_could_be_no_answer_is_malformed() {
    let answer = |regions: &[Region], more| pdlite::ScanRegionsResponse {
        regions: regions.iter().map(pd::RegionMeta::from).collect(),
        more,
        ..Default::default()
    };
    let regions = regions(4);
    let turned: Vec<Region> = regions.iter().rev().cloned().collect();
    for answer in [answer(&[], true), answer(&regions, false), answer(&turned[..2], false), answer(&regions[3..], true)]
    {
        let bytes = answer.write_to_bytes().unwrap();
        let relay = serve(1_000, &Seen::default(), move |_, _| Reply::Answer(bytes.clone()));
        let scan = patient(relay.addr()).scan_regions(b"00001", b"00004", 3);
        assert!(matches!(scan, Err(Error::Malformed { .. })), "{answer:?}: {scan:?}");
        assert_eq!(relay.calls(SCAN), 1);
    }
}

/// Stores 1 to 10, from the first that was asked for on, `page_max` at a time.
fn stores(message: &[u8], page_max: usize) -> Reply {
    let from = pdlite::GetStoresRequest::parse_from_bytes(message).unwrap().from_store_id.max(1);
    let store = |store_id| pdlite::StoreInfo { store_id, region_num: store_id * 2, ..Default::default() };
    Reply::message(&pdlite::GetStoresResponse {
        stores: (from..=10).take(page_max).map(store).collect(),
        more: 11 - from > u64::try_from(page_max).unwrap(),
        ..Default::default()
    })
}

#[test]
fn stores_are_asked_for_until_the_last_one() {
    for (page_max, pages) in [(1, 10), (3, 4), (5, 2), (10, 1), (11, 1)] {
        let relay = serve(1_000, &Seen::default(), move |_, message| stores(message, page_max));
        let stores = patient(relay.addr()).stores().unwrap();
        assert_eq!(stores.iter().map(|store| store.id.0).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(stores[9].stats.region_num, 20);
        assert_eq!(relay.calls(pdlite_methods::GET_STORES.name), pages);
    }
}

#[test]
fn a_list_of_stores_that_does_not_go_on_is_malformed() {
    let store = |store_id| pdlite::StoreInfo { store_id, ..Default::default() };
    for stores in [vec![], vec![store(1), store(1)], vec![store(2), store(1)], vec![store(7)]] {
        let answer = pdlite::GetStoresResponse { stores, more: true, ..Default::default() }.write_to_bytes().unwrap();
        let relay = serve(1_000, &Seen::default(), move |_, _| Reply::Answer(answer.clone()));
        let stores = patient(relay.addr()).stores();
        assert!(matches!(stores, Err(Error::Malformed { .. })), "{stores:?}");
    }
}
