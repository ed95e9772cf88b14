//! `check` and `dump`, and what every command leaves alone.

use std::path::PathBuf;

use super::*;
use crate::storage::lock::LOCK;
use crate::storage::testing::{files, raw};

#[test]
fn check_and_dump_tell_what_a_server_would_find_and_write_nothing() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/workdirs");
    for fixture in std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
        let expect: serde_json::Value =
            serde_json::from_slice(&std::fs::read(fixture.join("expect.json")).unwrap()).unwrap();
        let good = &expect["good"];
        let before = files(&fixture);
        let report = check(&fixture).unwrap();
        assert_eq!(report.usable, good["starts"] == true, "{report:?}");
        assert_eq!(report.problem.is_some(), !report.usable);
        assert!(!fixture.join(LOCK).exists());
        if report.usable {
            let manifest = report.manifest.unwrap();
            assert_eq!((manifest.form, manifest.batches), ("reference", None));
            assert_eq!(Some(manifest.regions), good["regions"].as_array().map(Vec::len));
            assert_eq!(manifest.torn_bytes > 0, fixture.to_str().unwrap().contains("torn"));
            assert_eq!(
                (report.id_current, report.ts_current),
                (good["id_current"].as_u64(), good["ts_current"].as_u64())
            );
            assert_eq!(dump(&fixture).unwrap().regions.len(), manifest.regions);
        } else {
            assert!(dump(&fixture).is_err());
        }
        assert_eq!(files(&fixture), before);
    }
}

#[test]
fn check_reports_damage_and_overlaps() {
    let dir = damaged(ours());
    let report = check(dir.path()).unwrap();
    assert!(!report.usable);
    assert!(report.problem.unwrap().contains("MANIFEST-000001"));
    assert_eq!((report.id_current, report.ts_current), (Some(13), Some(40)));

    let dir = reference();
    change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(plain(&region(3, "a", "b"))));
    let dump = dump(dir.path()).unwrap();
    assert_eq!((dump.regions.len(), dump.report.usable), (3, false));
    let problem = dump.report.problem.unwrap();
    assert!(problem.contains("regions 1 and 3 overlap") || problem.contains("regions 3 and 1 overlap"), "{problem}");
    assert_eq!(check(dir.path()).unwrap().manifest.unwrap().regions, 3);
}

#[test]
fn what_does_not_exist_is_not_created_by_a_look_or_a_repair() {
    let parent = tempfile::tempdir().unwrap();
    fill(parent.path(), &[("file", b"x")]);
    for name in ["missing", "file"] {
        let dir = parent.path().join(name);
        let refused = |error: StorageError| assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
        refused(check(&dir).unwrap_err());
        refused(dump(&dir).unwrap_err());
        refused(set_min(&dir, Some(1), Some(1)).unwrap_err());
        refused(rebuild(&dir).unwrap_err());
    }
    assert_eq!(files(parent.path()).len(), 1);
}

#[test]
fn a_stores_workdir_is_left_alone() {
    let manifest = raw(1, b"\x05");
    let dir = workdir(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest)]);
    let before = files(dir.path());
    assert!(matches!(check(dir.path()), Err(StorageError::NotOurs { .. })));
    assert!(matches!(set_min(dir.path(), Some(9), Some(9)), Err(StorageError::NotOurs { .. })));
    assert!(matches!(rebuild(dir.path()), Err(StorageError::NotOurs { .. })));
    assert!(append_running(dir.path(), &region(1, "", "")).is_err());
    assert_eq!(files(dir.path()), before);
}
