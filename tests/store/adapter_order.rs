//! Splits and merges: whatever the order in which the PD hears of their parts, it ends up with the newest regions, and nobody
//! is told of an error. With the real PD, and with one that has no `pdlite.v1`.

use pd_lite::adapter::Adapter;
use pd_lite::core::{Region, RegionId};

use super::adapting::{HANG, NEVER, SOON, Store, Told, eventually, key, patient, region};
use crate::support::{Launch, Relay};

/// Runs a test with a PD of each dialect, and insists that no error was told.
fn with_each_dialect(round: std::time::Duration, test: impl Fn(Adapter, &crate::support::Client)) {
    for is_go in [false, true] {
        let server = Launch::in_memory().start();
        let relay = is_go.then(|| Relay::go_pd(server.addr()));
        let addr = relay.as_ref().map_or(server.addr(), Relay::addr);
        let told = Told::default();
        test(Adapter::start(Some(patient(addr)), told.options(round)), &server.client());
        assert_eq!(told.all(), []);
    }
}

fn known(pd: &crate::support::Client, key: &[u8]) -> Option<Region> {
    pd.lookup(key).unwrap().as_ref().map(Region::from)
}

#[test]
fn splits_and_merges_in_the_order_in_which_they_happen_reach_the_pd() {
    with_each_dialect(NEVER, |adapter, pd| {
        let mut store = Store::new(adapter);
        for number in (1..100).chain(20..120) {
            store.split(&key(number));
            if number % 3 == 0 {
                store.merge(&key(number - 2));
            }
        }
        assert!(store.adapter.flush(HANG));
        assert_eq!(store.adapter.unacknowledged(), 0, "no round is needed");
        store.assert_known(pd);
    });
}

#[test]
fn a_child_that_comes_before_its_parent_shrinks_is_known_right_afterwards() {
    with_each_dialect(NEVER, |adapter, pd| {
        adapter.region_heartbeat(region(1, b"", b"", 1));
        assert!(adapter.flush(HANG));
        adapter.region_heartbeat(region(2, b"m", b"", 2));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"x")), (1, Some(region(1, b"", b"", 1))));
        adapter.region_heartbeat(region(1, b"", b"m", 2));
        assert!(adapter.flush(HANG));
        assert_eq!(adapter.unacknowledged(), 0);
        assert_eq!(known(pd, b""), Some(region(1, b"", b"m", 2)));
        assert_eq!(known(pd, b"x"), Some(region(2, b"m", b"", 2)));
    });
}

#[test]
fn a_region_that_grows_before_the_merged_one_goes_is_known_right_afterwards() {
    with_each_dialect(NEVER, |adapter, pd| {
        adapter.region_heartbeat(region(1, b"", b"m", 1));
        adapter.region_heartbeat(region(2, b"m", b"", 1));
        assert!(adapter.flush(HANG));
        adapter.region_heartbeat(region(1, b"", b"", 2));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"x")), (1, Some(region(2, b"m", b"", 1))));
        adapter.remove_region(RegionId(2));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"x")), (0, Some(region(1, b"", b"", 2))));
    });
}

#[test]
fn regions_that_make_room_for_each_other_in_the_worst_order_heal_without_a_round() {
    const COUNT: u64 = 50;
    with_each_dialect(NEVER, |adapter, pd| {
        for id in 1..=COUNT {
            adapter.region_heartbeat(region(id, &key(id * 10), &key(id * 10 + 10), 1));
        }
        assert!(adapter.flush(HANG));
        // All of them move by a half, the first one first: each is in the way of the one before it.
        for id in 1..=COUNT {
            adapter.region_heartbeat(region(id, &key(id * 10 + 5), &key(id * 10 + 15), 2));
        }
        assert!(adapter.flush(HANG));
        assert_eq!(adapter.unacknowledged(), 0);
        for id in 1..=COUNT {
            let expected = region(id, &key(id * 10 + 5), &key(id * 10 + 15), 2);
            assert_eq!(known(pd, &key(id * 10 + 6)), Some(expected));
        }
    });
}

#[test]
fn a_region_that_another_store_is_in_the_way_of_is_known_in_a_later_round() {
    with_each_dialect(SOON, |adapter, pd| {
        let other = region(1, b"", b"", 1);
        pd.put(&(&other).into()).unwrap();
        adapter.region_heartbeat(region(2, b"m", b"", 2));
        assert!(adapter.flush(HANG));
        assert_eq!(adapter.unacknowledged(), 1);
        pd.put(&(&region(1, b"", b"m", 2)).into()).unwrap();
        eventually("the child is known", || known(pd, b"x") == Some(region(2, b"m", b"", 2)));
        eventually("it is acknowledged", || adapter.unacknowledged() == 0);
    });
}

#[test]
fn a_region_that_another_store_knows_by_a_newer_epoch_stays_refused_until_it_is_newer_or_gone() {
    with_each_dialect(SOON, |adapter, pd| {
        let newer = region(1, b"", b"m", 7);
        pd.put(&(&newer).into()).unwrap();
        adapter.region_heartbeat(region(1, b"", b"", 3));
        adapter.region_heartbeat(region(2, b"m", b"", 3));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"")), (1, Some(newer)));
        adapter.region_heartbeat(region(1, b"", b"l", 8));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"")), (0, Some(region(1, b"", b"l", 8))));
        adapter.remove_region(RegionId(1));
        adapter.region_heartbeat(region(1, b"", b"k", 1));
        assert!(adapter.flush(HANG));
        assert_eq!((adapter.unacknowledged(), known(pd, b"")), (0, Some(region(1, b"", b"k", 1))));
    });
}
