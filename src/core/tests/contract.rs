//! The epoch and overlap tables and the planning rules of the contract, row by row.

use std::sync::Arc;
use std::time::Duration;

use super::region;
use crate::core::{Cluster, LeaderTransfer, Overlap, PeerId, Refusal, RegionId, StoreId, StoreStats, Verdict};

type Range = (&'static str, &'static str);

fn cluster(regions: &[(u64, Range)]) -> Cluster {
    let mut cluster = Cluster::default();
    for &(id, range) in regions {
        put(&mut cluster, id, range, (5, 5)).unwrap();
    }
    cluster
}

fn put(cluster: &mut Cluster, id: u64, range: Range, epoch: (u64, u64)) -> Result<Verdict, Refusal> {
    let region = region(id, range, epoch, &[(1, 10 * id)]);
    let verdict = cluster.judge(&region)?;
    cluster.put(region);
    cluster.check_invariants();
    Ok(verdict)
}

fn overlap(region: u64, with: u64) -> Result<Verdict, Refusal> {
    Err(Refusal::Overlap(Overlap { region: RegionId(region), with: RegionId(with) }))
}

fn found(cluster: &Cluster, key: &str) -> Option<u64> {
    cluster.region_by_key(key.as_bytes()).map(|region| region.id().0)
}

#[test]
fn an_epoch_is_stale_when_it_is_lower_version_first() {
    for epoch in [(5, 4), (4, 5), (4, 900), (0, 0)] {
        let mut cluster = cluster(&[(1, ("d", "m"))]);
        let refusal = put(&mut cluster, 1, ("d", "m"), epoch).unwrap_err();
        assert!(matches!(refusal, Refusal::Stale { region: RegionId(1), .. }), "{epoch:?}: {refusal:?}");
    }
    for epoch in [(5, 6), (6, 0), (u64::MAX, 0)] {
        assert_eq!(put(&mut cluster(&[(1, ("d", "m"))]), 1, ("d", "m"), epoch), Ok(Verdict::Changed), "{epoch:?}");
    }
}

#[test]
fn an_equal_epoch_is_accepted_and_unchanged_only_when_everything_is_equal() {
    let there = region(1, ("d", "m"), (5, 5), &[(1, 10), (2, 20)]);
    let mut cluster = Cluster::default();
    cluster.put(there.clone());
    assert_eq!(cluster.judge(&there), Ok(Verdict::Unchanged));
    for other in [
        region(1, ("d", "n"), (5, 5), &[(1, 10), (2, 20)]),
        region(1, ("c", "m"), (5, 5), &[(1, 10), (2, 20)]),
        region(1, ("dm", ""), (5, 5), &[(1, 10), (2, 20)]),
        region(1, ("d", "m"), (5, 5), &[(2, 20), (1, 10)]),
        region(1, ("d", "m"), (5, 5), &[]),
        region(1, ("d", "m"), (5, 6), &[(1, 10), (2, 20)]),
    ] {
        assert_eq!(cluster.judge(&other), Ok(Verdict::Changed), "{other:?}");
    }
}

#[test]
fn a_removal_leaves_no_tombstone() {
    let mut cluster = cluster(&[(1, ("d", "m"))]);
    assert!(cluster.remove(RegionId(1)));
    assert!(!cluster.remove(RegionId(1)));
    assert_eq!(put(&mut cluster, 1, ("d", "m"), (0, 0)), Ok(Verdict::Changed));
}

#[test]
fn stale_comes_before_overlap() {
    let mut cluster = cluster(&[(1, ("d", "m")), (2, ("m", "p"))]);
    assert!(matches!(put(&mut cluster, 1, ("d", "n"), (4, 0)), Err(Refusal::Stale { .. })));
}

#[test]
fn ranges_that_touch_are_free_and_ranges_that_share_a_key_are_refused() {
    for range in [("m", "n"), ("m", ""), ("c", "d"), ("", "d")] {
        assert_eq!(put(&mut cluster(&[(1, ("d", "m"))]), 2, range, (1, 1)), Ok(Verdict::Changed), "{range:?}");
    }
    let sharing = [
        ("d", "m"),
        ("e", "f"),
        ("d", "e"),
        ("l", "m"),
        ("c", "e"),
        ("l", "n"),
        ("c", "n"),
        ("", "e"),
        ("l", ""),
        ("", ""),
        ("c", "d\0"),
    ];
    for range in sharing {
        assert_eq!(put(&mut cluster(&[(1, ("d", "m"))]), 2, range, (9, 9)), overlap(2, 1), "{range:?}");
    }
}

