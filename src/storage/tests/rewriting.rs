//! A manifest that is mostly history is rewritten while the server goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::unbounded;

use super::super::fs::OsFs;
use super::super::rewrite::{REWRITE_LEN_MIN, SLICE_REGIONS_MAX};
use super::super::{Edit, EditError, EditOutcome};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use super::support::{Running, apply, current, delete, manifest_len, manifests, narrow, read, region, run, wait};
use crate::core::{Kind, Region, RegionId};

/// A region with long keys, a slice of which is long as well.
fn wide(id: u64, version: u64) -> Edit {
    let long = "k".repeat(1000);
    Edit::Put(region(id, &format!("{id:08}{long}"), &format!("{id:08}{long}~"), version))
}

fn edit_all(running: &Running, edits: impl IntoIterator<Item = Edit>) {
    let answers = edits.into_iter().map(|edit| running.submit(edit).unwrap()).collect::<Vec<_>>();
    answers.into_iter().for_each(|answer| assert!(wait(answer).is_ok()));
}

/// Makes a workdir whose manifest is due for a rewrite at the next start, with a catalog that is several slices long.
fn fill(dir: &Path) -> BTreeMap<RegionId, Arc<Region>> {
    let no_rewrite = |op, path: &Path| match op {
        Op::Create if name(path) == "MANIFEST-000002" => Fate::Fail(ENOSPC),
        _ => Fate::Pass,
    };
    let running = run(FaultFs::new(dir, no_rewrite), dir).unwrap();
    let mut expected = BTreeMap::new();
    let regions = u64::try_from(SLICE_REGIONS_MAX).unwrap() * 5 / 2;
    let wide = (1..=regions).map(|id| wide(id, 1));
    let narrow = (1..=regions).map(|id| narrow(id, 2));
    let edits = wide.chain(narrow).collect::<Vec<_>>();
    edits.iter().for_each(|edit| apply(&mut expected, edit));
    edit_all(&running, edits);
    running.writer.stop().unwrap();
    assert!(manifest_len(dir) > REWRITE_LEN_MIN);
    expected
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Tells whether a small new manifest is in place and the old one gone.
fn is_rewritten(dir: &Path) -> bool {
    match &manifests(dir)[..] {
        [name] if name != "MANIFEST-000001" => {
            std::fs::metadata(dir.join(name)).is_ok_and(|file| file.len() < REWRITE_LEN_MIN)
        }
        _ => false,
    }
}

#[test]
fn a_rewrite_shrinks_the_file_and_survives_edits_that_go_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = fill(dir.path());
    let slices = Arc::new(AtomicUsize::new(0));
    let counted = slices.clone();
    let fs = FaultFs::new(dir.path(), move |op, path| {
        if op == Op::Sync && name(path) == "MANIFEST-000002" {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Fate::Pass
    });
    let running = run(fs, dir.path()).unwrap();
    let first = running.take(Kind::Id, 1).unwrap();
    // Until the old manifest is gone: remove, bring back, change and add, in front of and behind the copied part.
    let mut step = 10_000;
    while !is_rewritten(dir.path()) {
        assert!(step < 1_000_000 && running.fatal.is_empty(), "no rewrite happens");
        step += 1;
        let id = step * 1301 % 2560 + 1;
        for edit in [delete(id), narrow(id, step), narrow(id + 1, step), narrow(step, 1), delete(id + 2)] {
            assert!(running.edit(edit.clone()).is_ok());
            apply(&mut expected, &edit);
        }
    }
    assert_eq!(vec![current(dir.path())], manifests(dir.path()));
    assert!(running.take(Kind::Id, 1).is_ok_and(|id| id > first));
    assert_eq!(running.edit(narrow(9, u64::MAX)), Ok(EditOutcome::Stored));
    apply(&mut expected, &narrow(9, u64::MAX));
    assert!(running.regions().iter().eq(expected.values()));
    assert!(slices.load(Ordering::Relaxed) >= 5, "the opening record, three slices, the end");
    running.writer.stop().unwrap();
    assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()));
}

/// The edits of the test above were so few while slices were copied, and of such high ids, that each region was copied after
/// it had changed: a rewrite that left out the batches which go on meanwhile was not noticed.
#[test]
fn what_changes_between_two_slices_is_in_the_new_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = fill(dir.path());
    let (report, syncs) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let fs = FaultFs::new(dir.path(), move |op, path| {
        if op == Op::Sync && name(path) == "MANIFEST-000002" {
            let _ = report.send(());
            let _ = is_released.recv();
        }
        Fate::Pass
    });
    let running = run(fs, dir.path()).unwrap();
    let mut answers = Vec::new();
    // At the opening record, three slices and the end: in front of what is copied, behind it, and of new regions.
    for id in 1..=5 {
        syncs.recv().unwrap();
        for edit in [delete(id), narrow(id + 10, 9), narrow(id + 2_550, 9), delete(id + 2_540), narrow(id + 9_000, 1)] {
            answers.push(running.submit(edit.clone()).unwrap());
            apply(&mut expected, &edit);
        }
        release.send(()).unwrap();
    }
    drop(release);
    answers.into_iter().for_each(|answer| assert!(wait(answer).is_ok()));
    running.writer.stop().unwrap();
    assert_eq!(manifests(dir.path()), ["MANIFEST-000002"]);
    assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()));
}

