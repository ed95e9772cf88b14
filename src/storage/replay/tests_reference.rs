//! Manifests of the reference: its table of what it does with what it does not know, row by row.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::core::{Peer, PeerId, Region, StoreId, uvarint};
use crate::storage::record::{RECORD_LEN_MAX, RegionState};
use crate::storage::testing::{plain, raw, region};

fn read(bytes: &[u8]) -> Result<Replayed, StorageError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    replay(&file, Path::new("wd/MANIFEST-000001"), None)
}

/// The ids served, and how many bytes at the end are torn.
fn ids(bytes: &[u8]) -> (Vec<u64>, u64) {
    let replayed = read(bytes).unwrap();
    assert_eq!(replayed.form, Form::Reference);
    (replayed.regions.iter().map(|region| region.id().0).collect(), replayed.file_len - replayed.end)
}

fn damage_at(bytes: &[u8]) -> u64 {
    match read(bytes) {
        Err(StorageError::Damaged { offset, .. }) => offset,
        other => panic!("{other:?} instead of damage"),
    }
}

fn one() -> Vec<u8> {
    plain(&region(1, "", "f"))
}

fn two() -> Vec<u8> {
    plain(&region(2, "f", "m"))
}

/// Region 3 [m,p) up to its epoch 5/6, then `behind`.
fn body(behind: &[u8]) -> Vec<u8> {
    [&b"\x03\x00\x01m\x01p\x05\x06"[..], behind].concat()
}

#[test]
fn an_empty_manifest_holds_nothing() {
    assert_eq!(ids(&[]), (vec![], 0));
    assert_eq!((one().len(), two().len()), (22, 23), "offsets below");
}

#[test]
fn the_last_record_of_an_id_wins_whatever_its_epoch() {
    let mut newer = Vec::new();
    let peers = [Peer { store_id: StoreId(0), peer_id: PeerId(0) }];
    let moved = Region::new(RegionId(1), b"x", b"", crate::core::Epoch::default(), peers);
    record::push_put(&mut newer, &moved, RegionState::Plain, false);
    let replayed = read(&[one(), two(), newer].concat()).unwrap();
    assert_eq!(replayed.regions.get(RegionId(1)), Some(&moved));
    assert_eq!(replayed.regions.get(RegionId(2)), Some(&region(2, "f", "m")));
}

#[test]
fn delete_removes_and_a_later_record_brings_back() {
    let delete = raw(7, b"\x01\x01");
    assert_eq!(ids(&[one(), two(), delete.clone()].concat()), (vec![2], 0));
    assert_eq!(ids(&[one(), delete.clone(), one()].concat()), (vec![1], 0));
    assert_eq!(ids(&delete), (vec![], 0));
}

#[test]
fn extra_bytes_and_unknown_types_are_ignored() {
    let long = raw(7, &[&body(b"\x00\x00")[..], b"\xde\xad\xbe\xef"].concat());
    let deleted = raw(7, b"\x01\x01\xde\xad");
    for kind in [8, 64, 200, 255, 0xd0, 0xd1] {
        for other in [raw(kind, b""), raw(kind, b"anything"), raw(kind, &[7; 5000])] {
            assert_eq!(ids(&[&other[..], &one(), &other, &long, &deleted, &other].concat()), (vec![3], 0), "{kind}");
        }
    }
}

