//! What a start does to a workdir. Those that the reference wrote are served, converted into our form, and open again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::super::fs::{Fs, OsFs};
use super::super::lock::LOCK;
use super::super::record::{self, RegionState};
use super::super::testing::in_json;
use super::super::{EditOutcome, StorageError};
use super::disk::{self, Left};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use super::support::{checkpoint, copy, current, delete, manifests, narrow, read, region, run};
use crate::core::Kind;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/workdirs")
}

/// The files of a recorded workdir without its description.
fn restore(name: &str) -> (tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixtures().join(name), dir.path());
    let described = std::fs::read(dir.path().join("expect.json")).unwrap();
    std::fs::remove_file(dir.path().join("expect.json")).unwrap();
    (dir, serde_json::from_slice(&described).unwrap())
}

/// The files of a workdir, without the lock and the description of a recorded one.
fn files(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files =
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect::<BTreeMap<_, _>>();
    files.retain(|name, _| name != LOCK && name != "expect.json");
    files
}

#[test]
fn every_recorded_workdir_is_taken_over_or_left_alone() {
    let mut taken_over = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (dir, described) = restore(&name);
        let good = &described["good"];
        let running = match run(OsFs, dir.path()) {
            Ok(running) => running,
            Err(error) => {
                assert_eq!(good["starts"], false, "{name}: {error}");
                assert_eq!(files(&fixtures().join(&name)), files(dir.path()), "{name}");
                continue;
            }
        };
        assert_eq!(good["starts"], true, "{name}");
        taken_over += 1;
        let regions = running.regions();
        assert_eq!(Value::from(regions.iter().map(|region| in_json(region)).collect::<Vec<_>>()), good["regions"]);
        assert_eq!(current(dir.path()), "MANIFEST-000002", "{name}");
        let first_id = running.take(Kind::Id, 1).unwrap();
        let first_timestamp = running.take(Kind::Timestamp, 1).unwrap();
        assert!(first_id >= good["first_id_min"].as_u64().unwrap(), "{name}");
        assert!(first_timestamp >= good["first_ts_min"].as_u64().unwrap(), "{name}");
        for region in &regions {
            assert_eq!(running.edit(delete(region.id().0)), Ok(EditOutcome::Removed { existed: true }), "{name}");
        }
        assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored), "{name}");

        let killed = tempfile::tempdir().unwrap();
        copy(dir.path(), killed.path());
        let again = run(OsFs, killed.path()).unwrap();
        assert_eq!(again.regions(), running.regions(), "{name}");
        assert!(again.take(Kind::Id, 1).unwrap() > first_id, "{name}");
        assert!(again.take(Kind::Timestamp, 1).unwrap() > first_timestamp, "{name}");
    }
    assert!(taken_over >= 7, "{taken_over}");
}

#[test]
fn a_torn_manifest_of_the_reference_is_kept() {
    let (dir, _) = restore("torn-tail");
    let damaged = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    assert_eq!(current(dir.path()), "MANIFEST-000002");
    assert_eq!(manifests(dir.path()), ["MANIFEST-000001.broken", "MANIFEST-000002"]);
    assert_eq!(std::fs::read(dir.path().join("MANIFEST-000001.broken")).unwrap(), damaged);
}

#[test]
fn copies_of_damaged_manifests_do_not_replace_each_other() {
    let dir = tempfile::tempdir().unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    let path = dir.path().join("MANIFEST-000001");
    for number in 0..3_u64 {
        let mut content = std::fs::read(&path).unwrap();
        record::push_put(&mut content, &region(1, "a", "b", number), RegionState::Plain, true);
        std::fs::write(&path, &content).unwrap();
        drop(run(OsFs, dir.path()).unwrap());
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        let kept = dir.path().join(format!("MANIFEST-000001.broken{suffix}"));
        assert_eq!(std::fs::read(kept).unwrap(), content);
        assert!(read(OsFs, dir.path()).unwrap().0.is_empty());
    }
}

#[test]
fn what_the_reference_appended_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    running.edit(narrow(1, 1)).unwrap();
    running.take(Kind::Id, 20).unwrap();
    running.writer.stop().unwrap();
    // The reference went on with the workdir.
    let path = dir.path().join("MANIFEST-000001");
    let mut content = std::fs::read(&path).unwrap();
    record::push_put(&mut content, &region(2, "a", "b", 1), RegionState::Plain, false);
    record::push_delete(&mut content, crate::core::RegionId(1), false);
    std::fs::write(&path, content).unwrap();
    std::fs::write(dir.path().join("PD_STATE.json"), r#"{"id_current":23,"ts_current":9}"#).unwrap();

    let running = run(OsFs, dir.path()).unwrap();
    assert_eq!(running.regions(), [region(2, "a", "b", 1)]);
    assert_eq!(manifests(dir.path()), ["MANIFEST-000002"]);
    assert_eq!(checkpoint(dir.path()).synced.unwrap().manifest, "MANIFEST-000002");
    assert_eq!((running.take(Kind::Id, 1), running.take(Kind::Timestamp, 1)), (Ok(24), Ok(10)));
}

#[test]
fn a_region_longer_than_a_batch_is_converted() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = Vec::new();
    let long = "k".repeat(3 << 20);
    let regions = [region(1, "a", "b", 1), region(2, &long, "l", 1), region(3, "x", &format!("x{long}"), 1)];
    regions.iter().for_each(|region| record::push_put(&mut manifest, region, RegionState::Plain, false));
    std::fs::write(dir.path().join("MANIFEST-000001"), manifest).unwrap();
    std::fs::write(dir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    assert_eq!(manifests(dir.path()), ["MANIFEST-000002"]);
    assert_eq!(read(OsFs, dir.path()).unwrap().0, regions);
}

