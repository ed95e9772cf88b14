//! Manifests of ours: what is applied, what is torn, what is damage.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::core::Region;
use crate::storage::record::{BATCH_LEN_MAX, RegionState};
use crate::storage::testing::{Ours, plain, raw, region};

fn read(bytes: &[u8], synced: Option<u64>) -> Result<Replayed, StorageError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    replay(&file, Path::new("wd/MANIFEST-000001"), synced)
}

fn limits(ids: u64, timestamps: u64) -> Limits {
    Limits { ids, timestamps }
}

fn catalog(replayed: &Replayed) -> Vec<Region> {
    replayed.regions.iter().cloned().collect()
}

fn assert_damaged(result: Result<Replayed, StorageError>, at: u64, word: &str) {
    match result {
        Err(StorageError::Damaged { offset, reason, .. }) => {
            assert_eq!(offset, at, "{reason}");
            assert!(reason.contains(word), "{reason}");
        }
        other => panic!("{other:?} instead of damage"),
    }
}

/// Three batches: two regions; one of them grown; the other deleted and a third stored.
fn small() -> (Ours, Vec<(u64, Vec<Region>)>) {
    let mut ours = Ours::new(0x0123_4567_89ab_cdef);
    let mut states = vec![(ours.len(), Vec::new())];
    ours.put(&[region(7, "m", ""), region(2, "", "f")], limits(3, 4));
    states.push((ours.len(), vec![region(2, "", "f"), region(7, "m", "")]));
    ours.put(&[region(2, "", "m")], limits(5, 6));
    states.push((ours.len(), vec![region(2, "", "m"), region(7, "m", "")]));
    let mut last = Vec::new();
    record::push_delete(&mut last, RegionId(7), true);
    record::push_put(&mut last, &region(1, "p", "q"), RegionState::Running, true);
    ours.batch(last, limits(5, 9));
    states.push((ours.len(), vec![region(1, "p", "q"), region(2, "", "m")]));
    (ours, states)
}

#[test]
fn the_last_record_of_an_id_counts_and_the_newest_commit_tells_what_was_issued() {
    let (ours, states) = small();
    let replayed = read(&ours.bytes, Some(ours.len())).unwrap();
    assert_eq!(catalog(&replayed), states[3].1);
    assert_eq!(replayed.issued, limits(5, 9));
    assert_eq!(replayed.form, Form::Ours { salt: ours.salt, next_batch: 4 });
    assert_eq!((replayed.end, replayed.file_len), (ours.len(), ours.len()));
    assert!(!replayed.appended_by_reference);
    assert_eq!(replayed.warnings, Vec::<String>::new());

    let empty = read(&Ours::new(9).bytes, Some(29)).unwrap();
    assert_eq!((empty.form, empty.end), (Form::Ours { salt: 9, next_batch: 1 }, 29));
}

#[test]
fn a_batch_without_records_is_whole() {
    let mut ours = Ours::new(1);
    ours.batch(Vec::new(), limits(1, 1)).put(&[region(1, "", "")], limits(2, 2));
    assert_eq!(catalog(&read(&ours.bytes, None).unwrap()), [region(1, "", "")]);
}

#[test]
fn a_cut_anywhere_gives_the_state_of_the_last_whole_commit_and_an_error_when_more_was_synced() {
    let (ours, states) = small();
    for cut in 0..ours.bytes.len() {
        let bytes = &ours.bytes[..cut];
        assert!(read(bytes, Some(ours.len())).is_err(), "{cut}");
        let cut = u64::try_from(cut).unwrap();
        let Some((end, state)) = states.iter().rfind(|(end, _)| *end <= cut) else {
            // Nothing of the opening record but its length, the common magic and its type may be there.
            assert!(read(bytes, None).is_ok_and(|replayed| replayed.regions.is_empty()) || cut >= 17, "{cut}");
            continue;
        };
        let replayed = read(bytes, Some(*end)).unwrap();
        assert_eq!(&catalog(&replayed), state, "{cut}");
        assert_eq!((replayed.end, replayed.file_len), (*end, cut));
        assert_eq!(replayed.warnings.len(), usize::from(cut > *end), "{cut}");
        assert!(read(bytes, Some(end + 1)).is_err(), "{cut}");
    }
}

#[test]
fn a_flipped_bit_never_gives_another_map() {
    let (ours, states) = small();
    for bit in 0..ours.bytes.len() * 8 {
        let mut bytes = ours.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes, Some(ours.len())).is_err(), "bit {bit}");
        if let Ok(replayed) = read(&bytes, None) {
            // Only the last batch may be taken for torn. (In an opening record whose inner magic is damaged the others are
            // found, so that is damage as well.)
            assert_eq!(catalog(&replayed), states[2].1, "bit {bit}");
            assert!(bit / 8 >= usize::try_from(states[2].0).unwrap(), "bit {bit}");
        }
    }
}

