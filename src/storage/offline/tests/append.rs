//! Appending by hand: in each form, behind what is torn, and what is refused.

use super::*;
use crate::core::Overlap;
use crate::storage::record;
use crate::storage::testing::files;

#[test]
fn a_region_is_appended_byte_for_byte_as_the_reference_does() {
    let dir = reference();
    let before = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
    append_running(dir.path(), &region(8, "m", "")).unwrap();
    let mut record = Vec::new();
    record::push_put(&mut record, &region(8, "m", ""), RegionState::Running, false);
    assert_eq!(std::fs::read(dir.path().join("MANIFEST-000001")).unwrap(), [before, record].concat());
    assert_eq!(std::fs::read(dir.path().join(STATE_FILE)).unwrap(), PLAIN_STATE);
    assert_eq!(read(dir.path()).unwrap().0.len(), 3);
}

#[test]
fn a_missing_workdir_is_created_in_the_references_form() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/wd");
    append_running(&dir, &region(5, "", "")).unwrap();
    let names: Vec<_> = files(&dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CURRENT", "MANIFEST-000001"]);
    assert_eq!(std::fs::read(dir.join("CURRENT")).unwrap(), b"MANIFEST-000001");
    assert_eq!(read(&dir).unwrap(), (vec![region(5, "", "")], Limits::default()));

    // An unfinished creation of ours, whose checkpoint names the manifest already.
    let synced = Some(Synced { manifest: "MANIFEST-000001".into(), bytes: 0 });
    let state = Checkpoint { limits: COUNTERS, synced }.encode();
    let dir = workdir(&[("MANIFEST-000001", &Ours::new(1).bytes), (STATE_FILE, state.as_bytes())]);
    append_running(dir.path(), &region(5, "", "")).unwrap();
    assert_eq!(read(dir.path()).unwrap(), (vec![region(5, "", "")], COUNTERS));
}

#[test]
fn in_ours_a_region_is_a_batch_and_known_as_synced() {
    let dir = ours();
    append_running(dir.path(), &region(8, "m", "")).unwrap();
    append_running(dir.path(), &region(2, "f", "g")).unwrap();
    append_region(dir.path(), &region(1, "", "f"), RegionState::Tombstone).unwrap();
    assert_eq!(read(dir.path()).unwrap(), (vec![region(2, "f", "g"), region(8, "m", "")], COUNTERS));
    let manifest = check(dir.path()).unwrap().manifest.unwrap();
    assert_eq!((manifest.form, manifest.batches, manifest.synced_bytes), ("pd-lite", Some(5), Some(manifest.bytes)));
    change(dir.path(), "MANIFEST-000001", |manifest| manifest.truncate(manifest.len() - 1));
    assert!(read(dir.path()).is_err(), "an acknowledged batch is not torn");
}

#[test]
fn behind_records_of_the_reference_a_region_is_one_more() {
    let dir = ours();
    change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(plain(&region(3, "m", "p"))));
    append_running(dir.path(), &region(4, "p", "q")).unwrap();
    assert_eq!(read(dir.path()).unwrap().0.len(), 4);
    assert!(check(dir.path()).unwrap().manifest.unwrap().appended_by_reference);
}

#[test]
fn a_torn_tail_is_kept_apart_before_a_region_is_appended() {
    for dir in [reference(), ours()] {
        change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(b"\x20\0\0\0NoKV\x07\x09"));
        let torn = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
        append_running(dir.path(), &region(8, "m", "")).unwrap();
        let (regions, counters) = read(dir.path()).unwrap();
        assert_eq!((regions.len(), counters), (3, COUNTERS));
        assert_eq!(check(dir.path()).unwrap().manifest.unwrap().torn_bytes, 0);
        assert_eq!(std::fs::read(dir.path().join("MANIFEST-000001.broken")).unwrap(), torn);
    }
}

#[test]
fn a_region_that_overlaps_is_refused_unless_it_is_a_tombstone() {
    for dir in [reference(), ours()] {
        let before = files(dir.path());
        match append_running(dir.path(), &region(8, "l", "")) {
            Err(AppendError::Overlap(Overlap { region, with })) => assert_eq!((region.0, with.0), (8, 2)),
            other => panic!("{other:?}"),
        }
        assert_eq!(files(dir.path()), before);
        append_region(dir.path(), &region(8, "l", ""), RegionState::Tombstone).unwrap();
        assert_eq!(read(dir.path()).unwrap().0.len(), 2);
    }
}

#[test]
fn nothing_is_appended_to_damage_or_beside_a_server() {
    for dir in [damaged(reference()), damaged(ours()), workdir(&[("MANIFEST-000001", &plain(&region(1, "", "")))])] {
        let before = files(dir.path());
        let refused = append_running(dir.path(), &region(8, "m", ""));
        assert!(matches!(refused, Err(AppendError::Storage(StorageError::Damaged { .. }))), "{refused:?}");
        assert_eq!(files(dir.path()), before);
    }
    let dir = ours();
    let _server = Opened::open(Arc::new(OsFs), dir.path()).unwrap();
    let holder = format!("pid {}", std::process::id());
    let lines = [
        append_running(dir.path(), &region(8, "m", "")).unwrap_err().to_string(),
        check(dir.path()).unwrap_err().to_string(),
        dump(dir.path()).unwrap_err().to_string(),
        set_min(dir.path(), Some(1), None).unwrap_err().to_string(),
        rebuild(dir.path()).unwrap_err().to_string(),
    ];
    lines.iter().for_each(|line| assert!(line.contains(&holder), "{line}"));
}