#[test]
fn allocators_are_served_between_two_slices() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (report, ops) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let mut syncs = 0;
    let fs = FaultFs::new(dir.path(), move |op, path| {
        if op.is_change() {
            report.send((op, name(path))).unwrap();
        }
        if op == Op::Sync && name(path) == "MANIFEST-000002" {
            // The first is that of the opening record, the second that of a slice.
            syncs += 1;
            if syncs == 2 {
                let _ = is_released.recv();
            }
        }
        Fate::Pass
    });
    let running = run(fs, dir.path()).unwrap();
    let slice = (Op::Sync, "MANIFEST-000002".to_owned());
    assert_eq!(ops.iter().filter(|op| *op == slice).take(2).count(), 2);
    let parked = running.ask(Kind::Timestamp, 1).unwrap().unwrap_err();
    drop(release);
    assert_eq!(wait(parked), Ok(1));
    assert_eq!(ops.recv().unwrap(), (Op::Create, "PD_STATE.json.tmp".to_owned()));
    running.writer.stop().unwrap();
}

#[test]
fn without_space_for_the_new_manifest_the_old_one_goes_on() {
    // The opening record and one slice fit, but not the second one.
    for (failing, skipped) in [("MANIFEST-000002", 0), ("MANIFEST-000002", 2), ("CURRENT.tmp", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = fill(dir.path());
        let (given_up, is_given_up) = unbounded();
        let mut writes = 0;
        let fs = FaultFs::new(dir.path(), move |op, path| {
            match op {
                Op::Remove if name(path) == "MANIFEST-000002" => {
                    let _ = given_up.send(());
                }
                Op::Write { .. } if name(path) == failing => {
                    writes += 1;
                    if writes > skipped {
                        return Fate::Fail(ENOSPC);
                    }
                }
                _ => {}
            }
            Fate::Pass
        });
        let running = run(fs, dir.path()).unwrap();
        is_given_up.recv().unwrap();
        assert_eq!(running.edit(narrow(9, 7)), Ok(EditOutcome::Stored));
        apply(&mut expected, &narrow(9, 7));
        assert!(running.fatal.is_empty());
        running.writer.stop().unwrap();
        assert_eq!(manifests(dir.path()), ["MANIFEST-000001"], "{failing}");
        assert!(!dir.path().join("CURRENT.tmp").exists());
        assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()));
    }
}

#[test]
fn an_append_without_space_delays_no_rewrite_when_none_runs() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let long = "k".repeat(480_000);
    let edit = |version| Edit::Put(region(50, &format!("50{long}"), "51", version));
    (1..=8).for_each(|version| assert!(running.edit(edit(version)).is_ok()));
    assert!(manifest_len(dir.path()) < REWRITE_LEN_MIN);
    fs.set_rule(|op, _| if matches!(op, Op::Write { .. }) { Fate::Fail(ENOSPC) } else { Fate::Pass });
    assert_eq!(running.edit(edit(9)), Err(EditError::NoSpace));
    let (begun, is_begun) = unbounded();
    fs.set_rule(move |op, path| {
        if op == Op::Create && name(path) == "MANIFEST-000002" {
            begun.send(()).unwrap();
        }
        Fate::Pass
    });
    assert!(running.edit(edit(9)).is_ok());
    // The rewrite that this makes due begins before the next edit is answered.
    assert!(running.edit(narrow(1, 1)).is_ok());
    assert!(is_begun.try_recv().is_ok());
    running.writer.stop().unwrap();
}

#[test]
fn an_append_without_space_takes_that_of_the_new_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = fill(dir.path());
    let (copying, is_copying) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let mut is_rewriting = false;
    let fs = FaultFs::new(dir.path(), move |op, path| match (op, &*name(path)) {
        (Op::Sync, "MANIFEST-000002") => {
            is_rewriting = true;
            let _ = copying.send(());
            let _ = is_released.recv();
            Fate::Pass
        }
        (Op::Remove, "MANIFEST-000002") => {
            is_rewriting = false;
            Fate::Pass
        }
        (Op::Write { .. }, "MANIFEST-000001") if is_rewriting => Fate::Fail(ENOSPC),
        _ => Fate::Pass,
    });
    let running = run(fs, dir.path()).unwrap();
    is_copying.recv().unwrap();
    let answer = running.submit(narrow(9, 7)).unwrap();
    drop(release);
    assert_eq!(wait(answer), Ok(EditOutcome::Stored));
    apply(&mut expected, &narrow(9, 7));
    running.writer.stop().unwrap();
    assert_eq!(manifests(dir.path()), ["MANIFEST-000001"]);
    assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()));
}

#[test]
fn every_other_failure_of_a_rewrite_is_final() {
    for failing in [Op::Write { offset: 0, len: 0 }, Op::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let expected = fill(dir.path());
        let fs = FaultFs::new(dir.path(), move |op, path| {
            let same = op.is_like(failing);
            if same && name(path) == "MANIFEST-000002" { Fate::Fail(EIO) } else { Fate::Pass }
        });
        let running = run(fs, dir.path()).unwrap();
        assert!(running.fatal.recv().is_ok());
        assert!(running.writer.stop().is_err());
        assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()), "what was acknowledged is there");
    }
}