#[test]
fn a_flipped_bit_in_front_of_a_torn_batch_is_damage() {
    let (mut ours, states) = small();
    let whole_len = ours.bytes.len();
    ours.put(&[region(4, "x", "y")], limits(9, 9));
    ours.bytes.truncate(whole_len + 20);
    assert_eq!(catalog(&read(&ours.bytes, None).unwrap()), states[3].1);
    for bit in 0..whole_len * 8 {
        let mut bytes = ours.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes, None).is_err(), "bit {bit}");
    }
}

#[test]
fn a_batch_of_which_any_pages_are_missing_is_torn() {
    let (ours, states) = small();
    let start = usize::try_from(states[2].0).unwrap();
    for page_len in [16, 40] {
        let pages = (ours.bytes.len() - start).div_ceil(page_len);
        for missing in 1_u64..1 << pages {
            let mut bytes = ours.bytes.clone();
            for (page, content) in bytes[start..].chunks_mut(page_len).enumerate() {
                if missing >> page & 1 == 1 {
                    content.fill(0);
                }
            }
            if bytes != ours.bytes {
                let replayed = read(&bytes, Some(states[2].0)).unwrap();
                assert_eq!(catalog(&replayed), states[2].1, "pages {missing:b} of {page_len} bytes");
            }
        }
    }
}

#[test]
fn zeros_behind_the_last_commit_are_torn() {
    let (mut ours, states) = small();
    let len = ours.bytes.len();
    for zeros in [1, 3, 4, 5, 4096] {
        ours.bytes.resize(len + zeros, 0);
        let replayed = read(&ours.bytes, Some(states[3].0)).unwrap();
        assert_eq!((catalog(&replayed), replayed.end), (states[3].1.clone(), states[3].0));
    }
}

#[test]
fn more_than_one_batch_behind_the_last_commit_is_damage() {
    let (mut ours, states) = small();
    let len = ours.bytes.len();
    ours.bytes.resize(len + BATCH_LEN_MAX, 0);
    assert!(read(&ours.bytes, None).is_ok());
    ours.bytes.push(0);
    assert_damaged(read(&ours.bytes, None), states[3].0, "1048577 bytes");
}

/// Such a record was left out, with a warning, and another map served.
#[test]
fn a_record_that_cannot_be_read_in_a_whole_batch_is_damage() {
    let mut ours = Ours::new(1);
    ours.put(&[region(1, "", "m")], limits(1, 1));
    let offset = ours.len();
    ours.batch([raw(7, b"\x02\x02"), plain(&region(3, "m", ""))].concat(), limits(1, 1));
    assert_damaged(read(&ours.bytes, None), offset, "delete flag");
}

#[test]
fn commits_count_only_in_their_place() {
    let issued = limits(1, 1);
    let mut base = Ours::new(1);
    base.put(&[region(1, "", "m")], issued);
    let end = base.len();
    let other_number = |number, start, salt| {
        let mut bytes = base.bytes.clone();
        let mut batch = Vec::new();
        record::push_put(&mut batch, &region(2, "m", ""), RegionState::Plain, true);
        record::push_commit(&mut batch, start, number, issued, salt);
        bytes.extend_from_slice(&batch);
        bytes
    };
    assert_eq!(read(&other_number(2, end, 1), None).unwrap().regions.len(), 2);
    assert_damaged(read(&other_number(3, end, 1), None), end, "a later one is");
    for wrong in [other_number(2, end - 1, 1), other_number(2, end, 2), other_number(1, end, 1)] {
        let replayed = read(&wrong, None).unwrap();
        assert_eq!((replayed.regions.len(), replayed.end), (1, end), "a torn batch");
    }
}

#[test]
fn a_copy_of_a_batch_behind_itself_is_not_applied() {
    let mut ours = Ours::new(1);
    ours.put(&[region(1, "", "m")], limits(1, 1));
    let copy = ours.bytes[29..].to_vec();
    let end = ours.len();
    ours.bytes.extend_from_slice(&copy);
    let replayed = read(&ours.bytes, None).unwrap();
    assert_eq!((replayed.end, replayed.regions.len()), (end, 1));
}

#[test]
fn records_that_the_reference_appended_are_taken_in() {
    let (ours, _) = small();
    let mut delete = Vec::new();
    record::push_delete(&mut delete, RegionId(2), false);
    let appended = [plain(&region(9, "x", "")), delete].concat();
    let bytes = [&ours.bytes[..], &appended].concat();
    let replayed = read(&bytes, Some(ours.len())).unwrap();
    assert_eq!(catalog(&replayed), [region(1, "p", "q"), region(9, "x", "")]);
    assert!(replayed.appended_by_reference);
    assert_eq!((replayed.end, replayed.file_len), (u64::try_from(bytes.len()).unwrap(), replayed.end));
    assert_eq!(replayed.warnings.len(), 1, "{:?}", replayed.warnings);

    assert!(read(&bytes, Some(ours.len() + 1)).is_err(), "what was synced ended in a commit");
}

