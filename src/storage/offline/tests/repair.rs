//! `set-min` and `rebuild`.

use super::*;
use crate::storage::testing::files;
use crate::storage::tests::support::run;

#[test]
fn set_min_raises_and_never_lowers() {
    for dir in [reference(), ours(), workdir(&[(STATE_FILE, PLAIN_STATE)])] {
        let synced = Checkpoint::decode(&std::fs::read(dir.path().join(STATE_FILE)).unwrap()).unwrap().synced;
        for (ids, timestamps, after) in [
            (None, None, (13, 40)),
            (Some(14), Some(41), (13, 40)),
            (Some(1), Some(0), (13, 40)),
            (Some(100), None, (99, 40)),
            (None, Some(u64::MAX), (99, u64::MAX - 1)),
        ] {
            let raised = set_min(dir.path(), ids, timestamps).unwrap();
            assert_eq!((raised.after.ids, raised.after.timestamps), after);
            assert_eq!(read(dir.path()).unwrap().1, raised.after);
        }
        let state = Checkpoint::decode(&std::fs::read(dir.path().join(STATE_FILE)).unwrap()).unwrap();
        assert_eq!(state.synced, synced, "what is known as synced stays");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(set_min(dir.path(), Some(5), None).unwrap().before, Some(Limits::default()));
    assert_eq!(read(dir.path()).unwrap().1, Limits { ids: 4, timestamps: 0 });
}

#[test]
fn set_min_replaces_a_lost_checkpoint_when_both_values_are_given() {
    let lost: [&dyn Fn(&Path); 4] = [
        &|dir| std::fs::remove_file(dir.join(STATE_FILE)).unwrap(),
        &|dir| change(dir, STATE_FILE, Vec::clear),
        &|dir| change(dir, STATE_FILE, |state| state[15] ^= 1),
        &|dir| std::fs::write(dir.join(STATE_FILE), br#"{"id_current":12,"ts_current":40}"#).unwrap(),
    ];
    for lose in lost {
        for damaged_manifest in [false, true] {
            let dir = ours();
            lose(dir.path());
            if damaged_manifest {
                change(dir.path(), "MANIFEST-000001", |manifest| manifest[60] ^= 1);
            }
            assert!(matches!(set_min(dir.path(), Some(100), None), Err(StorageError::Damaged { .. })));
            assert!(matches!(set_min(dir.path(), None, Some(100)), Err(StorageError::Damaged { .. })));
            assert!(
                matches!(rebuild(dir.path()), Err(StorageError::Damaged { file, .. }) if file.ends_with(STATE_FILE))
            );
            let raised = set_min(dir.path(), Some(5), Some(100)).unwrap();
            assert_eq!(raised.before, None);
            assert_eq!(raised.after, Limits { ids: 13, timestamps: 99 }, "the newest commit tells more");
            if damaged_manifest {
                rebuild(dir.path()).unwrap().unwrap();
            }
            assert_eq!(read(dir.path()).unwrap().1, raised.after);
        }
    }
    let dir = reference();
    change(dir.path(), STATE_FILE, |state| state.truncate(9));
    set_min(dir.path(), Some(14), Some(41)).unwrap();
    assert_eq!(std::fs::read(dir.path().join(STATE_FILE)).unwrap(), PLAIN_STATE);
}

#[test]
fn rebuild_does_nothing_where_nothing_is_damaged() {
    let torn = ours();
    change(torn.path(), "MANIFEST-000001", |manifest| manifest.push(9));
    for dir in [reference(), ours(), torn, tempfile::tempdir().unwrap()] {
        let before = files(dir.path());
        assert_eq!(rebuild(dir.path()).unwrap(), None);
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn rebuild_moves_what_is_damaged_aside_and_keeps_the_counters() {
    for dir in [damaged(reference()), damaged(ours())] {
        fill(dir.path(), &[("MANIFEST-000001.broken", b"an older one"), ("MANIFEST-000003", b"left over")]);
        let damaged = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
        let rebuilt = rebuild(dir.path()).unwrap().unwrap();
        let kept = dir.path().join("MANIFEST-000001.broken.1");
        assert_eq!(
            rebuilt,
            Rebuilt { kept: vec![kept.clone()], manifest: "MANIFEST-000004".into(), counters: COUNTERS }
        );
        assert_eq!(std::fs::read(kept).unwrap(), damaged);
        assert_eq!(read(dir.path()).unwrap(), (vec![], COUNTERS));
        let manifest = check(dir.path()).unwrap().manifest.unwrap();
        assert_eq!((manifest.form, manifest.synced_bytes), ("pd-lite", Some(29)));
        assert_eq!(rebuild(dir.path()).unwrap(), None);
        let server = run(OsFs, dir.path()).unwrap();
        server.writer.stop().unwrap();
    }
}

#[test]
fn rebuild_keeps_the_newer_manifest_where_an_old_current_was_put_back() {
    let dir = ours();
    let old = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
    let synced = Some(Synced { manifest: "MANIFEST-000002".into(), bytes: 29 });
    let state = Checkpoint { limits: COUNTERS, synced }.encode();
    let newer = Ours::new(4).bytes;
    fill(dir.path(), &[("MANIFEST-000002", &newer), (STATE_FILE, state.as_bytes())]);
    assert!(check(dir.path()).unwrap().problem.unwrap().contains("MANIFEST-000002"));
    assert_eq!(rebuild(dir.path()).unwrap().unwrap().manifest, "MANIFEST-000003");
    let server = run(OsFs, dir.path()).unwrap();
    server.writer.stop().unwrap();
    assert_eq!(std::fs::read(dir.path().join("MANIFEST-000001.broken")).unwrap(), old);
    assert_eq!(std::fs::read(dir.path().join("MANIFEST-000002.broken")).unwrap(), newer);
}

#[test]
fn rebuild_helps_against_each_kind_of_damage() {
    let overlapping = reference();
    change(overlapping.path(), "MANIFEST-000001", |manifest| manifest.extend(plain(&region(3, "a", "b"))));
    let newline = ours();
    change(newline.path(), "CURRENT", |current| current.push(b'\n'));
    let no_current = ours();
    std::fs::remove_file(no_current.path().join("CURRENT")).unwrap();
    let no_manifest = ours();
    std::fs::remove_file(no_manifest.path().join("MANIFEST-000001")).unwrap();
    let cut = ours();
    change(cut.path(), "MANIFEST-000001", |manifest| manifest.truncate(100));
    let empty = ours();
    change(empty.path(), "MANIFEST-000001", Vec::clear);
    for dir in [overlapping, newline, no_current, no_manifest, cut, empty] {
        let report = check(dir.path()).unwrap();
        assert!(!report.usable);
        let rebuilt = rebuild(dir.path()).unwrap().unwrap();
        assert_eq!(rebuilt.manifest, "MANIFEST-000002", "{:?}", report.problem);
        assert_eq!(read(dir.path()).unwrap(), (vec![], COUNTERS));
    }
}

#[test]
fn rebuild_takes_a_missing_checkpoint_for_nothing_allocated_only_beside_the_references_manifest() {
    let dir = damaged(reference());
    std::fs::remove_file(dir.path().join(STATE_FILE)).unwrap();
    rebuild(dir.path()).unwrap().unwrap();
    assert_eq!(read(dir.path()).unwrap(), (vec![], Limits::default()));

    let without_opening = ours();
    change(without_opening.path(), "MANIFEST-000001", |manifest| manifest[..29].fill(0));
    let without_manifest = ours();
    std::fs::remove_file(without_manifest.path().join("MANIFEST-000001")).unwrap();
    for dir in [damaged(ours()), without_opening, without_manifest] {
        std::fs::remove_file(dir.path().join(STATE_FILE)).unwrap();
        let before = files(dir.path());
        match rebuild(dir.path()) {
            Err(StorageError::Damaged { file, .. }) => assert!(file.ends_with(STATE_FILE)),
            other => panic!("{other:?}"),
        }
        assert_eq!(files(dir.path()), before);
        set_min(dir.path(), Some(14), Some(41)).unwrap();
        rebuild(dir.path()).unwrap().unwrap();
        assert_eq!(read(dir.path()).unwrap(), (vec![], COUNTERS));
    }
}
