//! The power goes at every single operation on the disk, one after the other: what was acknowledged is there afterwards,
//! and no value is given out twice. So it is when the process alone ends there, the next one goes on, and then the power goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, unbounded};

use super::super::fs::OsFs;
use super::super::record::{self, RegionState};
use super::super::{Edit, EditError};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op, PowerCut};
use super::support::{apply, copy, delete, manifest_len, narrow, read, region, run};
use crate::core::{Kind, Limits, Region, RegionId};

type Regions = BTreeMap<RegionId, Arc<Region>>;

/// What the callers know when the power goes.
#[derive(Default)]
struct Known {
    /// By acknowledged edits, those before the start included.
    regions: Regions,
    /// An edit that was answered with "unknown".
    unknown: Option<Edit>,
    given: Limits,
}

/// Serves the workdir: some edits, some allocations, then `until`, then a clean end. Ends early when the power goes.
fn serve(fs: FaultFs, dir: &Path, mut known: Known, until: impl FnOnce()) -> Known {
    let Ok(running) = run(fs, dir) else { return known };
    let edits = [narrow(1, 5), narrow(2, 5), delete(1), narrow(3, 5), narrow(2, 6)];
    for (round, edit) in edits.into_iter().enumerate() {
        match running.edit(edit.clone()) {
            Ok(_) => apply(&mut known.regions, &edit),
            Err(EditError::Unknown) => known.unknown = Some(edit),
            Err(EditError::Stopped) => {}
            Err(error) => panic!("{error:?}"),
        }
        let (kind, last) = match round % 2 {
            0 => (Kind::Id, &mut known.given.ids),
            _ => (Kind::Timestamp, &mut known.given.timestamps),
        };
        if let Ok(first) = running.take(kind, 3000) {
            assert!(first > *last);
            *last = first + 2999;
        }
    }
    until();
    let _ = running.writer.stop();
    known
}

/// Runs `scenario` once for each operation on the disk, with the power going at that one: it and all later ones fail. A write
/// is done by half. `scenario` gets a channel that reports the operations and ends with the power.
fn at_every_operation(
    prepare: impl Fn(&Path),
    scenario: impl Fn(FaultFs, &Path, Receiver<(Op, String)>) -> Known,
) -> u64 {
    let mut cut_at = 0;
    loop {
        let dir = scratch();
        prepare(dir.path());
        let count = Arc::new(AtomicU64::new(0));
        let (report, ops) = unbounded();
        let mut report = Some(report);
        let counted = count.clone();
        let fs = FaultFs::new(dir.path(), move |op, path| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            if number < cut_at {
                let name = path.file_name().unwrap_or_default().to_str().unwrap().to_owned();
                let _ = report.as_ref().unwrap().send((op, name));
                return Fate::Pass;
            }
            report = None;
            match op {
                Op::Write { len, .. } if number == cut_at => Fate::Short(len / 2),
                _ => Fate::Fail(EIO),
            }
        });
        let known = scenario(fs.clone(), dir.path(), ops);
        for cut in [PowerCut::Nothing, PowerCut::Contents, PowerCut::NamesAndContents] {
            let left = scratch();
            fs.cut_power(cut, left.path());
            check(left.path(), &known, &format!("operation {cut_at}, {cut:?}"));
        }
        go_on(&fs, dir.path(), known, &format!("killed at operation {cut_at}"));
        if count.load(Ordering::SeqCst) <= cut_at {
            return cut_at;
        }
        cut_at += 1;
    }
}