/// A start that was killed may have made the directory, and not synced the name: the next one took it for durable.
#[test]
fn the_path_of_a_new_workdir_is_made_durable_though_it_exists() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/wd");
    std::fs::create_dir_all(&dir).unwrap();
    let synced = Arc::new(Mutex::new(Vec::new()));
    let seen = synced.clone();
    let fs = FaultFs::new(&dir, move |op, path| {
        if op == Op::SyncDir {
            seen.lock().unwrap().push(path.to_owned());
        }
        Fate::Pass
    });
    drop(run(fs.clone(), &dir).unwrap());
    let synced_once = std::mem::take(&mut *synced.lock().unwrap());
    for path in [&dir, &parent.path().join("a"), parent.path()] {
        assert!(synced_once.iter().any(|synced| synced == path), "{synced_once:?}");
    }
    drop(run(fs.clone(), &dir).unwrap());
    assert!(synced.lock().unwrap().iter().all(|synced| *synced == dir), "{synced:?}");
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let above = parent.path().join("a");
    fs.set_rule(move |op, path| if op == Op::SyncDir && path == above { Fate::Fail(EIO) } else { Fate::Pass });
    assert!(matches!(run(fs, &dir), Err(StorageError::Io { path, .. }) if path.ends_with("a")));
    assert!(files(&dir).is_empty());
}

#[test]
fn only_left_overs_of_ours_are_removed_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    let ours = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
    for name in ["MANIFEST-000002", "MANIFEST-000003.broken", "MANIFEST-7"] {
        std::fs::write(dir.path().join(name), &ours).unwrap();
    }
    std::fs::write(dir.path().join("MANIFEST-000004"), b"").unwrap();
    std::fs::write(dir.path().join("MANIFEST-000005"), &ours[1..]).unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    assert_eq!(
        manifests(dir.path()),
        ["MANIFEST-000001", "MANIFEST-000003.broken", "MANIFEST-000004", "MANIFEST-000005", "MANIFEST-7"]
    );
}

/// A power cut before `CURRENT` names the new manifest must leave the old one as it was read, and the reference syncs nothing.
#[test]
fn what_the_reference_appended_is_durable_before_the_checkpoint_names_the_next_manifest() {
    let dir = tempfile::tempdir().unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    let fs = FaultFs::new(dir.path(), |op, path| match op {
        Op::Rename if path.ends_with("CURRENT.tmp") => Fate::Fail(EIO),
        _ => Fate::Pass,
    });
    let file = fs.open_for_writing(&dir.path().join("MANIFEST-000001")).unwrap();
    let mut record = Vec::new();
    record::push_put(&mut record, &region(2, "a", "b", 1), RegionState::Plain, false);
    file.write_all_at(&record, file.len().unwrap()).unwrap();
    assert!(run(fs.clone(), dir.path()).is_err());
    let left = tempfile::tempdir().unwrap();
    disk::restore(&fs.cut_power(Left::Synced), left.path());
    assert_eq!(current(left.path()), "MANIFEST-000001");
    assert_eq!(checkpoint(left.path()).synced.unwrap().manifest, "MANIFEST-000002");
    assert_eq!(run(OsFs, left.path()).unwrap().regions(), [region(2, "a", "b", 1)]);
}

/// The reference ignores the lock, and may append while its manifest is converted.
#[test]
fn a_manifest_that_grows_during_its_conversion_is_not_replaced() {
    let (dir, _) = restore("torn-tail");
    let path = dir.path().join("MANIFEST-000001");
    let grown = path.clone();
    let fs = FaultFs::new(dir.path(), move |op, path| {
        if op == Op::Rename && path.ends_with("PD_STATE.json.tmp") {
            let mut content = std::fs::read(&grown).unwrap();
            content.push(0);
            std::fs::write(&grown, content).unwrap();
        }
        Fate::Pass
    });
    match run(fs, dir.path()).err().unwrap() {
        StorageError::ChangedUnderUs { file, .. } => assert_eq!(file, path),
        error => panic!("{error:?}"),
    }
    assert_eq!(current(dir.path()), "MANIFEST-000001");
}

/// The piece of a copy stayed, so that each failed start filled the disk further.
#[test]
fn a_copy_for_which_there_is_no_space_is_not_left_half_made() {
    let (dir, _) = restore("torn-tail");
    let before = files(dir.path());
    for fails in [|op| matches!(op, Op::Write { .. }), |op| op == Op::Sync, |op| op == Op::Rename] {
        let fs = FaultFs::new(dir.path(), move |op, path| {
            let is_copy = path.file_name().unwrap().to_str().unwrap().contains(".broken");
            if is_copy && fails(op) { Fate::Fail(ENOSPC) } else { Fate::Pass }
        });
        assert!(matches!(run(fs, dir.path()), Err(StorageError::Io { .. })));
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn a_manifest_that_changed_between_open_and_start_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(run(OsFs, dir.path()).unwrap());
    let path = dir.path().join("MANIFEST-000001");
    let mut content = std::fs::read(&path).unwrap();
    record::push_delete(&mut content, crate::core::RegionId(1), true);
    std::fs::write(&path, &content).unwrap();
    let error = super::support::run_after(OsFs, dir.path(), || {
        content.push(0);
        std::fs::write(&path, &content).unwrap();
    });
    assert!(matches!(error.err().unwrap(), StorageError::ChangedUnderUs { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), content);
}
