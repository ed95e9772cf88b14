//! Lookups of many keys and scans: what GetRegionByKey says about each key, in answers that a usual client receives.

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::{RegionMeta, RegionPeer};
use pd_lite::proto::pdlite::GetRegionsByKeysRequest;
use pd_lite::proto::pdlite_methods as methods;

use super::{report_all, scan, scan_all};
use crate::support::client::region;
use crate::support::rng::Rng;
use crate::support::{Client, Failure, Launch};

fn look_up(client: &Client, keys: &[Vec<u8>]) -> Result<Vec<Option<RegionMeta>>, Failure> {
    let request = GetRegionsByKeysRequest { keys: keys.to_vec(), ..Default::default() };
    let answer = client.call(&methods::GET_REGIONS_BY_KEYS, &request)?;
    assert!(answer.results.iter().all(|result| result.not_found == result.region.is_none()));
    Ok(answer.results.into_iter().map(|result| result.region.into_option()).collect())
}

fn key(number: u64) -> Vec<u8> {
    format!("{number:04}").into_bytes()
}

/// Regions over some of 0000 to 2000, in key order, with gaps between them; ids in no order.
fn some_regions() -> Vec<RegionMeta> {
    let mut rng = Rng::new(7);
    let mut regions = Vec::new();
    let mut from = 0;
    while from < 2000 {
        let start = from + rng.below(3).saturating_sub(1);
        let end = start + 1 + rng.below(3);
        regions.push(region(1 + start * 7919 % 10_007, &key(start), &key(end), 1));
        from = end;
    }
    regions
}

#[test]
fn many_keys_and_every_scan_agree_with_single_lookups() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let server = launch.start();
    let regions = some_regions();
    report_all(&server.client(), &regions);
    server.kill();
    let server = launch.start();
    let client = server.client();
    assert_eq!(scan_all(&client), regions);

    let keys: Vec<_> = (0..600).map(|n| key(n * 7 % 2003)).chain([Vec::new(), vec![0xff; 10_000]]).collect();
    let found = look_up(&client, &keys).unwrap();
    assert_eq!(found.len(), keys.len());
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(found, client.lookup(key).unwrap());
    }
    let mut rng = Rng::new(8);
    for _ in 0..200 {
        let (start, len, limit) = (rng.below(2100), 1 + rng.below(60), rng.below(30));
        let end = start + len;
        let expected: Vec<_> =
            regions.iter().filter(|region| region.start_key < key(end) && region.end_key > key(start)).collect();
        let told = if limit == 0 { expected.len() } else { expected.len().min(usize::try_from(limit).unwrap()) };
        let answer = scan(&client, &key(start), &key(end), limit.try_into().unwrap()).unwrap();
        assert!(answer.regions.iter().eq(expected[..told].iter().copied()), "[{start},{end}) limit {limit}");
        assert_eq!(answer.more, told < expected.len());
    }
    server.stop();
}

#[test]
fn a_range_without_a_key_is_refused() {
    let server = Launch::in_memory().start();
    let client = server.client();
    for (start, end) in [(&b"m"[..], &b"m"[..]), (b"n", b"m"), (&[0xff], &[0])] {
        let failure = scan(&client, start, end, 1).unwrap_err();
        assert_eq!(failure.code, RpcStatusCode::INVALID_ARGUMENT);
        assert!(failure.message.contains("the start key is not below the end key"), "{failure:?}");
    }
    server.stop();
}

#[test]
fn answers_stop_before_they_are_too_long_for_a_usual_client() {
    let server = Launch::in_memory().args(["--max-request-bytes", "4194304"]).start();
    let client = server.client();
    let key = |id: u64| format!("{id:04096}").into_bytes();
    let peers = vec![RegionPeer { store_id: u64::MAX, peer_id: u64::MAX, ..Default::default() }; 64];
    let regions: Vec<_> =
        (1..=1000).map(|id| RegionMeta { peers: peers.clone(), ..region(id, &key(id), &key(id + 1), 1) }).collect();
    report_all(&client, &regions);

    let first = scan(&client, b"", b"", 0).unwrap();
    assert!(first.more && first.regions.len() < 1000, "{} regions of 10 KB", first.regions.len());
    assert_eq!(scan_all(&client), regions);

    let keys: Vec<_> = (1..=1000).map(key).collect();
    let mut found = Vec::new();
    let mut answers = 0;
    while found.len() < keys.len() {
        found.extend(look_up(&client, &keys[found.len()..]).unwrap());
        answers += 1;
    }
    assert!(found.into_iter().map(Option::unwrap).eq(regions));
    assert!(answers > 1);
    server.stop();
}
