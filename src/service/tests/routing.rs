//! Lookups of many keys, and scans: borders, gaps, limits, and answers that get too long.

use protobuf::Message;

use super::*;
use crate::service::answer::ANSWER_BYTES_MAX;
use crate::service::routing::SCAN_REGIONS_MAX;

fn keys(keys: &[&[u8]]) -> pdlite::GetRegionsByKeysRequest {
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    pdlite::GetRegionsByKeysRequest { keys, ..Default::default() }
}

fn scan(start: &[u8], end: &[u8], limit: u32) -> pdlite::ScanRegionsRequest {
    pdlite::ScanRegionsRequest { start_key: start.into(), end_key: end.into(), limit, ..Default::default() }
}

/// The ids of a scan's regions, and whether there are more.
fn ids_of(pd: &Pd, start: &str, end: &str, limit: u32) -> (Vec<u64>, bool) {
    let answer = now(pd.scan_regions(&scan(start.as_bytes(), end.as_bytes(), limit))).unwrap();
    (answer.regions.iter().map(|region| region.id).collect(), answer.more)
}

/// [-,d) is 4, [d,m) is 2, nothing holds [m,p), [p,t) is 9, [t,-) is 1.
fn with_a_gap() -> Pd {
    let pd = in_memory();
    for (id, start, end) in [(4, "", "d"), (2, "d", "m"), (9, "p", "t"), (1, "t", "")] {
        now(pd.region_heartbeat(&heartbeat(id, start, end, (1, 1)))).unwrap();
    }
    pd
}

/// Regions 1 to `count`, in key order, with long keys and many peers.
fn with_long_regions(count: u64) -> Pd {
    let pd = in_memory();
    for id in 1..=count {
        let key = |id: u64| format!("{id:04096}");
        let mut region = heartbeat(id, &key(id), &key(id + 1), (u64::MAX, u64::MAX));
        region.region.as_mut().unwrap().peers = peers(&[(u64::MAX, u64::MAX); 64]);
        now(pd.region_heartbeat(&region)).unwrap();
    }
    pd
}

fn len(answer: &impl Message) -> usize {
    usize::try_from(answer.compute_size()).unwrap()
}

#[test]
fn many_keys_are_answered_like_one_after_the_other() {
    let pd = with_a_gap();
    let asked: Vec<&[u8]> = vec![b"", b"d", b"m", b"l\xff", b"o", b"p", b"p", b"t\0", b"", &[0xff; 65_000], b"c"];
    let answer = now(pd.get_regions_by_keys(&keys(&asked))).unwrap();
    assert_eq!(answer.results.len(), asked.len());
    for (key, answer) in asked.iter().zip(answer.results) {
        assert_eq!(answer.not_found, answer.region.is_none());
        assert_eq!(answer.region.into_option(), lookup(&pd, key));
    }
    assert!(now(pd.get_regions_by_keys(&keys(&[]))).unwrap().results.is_empty());
    let many: Vec<Vec<u8>> = (0..1000).map(|n| vec![u8::try_from(n % 251).unwrap()]).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let answer = now(pd.get_regions_by_keys(&keys(&many))).unwrap();
    assert!(many.iter().zip(&answer.results).all(|(key, found)| found.region.as_ref() == lookup(&pd, key).as_ref()));
    assert_eq!(answer.results.len(), 1000);
}

#[test]
fn a_lookup_of_many_keys_stops_where_the_answer_would_get_too_long() {
    let pd = with_long_regions(2);
    let key = format!("{:04096}", 2);
    let mut left = 1000;
    let mut answers = Vec::new();
    while left > 0 {
        let answer = now(pd.get_regions_by_keys(&keys(&vec![key.as_bytes(); left]))).unwrap();
        assert!((1..=left).contains(&answer.results.len()));
        assert!(len(&answer) <= ANSWER_BYTES_MAX);
        assert!(answer.results.iter().all(|found| found.region.id == 2));
        left -= answer.results.len();
        answers.push(len(&answer));
    }
    assert!(answers.len() > 1);
    assert!(answers[0] > ANSWER_BYTES_MAX - 2 * 10_000, "the room is used: {answers:?}");
}