#[test]
fn the_log_pointer_of_a_rewrite_is_legal_and_a_stores_records_are_not() {
    assert_eq!(ids(&[raw(2, b"\x05\x06"), one()].concat()), (vec![1], 0));
    for kind in [0, 1, 3, 4, 5, 6] {
        match read(&[one(), raw(kind, b"\x05")].concat()) {
            Err(StorageError::NotOurs { workdir, reason }) => {
                assert_eq!(workdir, Path::new("wd"));
                assert!(reason.contains(&format!("type {kind} at byte {}", one().len())), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_missing_behind_the_epoch_is_zero() {
    for behind in [&b""[..], b"\x00", b"\x00\x00"] {
        let replayed = read(&raw(7, &body(behind))).unwrap();
        assert_eq!(
            replayed.regions.get(RegionId(3)),
            Some(&Region::new(RegionId(3), b"m", b"p", crate::core::Epoch { version: 5, conf_version: 6 }, []))
        );
    }
}

#[test]
fn where_the_reference_makes_things_up_it_is_damage() {
    let huge = |value: u64| {
        let mut bytes = Vec::new();
        uvarint::push(&mut bytes, value);
        bytes
    };
    let keyed = |len: u64| [&b"\x03\x00"[..], &huge(len), b"mm"].concat();
    let counted = |count: u64| [&body(b"\x00")[..], &huge(count), b"\x01\x02"].concat();
    let bodies = [
        ("an id that is cut", b"\x83".to_vec()),
        ("no delete flag", b"\x03".to_vec()),
        ("a delete flag of 2", b"\x03\x02".to_vec()),
        ("a delete flag of 0xff", b"\x03\xff\x01m\x01p\x05\x06\x00\x00".to_vec()),
        ("no keys", b"\x03\x00".to_vec()),
        ("a key beyond the record", keyed(3)),
        ("a key of 2^63", keyed(1 << 63)),
        ("a key of 2^64-1", keyed(u64::MAX)),
        ("no end key", b"\x03\x00\x01m".to_vec()),
        ("no epoch", b"\x03\x00\x01m\x01p".to_vec()),
        ("half an epoch", b"\x03\x00\x01m\x01p\x05".to_vec()),
        ("peers beyond the record", counted(2)),
        ("2^62 peers", counted(1 << 62)),
        ("half a peer", body(b"\x00\x01\x05")),
        ("a peer whose id is cut", body(b"\x00\x01\x05\x85")),
        ("a varint of 11 bytes", [&b"\x03\x00\x01m\x01p"[..], &[0x80; 10], b"\x01\x00\x00"].concat()),
        ("a varint above 64 bits", [&b"\x03\x00\x01m\x01p"[..], &[0xff; 9], b"\x02\x00\x00\x00"].concat()),
    ];
    let front = one();
    let at = u64::try_from(front.len()).unwrap();
    for (what, body) in bodies {
        assert_eq!(damage_at(&[&front[..], &raw(7, &body), &two()].concat()), at, "{what}");
        assert_eq!(damage_at(&[&front[..], &raw(7, &body)].concat()), at, "{what}, last");
    }
}

#[test]
fn bytes_that_are_no_record_are_damage() {
    let mut wrong_magic = two();
    wrong_magic[5] ^= 1;
    let short: [&[u8]; 4] = [b"\x04\0\0\0NoKV", b"\x03\0\0\0NoK", b"\x01\0\0\0N", b"\0\0\0\0\x01"];
    for broken in short.into_iter().chain([&wrong_magic[..]]) {
        assert_eq!(damage_at(&[&one()[..], broken, &two()].concat()), 22);
        assert_eq!(damage_at(&[&one()[..], broken].concat()), 22);
        assert_eq!(damage_at(broken), 0);
    }
}

#[test]
fn a_last_record_that_is_cut_anywhere_is_torn() {
    let mut front = Vec::new();
    for (at, last) in [one(), two(), raw(7, b"\x01\x01"), raw(0x63, &[9; 300])].iter().enumerate() {
        for cut in 1..last.len() {
            let torn = [&front[..], &last[..cut]].concat();
            assert_eq!(ids(&torn).1, u64::try_from(cut).unwrap(), "record {at} cut at {cut}");
            assert_eq!(ids(&torn).0, ids(&front).0);
            assert_eq!(read(&torn).unwrap().warnings.len(), 1);
        }
        front.extend_from_slice(last);
    }
}

#[test]
fn zeros_at_the_end_are_torn() {
    let whole = [one(), two()].concat();
    for zeros in [1, 3, 4, 5, 9, 4096, 200_000] {
        let tail = vec![0; zeros];
        assert_eq!(ids(&[&whole[..], &tail].concat()), (vec![1, 2], u64::try_from(zeros).unwrap()));
        assert_eq!(ids(&tail), (vec![], u64::try_from(zeros).unwrap()));
        // The front part of a record came to the disk, or nothing between it and the end.
        for front in [1, 4, 6, 8, 12] {
            let grown = [&one()[..], &raw(7, &[7; 300_000])[..front], &tail].concat();
            assert_eq!(ids(&grown), (vec![1], u64::try_from(front + zeros).unwrap()), "{front}");
        }
        assert_eq!(damage_at(&[&whole[..], &tail, &one()].concat()), 45, "records behind {zeros} zeros");
        let behind = [&whole[..], &tail, b"x"].concat();
        match zeros {
            ..4 => {}
            // No sector ends between the two.
            4..400 => assert_eq!(damage_at(&behind), 45),
            _ => assert_eq!(ids(&behind), (vec![1, 2], u64::try_from(zeros + 1).unwrap())),
        }
    }
}

#[test]
fn a_length_that_is_damaged_does_not_hide_records() {
    let whole = [one(), two(), plain(&region(3, "m", ""))].concat();
    for (start, bit) in [0, 22, 45].into_iter().flat_map(|start| (0..32).map(move |bit| (start, bit))) {
        let mut bytes = whole.clone();
        bytes[start + bit / 8] ^= 1 << (bit % 8);
        let result = read(&bytes);
        assert!(result.is_err(), "bit {bit} of the length at {start}: {result:?}");
    }
}

#[test]
fn a_record_longer_than_any_is_refused_without_being_read() {
    let file = tempfile::tempfile().unwrap();
    let len = u64::from(u32::MAX);
    file.set_len(len + 4).unwrap();
    let header = [&u32::MAX.to_le_bytes()[..], b"NoKV\x07\x01\x00"].concat();
    std::os::unix::fs::FileExt::write_all_at(&file, &header, 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", len).unwrap();
    match replay(&file, Path::new("wd/MANIFEST-000001"), None) {
        Err(StorageError::Damaged { offset: 0, reason, .. }) => {
            assert!(reason.contains(&RECORD_LEN_MAX.to_string()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_served_is_skipped_with_a_count_and_still_replaces_what_was_there() {
    let tombstone = |id, start: &str, end: &str| {
        let mut record = Vec::new();
        record::push_put(&mut record, &region(id, start, end), RegionState::Tombstone, false);
        record
    };
    let bytes = [
        one(),
        two(),
        plain(&region(3, "m", "")),
        tombstone(1, "", "f"),
        plain(&region(2, "m", "f")),
        tombstone(4, "x", "y"),
        plain(&region(5, "q", "q")),
        raw(7, b""),
        plain(&region(0, "a", "b")),
    ]
    .concat();
    let replayed = read(&bytes).unwrap();
    assert_eq!(replayed.regions.iter().map(|region| region.id().0).collect::<Vec<_>>(), [3]);
    let warnings = replayed.warnings.join("\n");
    assert_eq!(replayed.warnings.len(), 3, "{warnings}");
    assert!(warnings.contains("2 region(s) marked as a tombstone"), "{warnings}");
    assert!(warnings.contains("2 region(s) with a start key"), "{warnings}");
    assert!(warnings.contains("1 region(s) without an id"), "{warnings}");

    let back = [&bytes[..], &one(), &two()].concat();
    assert_eq!(ids(&back), (vec![1, 2, 3], 0));
}

#[test]
fn records_longer_than_the_window_are_read() {
    let key = "k".repeat(3 << 20);
    let giant = region(9, "n", &format!("n{key}"));
    let replayed = read(&[one(), plain(&giant), two()].concat()).unwrap();
    assert_eq!(replayed.regions.get(RegionId(9)), Some(&giant));
}
