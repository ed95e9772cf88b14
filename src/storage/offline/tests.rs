//! Each command on each kind of workdir, and with the power going at each of its operations.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::append::append_in;
use super::rebuild::rebuild_in;
use super::set_min::set_min_in;
use super::*;
use crate::core::{Limits, Overlap, Region};
use crate::storage::open::LOCK;
use crate::storage::record::{self, RegionState};
use crate::storage::state::{Checkpoint, STATE_FILE, Synced};
use crate::storage::testing::{Ours, files, fill, plain, raw, region};
use crate::storage::tests::faults::{EIO, Fate, FaultFs, Op, PowerCut};
use crate::storage::tests::support::run;
use crate::storage::{Opened, StorageError};

const PLAIN_STATE: &[u8] = br#"{"id_current":13,"ts_current":40}"#;
const COUNTERS: Limits = Limits { ids: 13, timestamps: 40 };

fn workdir(content: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), content);
    dir
}

/// Regions 1 [,f) and 2 [f,m), as the reference writes them.
fn reference() -> TempDir {
    let manifest = [plain(&region(1, "", "f")), plain(&region(2, "f", "m"))].concat();
    workdir(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest), (STATE_FILE, PLAIN_STATE)])
}

/// The same as two batches of ours, all of it synced.
fn ours() -> TempDir {
    let mut ours = Ours::new(3);
    ours.put(&[region(1, "", "f")], Limits { ids: 1, timestamps: 2 });
    ours.put(&[region(2, "f", "m")], COUNTERS);
    let synced = Some(Synced { manifest: "MANIFEST-000001".into(), bytes: ours.len() });
    let state = Checkpoint { limits: COUNTERS, synced }.encode();
    workdir(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &ours.bytes), (STATE_FILE, state.as_bytes())])
}

fn read(dir: &Path) -> Result<(Vec<Region>, Limits), StorageError> {
    let snapshot = Opened::open(Arc::new(OsFs), dir)?.take_snapshot();
    Ok((snapshot.regions.iter().map(|region| Region::clone(region)).collect(), snapshot.issued))
}

fn change(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(dir.join(name)).unwrap();
    change(&mut content);
    std::fs::write(dir.join(name), content).unwrap();
}

/// A workdir whose first batch or record is damaged.
fn damaged(dir: TempDir) -> TempDir {
    change(dir.path(), "MANIFEST-000001", |manifest| manifest[40] ^= 1);
    change(dir.path(), "MANIFEST-000001", |manifest| manifest[5] ^= 1);
    assert!(matches!(read(dir.path()), Err(StorageError::Damaged { .. })));
    dir
}

fn running(dir: &Path, region: &Region) -> Result<(), AppendError> {
    append_region(dir, region, RegionState::Running)
}

#[test]
fn a_region_is_appended_byte_for_byte_as_the_reference_does() {
    let dir = reference();
    let before = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
    running(dir.path(), &region(8, "m", "")).unwrap();
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
    running(&dir, &region(5, "", "")).unwrap();
    let names: Vec<_> = files(&dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CURRENT", "MANIFEST-000001"]);
    assert_eq!(std::fs::read(dir.join("CURRENT")).unwrap(), b"MANIFEST-000001");
    assert_eq!(read(&dir).unwrap(), (vec![region(5, "", "")], Limits::default()));

    // An unfinished creation of ours, whose checkpoint names the manifest already.
    let synced = Some(Synced { manifest: "MANIFEST-000001".into(), bytes: 0 });
    let state = Checkpoint { limits: COUNTERS, synced }.encode();
    let dir = workdir(&[("MANIFEST-000001", &Ours::new(1).bytes), (STATE_FILE, state.as_bytes())]);
    running(dir.path(), &region(5, "", "")).unwrap();
    assert_eq!(read(dir.path()).unwrap(), (vec![region(5, "", "")], COUNTERS));
}

#[test]
fn in_ours_a_region_is_a_batch_and_known_as_synced() {
    let dir = ours();
    running(dir.path(), &region(8, "m", "")).unwrap();
    running(dir.path(), &region(2, "f", "g")).unwrap();
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
    running(dir.path(), &region(4, "p", "q")).unwrap();
    assert_eq!(read(dir.path()).unwrap().0.len(), 4);
    assert!(check(dir.path()).unwrap().manifest.unwrap().appended_by_reference);
}

#[test]
fn a_torn_tail_is_kept_apart_before_a_region_is_appended() {
    for dir in [reference(), ours()] {
        change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(b"\x20\0\0\0NoKV\x07\x09"));
        let torn = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
        running(dir.path(), &region(8, "m", "")).unwrap();
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
        match running(dir.path(), &region(8, "l", "")) {
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
        let refused = running(dir.path(), &region(8, "m", ""));
        assert!(matches!(refused, Err(AppendError::Storage(StorageError::Damaged { .. }))), "{refused:?}");
        assert_eq!(files(dir.path()), before);
    }
    let dir = ours();
    let _server = Opened::open(Arc::new(OsFs), dir.path()).unwrap();
    let holder = format!("pid {}", std::process::id());
    let lines = [
        running(dir.path(), &region(8, "m", "")).unwrap_err().to_string(),
        check(dir.path()).unwrap_err().to_string(),
        dump(dir.path()).unwrap_err().to_string(),
        set_min(dir.path(), Some(1), None).unwrap_err().to_string(),
        rebuild(dir.path()).unwrap_err().to_string(),
    ];
    lines.iter().for_each(|line| assert!(line.contains(&holder), "{line}"));
}

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
    assert!(running(dir.path(), &region(1, "", "")).is_err());
    assert_eq!(files(dir.path()), before);
}

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

