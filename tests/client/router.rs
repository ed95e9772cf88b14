//! The router over a real PD: changing regions, restarts, a PD that is down or slow, and configured regions, which are no route.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::channel::oneshot;
use pd_lite::client::router::{Router, RouterStats};
use pd_lite::client::{Client, Error};
use pd_lite::core::{Region, RegionId};
use pd_lite::proto::{pd, pdlite, pdlite_methods};
use protobuf::Message;

use super::{HANG, hasty, patient, region};
use crate::support::relay::{PDLITE, Reply};
use crate::support::rng::Rng;
use crate::support::{Launch, Relay};

const GET_REGIONS_BY_KEYS: &str = pdlite_methods::GET_REGIONS_BY_KEYS.name;

fn id(found: Result<Option<std::sync::Arc<Region>>, Error>) -> Option<u64> {
    found.unwrap().map(|region| region.id().0)
}

fn put(client: &Client, regions: &[Region]) {
    for (region, verdict) in regions.iter().zip(client.region_heartbeats(regions)) {
        assert_eq!(verdict, Ok(()), "{region:?}");
    }
}

/// The region at `key` by way of a caller that asks its store: where the store (here the PD itself) knows better, the caller
/// invalidates what it got and asks once more.
fn route(router: &Router<Client>, client: &Client, key: &[u8]) -> Option<Region> {
    let right = client.region_by_key(key).unwrap();
    for _ in 0..2 {
        let found = router.region(key).unwrap().map(|region| Region::clone(&region));
        if found == right {
            return found;
        }
        let wrong = found.expect("a gap is never taken from the cache");
        router.invalidate(wrong.id(), wrong.epoch());
    }
    panic!("{key:x?} is at {right:?}, and the router has not found it");
}

#[test]
fn it_follows_splits_merges_and_moves() {
    let pd = Launch::in_memory().start();
    let client = patient(pd.addr());
    let router = Router::new(client.clone());
    put(&client, &[region(1, b"a", b"z", 1)]);
    let look = |expected: [u64; 4]| {
        let ids = [b"b", b"h", b"p", b"x"].map(|key| route(&router, &client, key).map_or(0, |region| region.id().0));
        assert_eq!(ids, expected);
    };
    look([1, 1, 1, 1]);
    assert_eq!(router.stats(), RouterStats { hits: 3, misses: 1, lookups: 1 });
    // A split, and a split of the split.
    put(
        &client,
        &[region(1, b"a", b"m", 2), region(2, b"m", b"z", 2), region(2, b"m", b"t", 3), region(3, b"t", b"z", 3)],
    );
    look([1, 1, 2, 3]);
    look([1, 1, 2, 3]);
    assert_eq!(router.len(), 3);
    // A merge.
    client.remove_region(RegionId(2)).unwrap();
    put(&client, &[region(1, b"a", b"t", 4)]);
    look([1, 1, 1, 3]);
    // A move, which leaves a gap.
    put(&client, &[region(3, b"z", b"", 4), region(1, b"f", b"z", 5)]);
    look([0, 1, 1, 1]);
    assert_eq!(id(router.region(b"zz")), Some(3));
    // Other peers, and another order of them, at the same epoch.
    let moved = Region::new(RegionId(1), b"f", b"z", region(1, b"f", b"z", 5).epoch(), []);
    put(&client, std::slice::from_ref(&moved));
    assert_eq!(route(&router, &client, b"h"), Some(moved));
}

#[test]
fn many_callers_route_rightly_while_regions_change() {
    let pd = Launch::in_memory().start();
    let client = patient(pd.addr());
    let router = Router::new(client.clone());
    put(&client, &[region(1, b"", b"", 1)]);
    thread::scope(|scope| {
        for seed in 0..6 {
            let router = &router;
            scope.spawn(move || {
                let mut rng = Rng::new(seed);
                for _ in 0..300 {
                    let key = [u8::try_from(rng.below(250)).unwrap()];
                    // Between the two heartbeats of a split there is a gap.
                    if let Some(found) = router.region(&key).unwrap() {
                        assert!(found.range().contains(&key));
                        if rng.below(4) == 0 {
                            router.invalidate(found.id(), found.epoch());
                        }
                    }
                }
            });
        }
        let mut rng = Rng::new(99);
        for new_id in 2..100 {
            let border = [u8::try_from(rng.below(250)).unwrap() + 1];
            let whole = client.region_by_key(&border).unwrap().unwrap();
            if whole.start_key() != border {
                let version = whole.epoch().version + 1;
                let left = region(whole.id().0, whole.start_key(), &border, version);
                put(&client, &[left, region(new_id, &border, whole.end_key(), version)]);
            }
        }
    });
    (0..=255).for_each(|key| drop(route(&router, &client, &[key])));
    (0..=255).for_each(|key| {
        assert_eq!(router.region(&[key]).unwrap().as_deref(), client.region_by_key(&[key]).unwrap().as_ref())
    });
}