#[test]
fn a_record_of_the_reference_that_is_cut_is_torn_and_those_before_it_are_kept() {
    let (ours, states) = small();
    let (whole, cut) = (plain(&region(9, "x", "y")), plain(&region(10, "y", "")));
    for len in 1..cut.len() {
        let bytes = [&ours.bytes[..], &whole, &cut[..len]].concat();
        let replayed = read(&bytes, Some(ours.len())).unwrap();
        assert!(replayed.appended_by_reference);
        assert_eq!(replayed.regions.len(), states[3].1.len() + 1);
        assert_eq!(replayed.file_len - replayed.end, u64::try_from(len).unwrap());
        assert_eq!(replayed.warnings.len(), 2);
    }
}

#[test]
fn more_records_of_the_reference_than_a_batch_could_hold_are_taken_in() {
    let (mut ours, _) = small();
    let end = ours.len();
    let key = "k".repeat(4000);
    for id in 100..500 {
        ours.bytes.extend_from_slice(&plain(&region(id, &format!("x{key}{id}"), &format!("x{key}{}", id + 1))));
    }
    assert!(ours.bytes.len() > 2 * BATCH_LEN_MAX);
    assert_eq!(read(&ours.bytes, Some(end)).unwrap().regions.len(), 402);
}

#[test]
fn a_batch_that_lost_its_commit_counts_when_the_reference_went_on_behind_it() {
    let (ours, _) = small();
    let mut uncommitted = Vec::new();
    record::push_put(&mut uncommitted, &region(2, "", "c"), RegionState::Plain, true);
    let bytes = [&ours.bytes[..], &uncommitted, &plain(&region(9, "c", "m"))].concat();
    let replayed = read(&bytes, Some(ours.len())).unwrap();
    assert_eq!(catalog(&replayed), [region(1, "p", "q"), region(2, "", "c"), region(9, "c", "m")]);
    assert!(replayed.appended_by_reference);

    let bytes = [&ours.bytes[..], &uncommitted].concat();
    assert_eq!(read(&bytes, None).unwrap().end, ours.len(), "without such a record it is our torn batch");
}

#[test]
fn records_of_the_reference_are_never_cut_off_with_a_damaged_batch() {
    let (ours, states) = small();
    let appended = plain(&region(9, "x", ""));
    let end = states[2].0;
    let bytes = [&ours.bytes[..], &appended].concat();
    for bit in usize::try_from(end).unwrap() * 8..ours.bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes, None).is_err(), "bit {bit}");
    }
    let mut marked = Vec::new();
    record::push_put(&mut marked, &region(3, "q", "r"), RegionState::Plain, true);
    for odd in [raw(0x63, b"?"), raw(7, b""), vec![0; 4]] {
        let bytes = [&ours.bytes[..], &odd, &appended].concat();
        assert_damaged(read(&bytes, None), states[3].0, "reference");
    }
    for behind in [&marked[..], &[&marked[..], &appended].concat()] {
        let bytes = [&ours.bytes[..], &appended, behind].concat();
        assert_damaged(read(&bytes, None), states[3].0, "reference");
    }
}

#[test]
fn bytes_in_a_key_that_look_like_a_commit_harm_nothing() {
    let (mut ours, states) = small();
    let mut fake = Vec::new();
    record::push_commit(&mut fake, 0, 99, limits(1, 1), 0);
    let key: String = fake.iter().map(|&byte| char::from(byte & 0x7f)).collect();
    let mut fake_region = Vec::new();
    let keyed = Region::new(RegionId(5), &fake, &[&fake[..], b"~"].concat(), region(5, "", "").epoch(), []);
    record::push_put(&mut fake_region, &keyed, RegionState::Plain, true);
    let torn = [&ours.bytes[..], &fake_region].concat();
    assert_eq!(catalog(&read(&torn, None).unwrap()), states[3].1);
    ours.batch(fake_region, limits(6, 9)).put(&[region(6, &key, "zz")], limits(6, 9));
    assert_eq!(read(&ours.bytes, Some(ours.len())).unwrap().regions.len(), 4);
}

#[test]
fn an_opening_record_that_is_damaged_does_not_make_the_file_the_references() {
    let mut ours = Ours::new(77);
    ours.put(&[region(1, "", "")], limits(1, 1));
    for bit in 0..29 * 8 {
        let mut bytes = ours.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes, None).is_err(), "bit {bit}");
    }
    assert_damaged(read(&[], Some(29)), 0, "opening");
    assert_damaged(read(&plain(&region(1, "", "")), Some(1)), 0, "opening");
    assert_eq!(read(&plain(&region(1, "", "")), Some(0)).unwrap().form, Form::Reference);
    assert_damaged(read(&ours.bytes[29..], None), 0, "opening");
}