/// Runs `command` with the power going at each operation, and `check` on what is left.
fn at_every_operation(
    prepare: impl Fn() -> TempDir,
    command: impl Fn(&Dir) -> bool,
    check: impl Fn(&Path, bool, &str),
) {
    for cut_at in 0.. {
        let dir = prepare();
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let fs = FaultFs::new(dir.path(), move |op, _| match counted.fetch_add(1, Ordering::SeqCst) {
            number if number < cut_at => Fate::Pass,
            number => match op {
                Op::Write { len, .. } if number == cut_at => Fate::Short(len / 2),
                _ => Fate::Fail(EIO),
            },
        });
        let is_done = command(&Dir { fs: Arc::new(fs.clone()), path: dir.path().to_owned() });
        for cut in [PowerCut::Nothing, PowerCut::Contents, PowerCut::NamesAndContents] {
            let left = tempfile::tempdir().unwrap();
            fs.cut_power(cut, left.path());
            check(left.path(), is_done, &format!("operation {cut_at}, {cut:?}"));
        }
        if count.load(Ordering::SeqCst) <= cut_at {
            assert!(is_done && cut_at > 2, "{cut_at} operations");
            return;
        }
    }
}

#[test]
fn an_append_is_whole_or_not_there_whenever_the_power_goes() {
    let torn = || {
        let dir = ours();
        change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(b"\x20\0\0\0NoKV\x07\x09"));
        dir
    };
    let prepares: [&dyn Fn() -> TempDir; 4] = [&reference, &ours, &torn, &|| tempfile::tempdir().unwrap()];
    for prepare in prepares {
        let dir = prepare();
        let (before, counters) = read(dir.path()).unwrap();
        let after = [&before[..], &[region(8, "m", "")]].concat();
        let command = |dir: &Dir| append_in(dir, &region(8, "m", ""), RegionState::Running).is_ok();
        at_every_operation(prepare, command, |left, is_done, context| {
            let (regions, issued) = read(left).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(regions == after || regions == before && !is_done, "{context}: {regions:?}");
            assert_eq!(issued, counters, "{context}");
        });
    }
}

#[test]
fn the_counters_are_the_old_or_the_new_ones_whenever_the_power_goes() {
    let raised = Limits { ids: 99, timestamps: 40 };
    for prepare in [reference, ours] {
        at_every_operation(
            prepare,
            |dir| set_min_in(dir, Some(100), None).is_ok(),
            |left, is_done, context| {
                let (regions, issued) = read(left).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(issued == raised || issued == COUNTERS && !is_done, "{context}: {issued:?}");
                assert_eq!(regions.len(), 2);
            },
        );
    }
}

#[test]
fn a_rebuild_can_be_repeated_whenever_the_power_goes() {
    let without_state = || {
        let dir = damaged(reference());
        std::fs::remove_file(dir.path().join(STATE_FILE)).unwrap();
        dir
    };
    let without_current = || {
        let dir = ours();
        std::fs::remove_file(dir.path().join("CURRENT")).unwrap();
        dir
    };
    let prepares: [(&dyn Fn() -> TempDir, Limits); 4] = [
        (&|| damaged(reference()), COUNTERS),
        (&|| damaged(ours()), COUNTERS),
        (&without_state, Limits::default()),
        (&without_current, COUNTERS),
    ];
    for (prepare, counters) in prepares {
        let dir = prepare();
        let damaged = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
        at_every_operation(
            prepare,
            |dir| rebuild_in(dir).unwrap_or(None).is_some(),
            |left, is_done, context| {
                let copies = files(left)
                    .into_iter()
                    .filter(|(name, content)| name.starts_with("MANIFEST-000001") && *content == damaged);
                assert_eq!(copies.count(), 1, "{context}: the damaged manifest is kept");
                if is_done {
                    assert_eq!(rebuild(left).unwrap(), None, "{context}");
                } else {
                    rebuild(left).unwrap_or_else(|error| panic!("{context}: {error}"));
                }
                assert_eq!(read(left).unwrap(), (vec![], counters), "{context}");
            },
        );
    }
}