/// Serves the workdir of a process that ended, by the same disk, until the power goes.
fn go_on(fs: &FaultFs, dir: &Path, mut known: Known, context: &str) {
    fs.set_rule(|_, _| Fate::Pass);
    let running = run(fs.clone(), dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    known.regions = running.regions().into_iter().map(|region| (region.id(), region)).collect();
    known.unknown = None;
    for edit in [narrow(4, 1), narrow(5, 1), delete(4)] {
        assert!(running.edit(edit.clone()).is_ok(), "{context}");
        apply(&mut known.regions, &edit);
    }
    let cut_power = |known: &Known| {
        let left = scratch();
        fs.cut_power(PowerCut::NamesAndContents, left.path());
        check(left.path(), known, context);
    };
    cut_power(&known);
    known.given.ids = running.take(Kind::Id, 1).unwrap();
    known.given.timestamps = running.take(Kind::Timestamp, 1).unwrap();
    cut_power(&known);
}

/// A directory in memory, where the system has one: these tests make thousands of files, and the record of what was synced
/// takes the place of the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The workdir opens, holds what is known, and serves again.
fn check(dir: &Path, known: &Known, context: &str) {
    let (regions, issued) = read(OsFs, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = regions.into_iter().map(|region| (region.id(), region)).collect::<Regions>();
    let mut with_unknown = known.regions.clone();
    known.unknown.iter().for_each(|edit| apply(&mut with_unknown, edit));
    assert!(found == known.regions || found == with_unknown, "{context}: {found:?}");
    assert!(issued.ids >= known.given.ids && issued.timestamps >= known.given.timestamps, "{context}: {issued:?}");

    let fs = FaultFs::new(dir, |_, _| Fate::Pass);
    let running = run(fs, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(running.take(Kind::Id, 1).unwrap() > known.given.ids, "{context}");
    assert!(running.take(Kind::Timestamp, 1).unwrap() > known.given.timestamps, "{context}");
    running.edit(narrow(99, 1)).unwrap();
    let served = running.regions();
    drop(running);
    assert_eq!(read(OsFs, dir).unwrap().0, served, "{context}");
}

#[test]
fn creation_and_batches_survive() {
    let operations = at_every_operation(|_| {}, |fs, dir, _| serve(fs, dir, Known::default(), || {}));
    assert!(operations > 30, "{operations}");
}

/// Regions of a workdir before the start.
fn before() -> Known {
    let regions = [region(1, "00000001", "00000001~", 1), region(7, "7", "8", 1)];
    let regions = regions.into_iter().map(|region| (region.id(), region)).collect();
    Known { regions, unknown: None, given: Limits { ids: 40, timestamps: 50 } }
}

#[test]
fn conversion_survives() {
    for (torn, has_allocated) in [(false, true), (true, true), (false, false)] {
        let known = || match has_allocated {
            true => before(),
            false => Known { given: Limits::default(), ..before() },
        };
        let prepare = |dir: &Path| {
            let mut manifest = Vec::new();
            for region in before().regions.values() {
                record::push_put(&mut manifest, region, RegionState::Plain, false);
            }
            if torn {
                record::push_delete(&mut manifest, RegionId(7), false);
                manifest.truncate(manifest.len() - 1);
            }
            std::fs::write(dir.join("MANIFEST-000001"), manifest).unwrap();
            std::fs::write(dir.join("CURRENT"), "MANIFEST-000001").unwrap();
            if has_allocated {
                std::fs::write(dir.join("PD_STATE.json"), r#"{"id_current":40,"ts_current":50}"#).unwrap();
            }
        };
        at_every_operation(prepare, |fs, dir, _| serve(fs, dir, known(), || {}));
    }
}

/// A workdir of ours, in which everything is synced.
fn prepared(known: &Known, dir: &Path) {
    let running = run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap();
    known.regions.values().for_each(|region| assert!(running.edit(Edit::Put(region.clone())).is_ok()));
    running.take(Kind::Id, known.given.ids).unwrap();
    running.take(Kind::Timestamp, known.given.timestamps).unwrap();
    running.writer.stop().unwrap();
}

#[test]
fn the_cut_of_a_torn_tail_survives() {
    let template = scratch();
    prepared(&before(), template.path());
    let manifest = template.path().join("MANIFEST-000001");
    let mut content = std::fs::read(&manifest).unwrap();
    record::push_delete(&mut content, RegionId(7), true);
    std::fs::write(&manifest, &content).unwrap();
    let scenario = |fs: FaultFs, dir: &Path, _| {
        let known = serve(fs, dir, before(), || {});
        let kept = dir.join("MANIFEST-000001.broken");
        assert!(!kept.exists() || std::fs::read(kept).unwrap() == content, "a copy is whole or not there");
        assert!(dir.join("MANIFEST-000001.broken").exists() || known.given == before().given, "no copy was kept");
        known
    };
    at_every_operation(|dir| copy(template.path(), dir), scenario);
}

#[test]
fn a_rewrite_survives() {
    let template = scratch();
    prepared(&before(), template.path());
    // 5 MiB of history, and no space for a new manifest until they are written.
    let no_rewrite = |op, path: &Path| match op {
        Op::Create if path.ends_with("MANIFEST-000002") => Fate::Fail(ENOSPC),
        _ => Fate::Pass,
    };
    let running = run(FaultFs::new(template.path(), no_rewrite), template.path()).unwrap();
    for version in 1..=11 {
        let long = "k".repeat(480_000);
        running.edit(Edit::Put(region(50, &format!("50{long}"), "51", version))).unwrap();
    }
    running.edit(delete(50)).unwrap();
    running.writer.stop().unwrap();
    assert!(manifest_len(template.path()) > 5_000_000);
    let scenario = |fs: FaultFs, dir: &Path, ops: Receiver<(Op, String)>| {
        // The channel ends when the power goes.
        serve(fs, dir, before(), || {
            while let Ok((op, name)) = ops.recv() {
                if op == Op::Remove && name == "MANIFEST-000001" {
                    break;
                }
            }
        })
    };
    let operations = at_every_operation(|dir| copy(template.path(), dir), scenario);
    assert!(operations > 40, "{operations}");
}