#[test]
fn what_is_cached_is_served_while_the_pd_is_down_and_the_rest_when_it_is_back() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).on("127.81.0.1:0").start();
    let addr = server.addr().to_owned();
    put(&patient(&addr), &[region(1, b"", b"m", 1), region(2, b"m", b"", 1)]);
    let router = Router::new(hasty(&addr, Duration::from_millis(200)));
    // The first call of a busy machine may take longer than a hasty client waits.
    let begun = Instant::now();
    while router.region(b"a").is_err() {
        assert!(begun.elapsed() < HANG);
    }
    server.kill();
    let lookups = router.stats().lookups;
    assert_eq!(id(router.region(b"b")), Some(1));
    let down = router.region(b"n").unwrap_err();
    assert!(matches!(down, Error::Unreachable { .. } | Error::Lost { .. } | Error::TimedOut { .. }), "{down}");
    assert_eq!(id(router.region(b"b")), Some(1));
    assert_eq!(router.stats().lookups, lookups + 1);

    let server = Launch::durable(workdir.path()).on(&addr).start();
    let begun = Instant::now();
    while router.region(b"n").is_err() {
        assert!(begun.elapsed() < HANG);
    }
    assert_eq!((id(router.region(b"n")), id(router.region(b"b"))), (Some(2), Some(1)));
    server.stop();
}

/// A PD that answers each key with one region over all keys, once the test says so.
fn slow_pd(go: oneshot::Receiver<()>) -> Relay {
    let go = go.shared();
    Relay::start("127.0.0.1:0", &PDLITE, None, move |method, request| {
        if method != GET_REGIONS_BY_KEYS {
            let limits = pdlite::ServerLimits { request_bytes: 1 << 16, ..Default::default() };
            return Reply::message(&pdlite::GetStatusResponse { limits: Some(limits).into(), ..Default::default() });
        }
        let request = pdlite::GetRegionsByKeysRequest::parse_from_bytes(request).unwrap();
        let found =
            pd::GetRegionByKeyResponse { region: Some((&region(1, b"", b"", 1)).into()).into(), ..Default::default() };
        let results = vec![found; request.keys.len()];
        let answer = pdlite::GetRegionsByKeysResponse { results, ..Default::default() };
        Reply::AnswerAfter(go.clone(), answer.write_to_bytes().unwrap())
    })
}

#[test]
fn a_crowd_that_misses_one_region_costs_a_slow_pd_one_lookup() {
    const CALLERS: u64 = 64;
    let (go, wait) = oneshot::channel();
    let pd = slow_pd(wait);
    let router = Router::new(patient(pd.addr()));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn({
                    let router = &router;
                    move || id(router.region(&caller.to_be_bytes()))
                })
            })
            .collect();
        let begun = Instant::now();
        while router.stats().misses < CALLERS || pd.calls(GET_REGIONS_BY_KEYS) == 0 {
            assert!(begun.elapsed() < HANG, "{:?}", router.stats());
            thread::yield_now();
        }
        go.send(()).unwrap();
        assert!(callers.into_iter().all(|caller| caller.join().unwrap() == Some(1)));
    });
    assert_eq!(pd.calls(GET_REGIONS_BY_KEYS), 1);
    assert_eq!(router.stats(), RouterStats { hits: 0, misses: CALLERS, lookups: 1 });
}

#[test]
fn a_lookup_that_times_out_fails_and_the_next_one_is_sent_anew() {
    let (go, wait) = oneshot::channel();
    let pd = slow_pd(wait);
    let router = Router::new(hasty(pd.addr(), Duration::from_millis(300)));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| router.region(b"k"))).collect();
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::TimedOut { .. } | Error::Unreachable { .. }), "{error}");
        }
    });
    assert!(router.is_empty());
    go.send(()).unwrap();
    let begun = Instant::now();
    while router.region(b"k").is_err() {
        assert!(begun.elapsed() < HANG);
    }
    assert_eq!(id(router.region(b"k")), Some(1));
}

#[test]
fn configured_regions_are_never_a_route() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("raft_config.json");
    let peers = r#"[{"store_id": 1, "peer_id": 11}]"#;
    let epoch = r#"{"version": 1, "conf_version": 1}"#;
    let text = format!(
        r#"{{"pd": {{"addr": "127.0.0.1:1", "work_dir": "{}"}}, "stores": [{{"store_id": 1, "addr": "127.0.0.1:20160"}}],
        "regions": [{{"id": 1, "start_key": "", "end_key": "m", "epoch": {epoch}, "peers": {peers}, "leader_store_id": 1}},
                    {{"id": 2, "start_key": "m", "end_key": "", "epoch": {epoch}, "peers": {peers}}}]}}"#,
        dir.path().join("pd").display()
    );
    fs::write(&config, text).unwrap();
    let pd = Launch::in_memory().args(["--config", config.to_str().unwrap()]).start();
    let client = patient(pd.addr());
    let router = Router::new(client.clone());
    for key in [&b""[..], b"a", b"m", b"z"] {
        assert_eq!(id(router.region(key)), None, "{key:x?}");
    }
    assert!(router.is_empty());
    put(&client, &[region(2, b"m", b"", 1)]);
    assert_eq!([&b"a"[..], b"z"].map(|key| id(router.region(key))), [None, Some(2)]);
    pd.stop();
}
