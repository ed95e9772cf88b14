//! A manifest that is mostly history is rewritten while the server goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, unbounded};

use super::super::fs::OsFs;
use super::super::rewrite::{REWRITE_LEN_MIN, SLICE_REGIONS_MAX};
use super::super::{Edit, EditOutcome};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use super::support::{Running, apply, current, delete, manifests, narrow, read, region, run, wait};
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

/// Makes a manifest that is due for a rewrite, and whose catalog is several slices long.
fn fill(running: &Running) -> BTreeMap<RegionId, Arc<Region>> {
    let mut expected = BTreeMap::new();
    let regions = u64::try_from(SLICE_REGIONS_MAX).unwrap() * 5 / 2;
    for (version, last) in [(1, regions), (2, regions / 2)] {
        for chunk in (1..=last).map(|id| wide(id, version)).collect::<Vec<_>>().chunks(500) {
            chunk.iter().for_each(|edit| apply(&mut expected, edit));
            edit_all(running, chunk.to_vec());
        }
    }
    // From here on most of it is history.
    let shrink = (1..=regions).map(|id| narrow(id, 3)).collect::<Vec<_>>();
    shrink.iter().for_each(|edit| apply(&mut expected, edit));
    edit_all(running, shrink);
    expected
}

/// A rule that reports each operation on a manifest or on `CURRENT`, and lets it pass.
fn report(fs: &FaultFs) -> Receiver<(Op, String)> {
    let (sender, receiver) = unbounded();
    fs.set_rule(move |op, path| {
        let _ = sender.send((op, name(path)));
        Fate::Pass
    });
    receiver
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
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let ops = report(&fs);
    let running = run(fs.clone(), dir.path()).unwrap();
    let mut expected = fill(&running);
    let first = running.take(Kind::Id, 1).unwrap();
    // Until the old manifest is gone: remove, bring back, change and add, in front of and behind the copied part.
    let mut step = 10_000;
    while !is_rewritten(dir.path()) {
        assert!(step < 1_000_000 && running.fatal.is_empty(), "no rewrite happens");
        step += 1;
        let id = step * 7 % 2600;
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
    // Slice by slice: the opening record, three slices or more, the end.
    let synced_slices = ops.try_iter().filter(|(op, name)| *op == Op::Sync && name == "MANIFEST-000002").count();
    assert!(synced_slices > 4, "{synced_slices}");
    running.writer.stop().unwrap();
    assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()));
}

#[test]
fn allocators_are_served_between_two_slices() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let ops = Arc::new(Mutex::new(Vec::new()));
    let (copying, is_copying) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let seen = ops.clone();
    // Stops at the sync of the first slice, which is the second of the new manifest.
    fs.set_rule(move |op, path| {
        let mut seen = seen.lock().unwrap();
        seen.push((op, name(path)));
        let is_slice = |(op, name): &&(Op, String)| *op == Op::Sync && name == "MANIFEST-000002";
        if is_slice(&seen.last().unwrap()) && seen.iter().filter(is_slice).count() == 2 {
            seen.clear();
            drop(seen);
            copying.send(()).unwrap();
            let _ = is_released.recv();
        }
        Fate::Pass
    });
    fill(&running);
    is_copying.recv().unwrap();
    let parked = running.ask(Kind::Timestamp, 1).unwrap().unwrap_err();
    drop(release);
    assert_eq!(wait(parked), Ok(1));
    assert_eq!(ops.lock().unwrap()[0], (Op::Create, "PD_STATE.json.tmp".to_owned()));
    running.writer.stop().unwrap();
}

#[test]
fn without_space_for_the_new_manifest_the_old_one_goes_on() {
    // The opening record and one slice fit, but not the second one.
    for (failing, skipped) in [("MANIFEST-000002", 0), ("MANIFEST-000002", 2), ("CURRENT.tmp", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let running = run(fs.clone(), dir.path()).unwrap();
        let (given_up, is_given_up) = unbounded();
        let mut writes = 0;
        fs.set_rule(move |op, path| {
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
        let mut expected = fill(&running);
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
fn an_append_without_space_takes_that_of_the_new_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let (copying, is_copying) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let mut is_rewriting = false;
    fs.set_rule(move |op, path| match (op, &*name(path)) {
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
    let mut expected = fill(&running);
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
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let running = run(fs.clone(), dir.path()).unwrap();
        fs.set_rule(move |op, path| {
            let same = std::mem::discriminant(&op) == std::mem::discriminant(&failing);
            if same && name(path) == "MANIFEST-000002" { Fate::Fail(EIO) } else { Fate::Pass }
        });
        let expected = fill(&running);
        assert!(running.fatal.recv().is_ok());
        assert!(running.writer.stop().is_err());
        assert!(read(OsFs, dir.path()).unwrap().0.iter().eq(expected.values()), "what was acknowledged is there");
    }
}