#[test]
fn a_region_may_grow_shrink_and_move_over_its_own_old_range() {
    for range in [("a", "z"), ("x", "y"), ("e", "f"), ("c", "e"), ("l", "")] {
        let mut cluster = cluster(&[(1, ("d", "m"))]);
        assert_eq!(put(&mut cluster, 1, range, (5, 5)), Ok(Verdict::Changed), "{range:?}");
        assert_eq!(found(&cluster, range.0), Some(1));
    }
}

#[test]
fn a_region_may_not_grow_into_its_neighbours() {
    let mut cluster = cluster(&[(1, ("d", "m")), (2, ("m", "p")), (3, ("a", "c"))]);
    assert_eq!(put(&mut cluster, 1, ("d", "n"), (6, 6)), overlap(1, 2));
    assert_eq!(put(&mut cluster, 1, ("a", "m"), (6, 6)), overlap(1, 3));
    assert_eq!(put(&mut cluster, 1, ("bb", "e"), (6, 6)), overlap(1, 3));
    assert_eq!(put(&mut cluster, 3, ("d", "e"), (6, 6)), overlap(3, 1));
    let kept = cluster.region(RegionId(1)).unwrap();
    assert_eq!((kept.start_key(), kept.end_key(), kept.epoch().version), (&b"d"[..], &b"m"[..], 5));
}

#[test]
fn a_split_is_taken_parent_first() {
    let mut cluster = cluster(&[(1, ("", ""))]);
    assert_eq!(put(&mut cluster, 2, ("m", ""), (6, 5)), overlap(2, 1));
    assert_eq!(put(&mut cluster, 1, ("", "m"), (6, 5)), Ok(Verdict::Changed));
    assert_eq!((found(&cluster, ""), found(&cluster, "m")), (Some(1), None));
    assert_eq!(put(&mut cluster, 2, ("m", ""), (6, 5)), Ok(Verdict::Changed));
    assert_eq!((found(&cluster, "lzz"), found(&cluster, "m")), (Some(1), Some(2)));
}

#[test]
fn a_merge_is_taken_after_the_removal() {
    let mut cluster = cluster(&[(1, ("", "m")), (2, ("m", ""))]);
    assert_eq!(put(&mut cluster, 1, ("", ""), (6, 5)), overlap(1, 2));
    assert!(cluster.remove(RegionId(2)));
    assert_eq!(found(&cluster, "m"), None);
    assert_eq!(put(&mut cluster, 1, ("", ""), (6, 5)), Ok(Verdict::Changed));
    assert_eq!(found(&cluster, "m"), Some(1));
}

#[test]
fn an_overlap_in_a_snapshot_is_reported() {
    let regions = [(1, ("", "d")), (2, ("m", "")), (3, ("c", "e"))];
    let regions = regions.map(|(id, range)| Arc::new(region(id, range, (1, 1), &[])));
    assert_eq!(Cluster::restore(regions.to_vec()).err(), Some(Overlap { region: RegionId(3), with: RegionId(1) }));
}

#[test]
fn edits_of_a_region_are_counted() {
    let mut cluster = Cluster::default();
    cluster.begin_edit(RegionId(7));
    cluster.begin_edit(RegionId(7));
    cluster.end_edit(RegionId(7));
    assert!(cluster.is_being_edited(RegionId(7)));
    cluster.end_edit(RegionId(7));
    assert!(!cluster.is_being_edited(RegionId(7)));
}

/// Stores 1.. with these leaders, all but the first heard before it; the hint that store 1 gets.
fn hint(cluster: &mut Cluster, leaders: &[u64]) -> Option<LeaderTransfer> {
    let stats = |leader_num| StoreStats { leader_num, ..StoreStats::default() };
    for (id, &leader_num) in (2..).zip(&leaders[1..]) {
        cluster.store_heartbeat(StoreId(id), stats(leader_num), Duration::ZERO);
    }
    cluster.store_heartbeat(StoreId(1), stats(leaders[0]), Duration::ZERO)
}