#[test]
fn a_scan_begins_with_the_region_that_holds_its_start_and_passes_over_gaps() {
    let pd = with_a_gap();
    for (start, end, expected) in [
        ("", "", vec![4, 2, 9, 1]),
        ("", "d", vec![4]),
        ("", "d\0", vec![4, 2]),
        ("c", "e", vec![4, 2]),
        ("d", "m", vec![2]),
        ("l", "p", vec![2]),
        ("m", "p", vec![]),
        ("m", "p\0", vec![9]),
        ("n", "", vec![9, 1]),
        ("zzz", "", vec![1]),
        ("zzz", "zzzz", vec![1]),
    ] {
        assert_eq!(ids_of(&pd, start, end, 0), (expected, false), "[{start},{end})");
    }
    assert_eq!(ids_of(&in_memory(), "", "", 0), (vec![], false));
    let whole = now(pd.scan_regions(&scan(b"e", b"f", 1))).unwrap();
    assert_eq!(whole.regions, [lookup(&pd, b"e").unwrap()]);
}

#[test]
fn a_limit_is_kept_and_more_tells_whether_anything_was_left_out() {
    let pd = with_a_gap();
    assert_eq!(ids_of(&pd, "", "", 1), (vec![4], true));
    assert_eq!(ids_of(&pd, "", "", 3), (vec![4, 2, 9], true));
    assert_eq!(ids_of(&pd, "", "", 4), (vec![4, 2, 9, 1], false));
    assert_eq!(ids_of(&pd, "", "t", 3), (vec![4, 2, 9], false), "the next one is beyond the end");
    assert_eq!(ids_of(&pd, "d", "p", 1), (vec![2], false), "only a gap is left");
    assert_eq!(ids_of(&pd, "", "", u32::MAX), (vec![4, 2, 9, 1], false));
}

#[test]
fn a_scan_can_go_on_from_the_end_of_its_last_region() {
    let pd = in_memory();
    let count = u64::try_from(SCAN_REGIONS_MAX).unwrap() * 2;
    for id in 1..=count {
        now(pd.region_heartbeat(&heartbeat(id, &format!("{id:05}"), &format!("{:05}", id + 1), (1, 1)))).unwrap();
    }
    for (limit, answers) in [(0, 2), (1024, 2), (1025, 2), (u32::MAX, 2), (1000, 3), (1, 2048)] {
        let (mut start, mut told, mut asked) = (Vec::new(), Vec::new(), 0);
        loop {
            let answer = now(pd.scan_regions(&scan(&start, b"", limit))).unwrap();
            told.extend(answer.regions.iter().map(|region| region.id));
            asked += 1;
            if !answer.more {
                break;
            }
            start = answer.regions.last().unwrap().end_key.clone();
        }
        assert!(told.into_iter().eq(1..=count));
        assert_eq!(asked, answers, "{limit}");
    }
}

#[test]
fn a_scan_stops_where_the_answer_would_get_too_long() {
    let pd = with_long_regions(900);
    let first = now(pd.scan_regions(&scan(b"", b"", 0))).unwrap();
    assert!(first.more);
    assert!(len(&first) <= ANSWER_BYTES_MAX);
    assert!(len(&first) > ANSWER_BYTES_MAX - 2 * 10_000, "the room is used");
    let rest = now(pd.scan_regions(&scan(&first.regions.last().unwrap().end_key, b"", 0))).unwrap();
    assert_eq!(rest.regions[0].id, first.regions.last().unwrap().id + 1);
}

#[test]
fn a_region_that_is_longer_than_any_answer_is_told_alone() {
    let state = state(Limits::default());
    let key = |first: u8| [&[first][..], &vec![b'k'; 5 << 20]].concat();
    for (id, start, end) in [(1, vec![], key(b'a')), (2, key(b'a'), key(b'b')), (3, key(b'b'), vec![])] {
        let meta = pb::RegionMeta { id, start_key: start, end_key: end, ..Default::default() };
        state.cluster.lock().unwrap().put((&meta).into());
    }
    let pd = Pd::in_memory(state, RequestLimits::default());
    assert_eq!(ids_of(&pd, "", "", 0), (vec![1], true));
    assert_eq!(ids_of(&pd, "b", "", 0), (vec![2], true));
    assert_eq!(now(pd.get_regions_by_keys(&keys(&[b"b", b"c", b"b"]))).unwrap().results.len(), 1);
}

#[test]
fn a_scan_of_no_key_is_refused() {
    let pd = with_a_gap();
    for (start, end, range) in [("m", "m", "[m,m)"), ("m", "d", "[m,d)"), ("m\0", "m", "[hex:6d00,m)")] {
        let refused = pd.scan_regions(&scan(start.as_bytes(), end.as_bytes(), 0));
        assert_eq!(now(refused), Err(Error::EmptyScan { range: range.into() }));
    }
}
