//! All calls against the real PD: with `pdlite.v1` and without it they give the same, also across a kill -9.

use std::thread;
use std::time::Duration;

use pd_lite::client::{Client, Error, Refusal};
use pd_lite::core::{PeerId, Region, RegionId, StoreId, StoreStats};

use super::{hasty, patient, region};
use crate::support::rng::Rng;
use crate::support::{Launch, Relay};

/// What a heartbeat ended with, without texts.
fn kinds(verdicts: Vec<Result<(), Error>>) -> Vec<Result<(), Refusal>> {
    let kind = |error| match error {
        Error::Refused { refusal, .. } => refusal,
        other => panic!("{other}"),
    };
    verdicts.into_iter().map(|verdict| verdict.map_err(kind)).collect()
}

/// A region that touches, covers or equals others of its kind, or is refused for what it is.
fn any_region(rng: &mut Rng) -> Region {
    let start = rng.below(40);
    let end = start + rng.below(4);
    let key = |at: u64| if at == 0 || at >= 40 { vec![] } else { format!("{at:02}").into_bytes() };
    region(rng.below(30), &key(start), &key(end), rng.below(4))
}

#[test]
fn both_dialects_give_the_same() {
    let (pds, mut rng) = ([Launch::in_memory().start(), Launch::in_memory().start()], Rng::new(7));
    let relay = Relay::go_pd(pds[1].addr());
    let clients = [patient(pds[0].addr()), patient(relay.addr())];
    let both = |call: &dyn Fn(&Client) -> String| {
        let [with, without] = clients.each_ref().map(call);
        assert_eq!(with, without);
    };
    let (mut accepted, mut scanned) = (0, 0);
    for _ in 0..200 {
        let regions: Vec<Region> = (0..rng.below(20)).map(|_| any_region(&mut rng)).collect();
        let [with, without] = clients.each_ref().map(|client| kinds(client.region_heartbeats(&regions)));
        assert_eq!(with, without);
        accepted += with.iter().filter(|verdict| verdict.is_ok()).count();
        for removed in [1 + rng.below(30), 1 + rng.below(30)].map(RegionId) {
            both(&|client| format!("{:?}", client.remove_region(removed)));
        }
        let keys: Vec<String> = (0..40).map(|at| format!("{at:02}x")).collect();
        both(&|client| format!("{:?}", client.regions_by_keys(&keys).unwrap()));
        let (start, end, limit) =
            (format!("{:02}", rng.below(20)), format!("{:02}", 20 + rng.below(20)), 1 + rng.below(9));
        let scans = clients
            .each_ref()
            .map(|client| client.scan_regions(start.as_bytes(), end.as_bytes(), usize::try_from(limit).unwrap()));
        if !matches!(&scans[1], Err(Error::Unsupported { .. })) {
            assert_eq!(scans[0], scans[1]);
            scanned += scans[0].as_ref().unwrap().len();
        }
    }
    assert!(accepted > 200 && scanned > 20, "{accepted}, {scanned}");
    both(&|client| format!("{:?}", client.alloc_id(3).unwrap()));
}

#[test]
fn a_store_gets_the_pds_hints() {
    let pd = Launch::in_memory().start();
    let client = patient(pd.addr());
    client.region_heartbeat(&region(7, b"", b"", 1)).unwrap();
    let stats = |leader_num| StoreStats { region_num: 9, leader_num, capacity: 100, available: 50 };
    assert!(client.store_heartbeat(StoreId(2), stats(0)).unwrap().is_empty());
    let hints = client.store_heartbeat(StoreId(1), stats(5)).unwrap();
    assert_eq!((hints.len(), hints[0].region_id), (1, RegionId(7)));
    assert_eq!((hints[0].source_peer_id, hints[0].target_peer_id), (PeerId(71), PeerId(72)));
    let error = client.store_heartbeat(StoreId(0), stats(1)).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::InvalidArgument, .. }), "{error}");
    assert!(client.remove_region(RegionId(7)).unwrap() && !client.remove_region(RegionId(7)).unwrap());
}

/// `count` regions side by side.
fn row(count: u64) -> Vec<Region> {
    let key = |at: u64| format!("{at:06}").into_bytes();
    (1..=count).map(|id| region(id, &key(id), &key(id + 1), 1)).collect()
}

#[test]
fn verdicts_hold_across_a_kill() {
    // So many that the kill comes before the end, one call each or many.
    for (with_pdlite, count) in [(true, 200_000), (false, 20_000)] {
        let workdir = tempfile::tempdir().unwrap();
        let pd = Launch::durable(workdir.path()).on("127.79.2.1:0").start();
        let pd_addr = pd.addr().to_owned();
        let relay = (!with_pdlite).then(|| Relay::go_pd(&pd_addr));
        let addr = relay.as_ref().map_or(pd_addr.as_str(), Relay::addr).to_owned();
        let (client, regions) = (hasty(&addr, Duration::from_secs(5)), row(count));
        let verdicts = thread::scope(|scope| {
            let caller = scope.spawn(|| client.region_heartbeats(&regions));
            let watcher = patient(&pd_addr);
            // By then the first messages have been answered.
            let far = usize::try_from(count / 40).unwrap();
            while watcher.region_by_key(regions[far].start_key()).unwrap().is_none() {}
            pd.kill();
            caller.join().unwrap()
        });
        let pd = Launch::durable(workdir.path()).on(&pd_addr).start();
        let keys: Vec<&[u8]> = regions.iter().map(Region::start_key).collect();
        let found = patient(&pd_addr).regions_by_keys(&keys).unwrap();
        let mut counts = [0; 3];
        for ((region, verdict), found) in regions.iter().zip(&verdicts).zip(found) {
            let (kind, is_there) = match verdict {
                Ok(()) => (0, true),
                Err(Error::Lost { .. } | Error::TimedOut { .. }) => (1, found.is_some()),
                // The kill came between two messages, or before.
                Err(Error::Unreachable { .. } | Error::NotSent { .. }) => (2, false),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found.as_ref(), is_there.then_some(region), "{verdict:?}");
            counts[kind] += 1;
        }
        assert!(counts[0] > 0 && counts[2] > 0, "{counts:?}");
        pd.stop();
    }
}