fn transfer(region: u64, source: u64, target: u64) -> Option<LeaderTransfer> {
    let (source_peer_id, target_peer_id) = (PeerId(source), PeerId(target));
    Some(LeaderTransfer { region_id: RegionId(region), source_peer_id, target_peer_id })
}

#[test]
fn a_skew_of_two_leaders_is_enough_and_one_is_not() {
    let mut cluster = Cluster::default();
    cluster.put(region(4, ("", ""), (1, 1), &[(1, 41), (2, 42)]));
    assert_eq!(hint(&mut cluster, &[9]), None);
    assert_eq!(hint(&mut cluster, &[9, 9]), None);
    assert_eq!(hint(&mut cluster, &[9, 8]), None);
    assert_eq!(hint(&mut cluster, &[9, 7]), transfer(4, 41, 42));
    assert_eq!(hint(&mut cluster, &[u64::MAX, 0]), transfer(4, 41, 42));
    assert_eq!(hint(&mut cluster, &[7, 9]), None);
}

#[test]
fn ties_go_to_the_lowest_store_id_and_no_other_target_is_tried() {
    let mut cluster = Cluster::default();
    cluster.put(region(4, ("", ""), (1, 1), &[(1, 41), (3, 43)]));
    assert_eq!(hint(&mut cluster, &[9, 9, 7]), transfer(4, 41, 43));
    assert_eq!(hint(&mut cluster, &[9, 7, 7]), None);
    cluster.put(region(4, ("", ""), (1, 1), &[(1, 41), (3, 43), (2, 42)]));
    assert_eq!(hint(&mut cluster, &[9, 7, 7]), transfer(4, 41, 42));
}

#[test]
fn a_region_whose_first_peer_is_on_the_source_comes_first() {
    let mut cluster = Cluster::default();
    cluster.put(region(1, ("", "a"), (1, 1), &[(2, 12), (1, 11)]));
    assert_eq!(hint(&mut cluster, &[9, 0]), transfer(1, 11, 12));
    cluster.put(region(7, ("a", "b"), (1, 1), &[(1, 71), (2, 72)]));
    assert_eq!(hint(&mut cluster, &[9, 0]), transfer(7, 71, 72));
    cluster.put(region(5, ("b", "c"), (1, 1), &[(1, 51), (2, 52)]));
    assert_eq!(hint(&mut cluster, &[9, 0]), transfer(5, 51, 52));
    cluster.remove(RegionId(5));
    assert_eq!(hint(&mut cluster, &[9, 0]), transfer(7, 71, 72));
    cluster.put(region(7, ("a", "b"), (1, 1), &[(2, 72), (1, 71)]));
    assert_eq!(hint(&mut cluster, &[9, 0]), transfer(1, 11, 12));
}

#[test]
fn peers_without_an_id_doubles_and_equal_ids_are_odd_but_legal() {
    for (peers, expected) in [
        (&[(1, 0), (1, 5), (2, 0), (2, 6), (2, 7)][..], transfer(1, 5, 6)),
        (&[(1, 0), (2, 6)], None),
        (&[(1, 5), (2, 5)], None),
        (&[(1, 5), (2, 5), (2, 6)], None),
        (&[(1, 5)], None),
        (&[], None),
    ] {
        let mut cluster = Cluster::default();
        cluster.put(region(1, ("", ""), (1, 1), peers));
        assert_eq!(hint(&mut cluster, &[9, 0]), expected, "{peers:?}");
        cluster.check_invariants();
    }
}

#[test]
fn no_more_than_a_bounded_number_of_pairs_is_remembered() {
    let mut cluster = Cluster::default();
    for id in 1..=100 {
        let peers = [(1, id), (id + 1, 1000 + id)];
        let (start, end) = (format!("{id:03}"), format!("{:03}", id + 1));
        cluster.put(region(id, (&start, &end), (1, 1), &peers));
    }
    let stats = |leader_num| StoreStats { leader_num, ..StoreStats::default() };
    for id in 2..=101 {
        cluster.store_heartbeat(StoreId(id), stats(200), Duration::ZERO);
    }
    for id in 2..=101 {
        cluster.store_heartbeat(StoreId(id), stats(200 - id), Duration::ZERO);
        let hint = cluster.store_heartbeat(StoreId(1), stats(900), Duration::ZERO);
        assert_eq!(hint, transfer(id - 1, id - 1, 999 + id));
        cluster.check_invariants();
    }
}
