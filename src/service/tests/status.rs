//! Stores with their ages, and what the placement driver tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protobuf::Message;

use super::durable::run;
use super::*;
use crate::service::Clock;
use crate::service::answer::ANSWER_BYTES_MAX;
use crate::storage::tests::faults::ENOSPC;

/// A clock that goes when it is told to, in milliseconds.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn report(pd: &Pd, store_id: u64, numbers: [u64; 4]) {
    let [region_num, leader_num, capacity, available] = numbers;
    let request =
        pb::StoreHeartbeatRequest { store_id, region_num, leader_num, capacity, available, ..Default::default() };
    now(pd.store_heartbeat(&request)).unwrap();
}

fn stores(pd: &Pd, from_store_id: u64) -> pdlite::GetStoresResponse {
    now(pd.get_stores(&pdlite::GetStoresRequest { from_store_id, ..Default::default() })).unwrap()
}

fn status(pd: &Pd) -> pdlite::GetStatusResponse {
    now(pd.get_status(&pdlite::GetStatusRequest::new())).unwrap()
}

#[test]
fn stores_come_by_id_with_their_last_numbers_and_their_age() {
    let clock = Arc::new(HandClock::default());
    let pd = in_memory().with_clock(clock.clone());
    assert_eq!(stores(&pd, 0), pdlite::GetStoresResponse::new());
    clock.0.store(5, Ordering::Relaxed);
    report(&pd, 9, [1, 2, 3, 4]);
    report(&pd, u64::MAX, [5, 6, 7, u64::MAX]);
    clock.0.store(1_005, Ordering::Relaxed);
    report(&pd, 2, [0; 4]);
    report(&pd, 9, [10, 20, 30, 40]);
    clock.0.store(1_007, Ordering::Relaxed);
    let store = |store_id, [region_num, leader_num, capacity, available]: [u64; 4], age_ms| pdlite::StoreInfo {
        store_id,
        region_num,
        leader_num,
        capacity,
        available,
        age_ms,
        ..Default::default()
    };
    let all = [store(2, [0; 4], 2), store(9, [10, 20, 30, 40], 2), store(u64::MAX, [5, 6, 7, u64::MAX], 1_002)];
    let told = stores(&pd, 0);
    assert_eq!(told.stores, all);
    assert!(!told.more);
    assert_eq!(stores(&pd, 9).stores, all[1..]);
    assert_eq!(stores(&pd, 10).stores, all[2..]);
}

#[test]
fn a_clock_that_goes_back_makes_no_store_younger_than_new() {
    let clock = Arc::new(HandClock(AtomicU64::new(100)));
    let pd = in_memory().with_clock(clock.clone());
    report(&pd, 1, [0; 4]);
    clock.0.store(50, Ordering::Relaxed);
    assert_eq!(stores(&pd, 0).stores[0].age_ms, 0);
}

#[test]
fn more_stores_than_one_answer_holds_come_in_several() {
    let pd = in_memory();
    let max = u64::MAX;
    let ids = || (0..40_000).map(|n| max - 2 * n);
    ids().for_each(|id| report(&pd, id, [max, 0, max, max]));
    let first = stores(&pd, 0);
    assert!(first.more);
    assert_eq!(first.stores.len(), 32_768);
    let bytes = usize::try_from(first.compute_size()).unwrap();
    // The longest age takes 9 bytes more than a short one.
    assert!(bytes + 9 * first.stores.len() <= ANSWER_BYTES_MAX, "{bytes}");
    let rest = stores(&pd, first.stores.last().unwrap().store_id + 1);
    assert!(!rest.more);
    let told: Vec<u64> = first.stores.iter().chain(&rest.stores).rev().map(|store| store.store_id).collect();
    assert!(told.into_iter().eq(ids()));
}

#[test]
fn status_tells_counts_last_values_and_limits() {
    let pd = Pd::in_memory(
        state(Limits { ids: 7, timestamps: 0 }),
        RequestLimits { key_bytes_max: 11, peers_max: 12, count_max: 13 },
    );
    let mut expected = pdlite::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        last_id: 7,
        durability: pdlite::Durability::DURABILITY_MEMORY.into(),
        limits: Some(pdlite::ServerLimits {
            key_bytes: 11,
            peers: 12,
            count: 13,
            scan_regions: 1024,
            ..Default::default()
        })
        .into(),
        ..Default::default()
    };
    assert_eq!(status(&pd), expected);
    now(pd.region_heartbeat(&heartbeat(1, "", "k", (1, 1)))).unwrap();
    now(pd.region_heartbeat(&heartbeat(2, "k", "", (1, 1)))).unwrap();
    now(pd.remove_region(&removal(1))).unwrap();
    report(&pd, 3, [0; 4]);
    report(&pd, 4, [0; 4]);
    now(pd.alloc_id(&ids(3))).unwrap();
    now(pd.tso(&timestamps(13))).unwrap();
    (expected.regions, expected.stores, expected.last_id, expected.last_timestamp) = (1, 2, 10, 13);
    assert_eq!(status(&pd), expected);
}

#[test]
fn durability_is_the_disk_s_and_follows_its_space() {
    use pdlite::Durability::{DURABILITY_DISK, DURABILITY_NO_SPACE};
    let unattached = Pd::durable(state(Limits::default()), RequestLimits::default());
    assert_eq!(status(&unattached).durability, DURABILITY_DISK.into());

    let running = run();
    assert_eq!(status(&running.pd).durability, DURABILITY_DISK.into());
    running.fail_writes(ENOSPC);
    assert_eq!(status(&running.pd).durability, DURABILITY_DISK.into(), "nobody knows yet");
    assert_eq!(wait(running.pd.region_heartbeat(&heartbeat(1, "", "", (1, 1)))), Err(Error::NoSpace));
    assert_eq!(status(&running.pd).durability, DURABILITY_NO_SPACE.into());
    assert_eq!(status(&running.pd).regions, 0);
    running.heal();
    assert!(wait(running.pd.region_heartbeat(&heartbeat(1, "", "", (1, 1)))).is_ok());
    assert_eq!(status(&running.pd).durability, DURABILITY_DISK.into());
    assert_eq!(status(&running.pd).regions, 1);
}
