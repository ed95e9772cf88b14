//! A placement driver without a disk: every call is answered at once.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::core::{Epoch, Kind, RegionId};

#[test]
fn id_zero_and_an_absent_region_are_refused() {
    let pd = in_memory();
    assert_eq!(now(pd.store_heartbeat(&pb::StoreHeartbeatRequest::new())), Err(Error::StoreIdZero));
    assert_eq!(now(pd.region_heartbeat(&pb::RegionHeartbeatRequest::new())), Err(Error::RegionAbsent));
    assert_eq!(now(pd.region_heartbeat(&heartbeat(0, "", "", (1, 1)))), Err(Error::RegionIdZero));
    assert_eq!(now(pd.remove_region(&removal(0))), Err(Error::RegionIdZero));
}

#[test]
fn a_region_comes_back_as_it_was_sent_until_it_is_removed() {
    let pd = in_memory();
    let mut sent = heartbeat(7, "d", "m\0", (3, 0));
    sent.region.as_mut().unwrap().peers = peers(&[(9, 0), (1, 11), (9, 0), (1, u64::MAX)]);
    assert!(now(pd.region_heartbeat(&sent)).unwrap().accepted);
    assert_eq!(lookup(&pd, b"d"), sent.region.clone().into_option());
    assert_eq!(lookup(&pd, b"m"), sent.region.clone().into_option());
    for key in [&b""[..], b"c", b"m\0", &[0xff; 65_000]] {
        assert_eq!(lookup(&pd, key), None);
    }
    assert!(now(pd.remove_region(&removal(7))).unwrap().removed);
    assert!(!now(pd.remove_region(&removal(7))).unwrap().removed);
    assert_eq!(lookup(&pd, b"d"), None);
    assert!(now(pd.region_heartbeat(&heartbeat(7, "", "", (0, 0)))).unwrap().accepted, "its epoch is forgotten");
}

#[test]
fn a_key_longer_than_any_border_finds_its_region() {
    let pd = in_memory();
    now(pd.region_heartbeat(&heartbeat(1, "k", "", (1, 1)))).unwrap();
    assert_eq!(lookup(&pd, &[b'k'; 65_000]).unwrap().id, 1);
}

#[test]
fn a_stale_epoch_is_told_before_an_overlap_and_changes_nothing() {
    let pd = in_memory();
    now(pd.region_heartbeat(&heartbeat(1, "d", "m", (5, 5)))).unwrap();
    now(pd.region_heartbeat(&heartbeat(2, "m", "z", (1, 1)))).unwrap();
    let epoch = |version, conf_version| Epoch { version, conf_version };
    let stale = Error::Stale { region: RegionId(1), current: epoch(5, 5), incoming: epoch(4, 900) };
    assert_eq!(now(pd.region_heartbeat(&heartbeat(1, "d", "z", (4, 900)))), Err(stale));
    let overlap = Error::Overlap {
        region: RegionId(1),
        range: "[d,z)".into(),
        with: RegionId(2),
        with_range: Some("[m,z)".into()),
    };
    assert_eq!(now(pd.region_heartbeat(&heartbeat(1, "d", "z", (6, 0)))), Err(overlap));
    assert_eq!(lookup(&pd, b"d").unwrap().epoch_version, 5);
}

#[test]
fn the_busiest_store_is_told_to_move_a_leader() {
    let pd = in_memory();
    now(pd.region_heartbeat(&heartbeat(3, "", "", (1, 1)))).unwrap();
    let mut hints = Vec::new();
    for (store_id, leader_num) in [(2, 0), (1, 2)] {
        let request = pb::StoreHeartbeatRequest { store_id, leader_num, ..Default::default() };
        let answer = now(pd.store_heartbeat(&request)).unwrap();
        assert!(answer.accepted);
        hints.push(answer.operations);
    }
    let hint = pb::SchedulerOperation {
        type_: pb::SchedulerOperationType::SCHEDULER_OPERATION_TYPE_LEADER_TRANSFER.into(),
        region_id: 3,
        source_peer_id: 31,
        target_peer_id: 32,
        ..Default::default()
    };
    assert_eq!(hints, [vec![], vec![hint]]);
}

#[test]
fn counters_are_independent_and_a_count_of_zero_is_one() {
    let pd = in_memory();
    let id = |count| now(pd.alloc_id(&ids(count))).map(|answer| (answer.first_id, answer.count)).unwrap();
    let timestamp = |count| now(pd.tso(&timestamps(count))).map(|answer| (answer.timestamp, answer.count)).unwrap();
    assert_eq!([id(0), id(5), id(1)], [(1, 1), (2, 5), (7, 1)]);
    assert_eq!([timestamp(1 << 20), timestamp(0)], [(1, 1 << 20), ((1 << 20) + 1, 1)]);
    let too_large = Error::CountTooLarge { count: (1 << 20) + 1, max: 1 << 20 };
    assert_eq!(now(pd.tso(&timestamps((1 << 20) + 1))), Err(too_large));
}

#[test]
fn at_the_end_of_the_64_bits_a_counter_stays_where_it_is() {
    let near_end = Limits { ids: u64::MAX - 3, timestamps: u64::MAX };
    let pd = Pd::in_memory(state(near_end), RequestLimits::default());
    let exhausted = |kind, count, left| Err(Error::Exhausted { kind, count, left });
    assert_eq!(now(pd.alloc_id(&ids(4))).map(drop), exhausted(Kind::Id, 4, 3));
    assert_eq!(now(pd.alloc_id(&ids(3))).unwrap().first_id, u64::MAX - 2);
    assert_eq!(now(pd.alloc_id(&ids(0))).map(drop), exhausted(Kind::Id, 1, 0));
    assert_eq!(now(pd.tso(&timestamps(1))).map(drop), exhausted(Kind::Timestamp, 1, 0));
}

#[test]
fn a_lock_that_saw_a_panic_ends_the_placement_driver() {
    let state = state(Limits::default());
    let pd = Pd::in_memory(Arc::clone(&state), RequestLimits::default());
    assert!(now(pd.tso(&timestamps(1))).is_ok());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _half_done = state.cluster.lock();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(now(pd.remove_region(&removal(1))).map(drop), Err(Error::Broken));
    assert_eq!(
        now(pd.tso(&timestamps(1))).map(drop),
        Err(Error::Broken),
        "its lock is whole, but nothing is served now"
    );
}

#[test]
fn a_stopped_placement_driver_refuses_every_call() {
    let pd = in_memory();
    pd.stop().unwrap();
    assert_eq!(now(pd.tso(&timestamps(1))).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.alloc_id(&ids(1))).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.store_heartbeat(&pb::StoreHeartbeatRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.region_heartbeat(&heartbeat(1, "", "", (1, 1)))).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.remove_region(&removal(1))).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.get_region_by_key(&pb::GetRegionByKeyRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.region_heartbeats(&pdlite::RegionHeartbeatsRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.get_regions_by_keys(&pdlite::GetRegionsByKeysRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.scan_regions(&pdlite::ScanRegionsRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.get_stores(&pdlite::GetStoresRequest::new())).map(drop), Err(Error::Stopped));
    assert_eq!(now(pd.get_status(&pdlite::GetStatusRequest::new())).map(drop), Err(Error::Stopped));
    pd.stop().unwrap();
}
