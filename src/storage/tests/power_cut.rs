//! Whatever fails at whatever operation on the disk, and in whatever way the power goes then: what was acknowledged is there
//! afterwards and nothing else, and no value is given out twice. Interrupted calls and short writes are not even noticed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Select;

use super::super::fs::OsFs;
use super::super::record::{self, RegionState};
use super::super::{Edit, EditError};
use super::disk::{self, Left, SMALL_PAGE_LEN};
use super::every_operation::{FAULTS, Fault, Run, at_every_operation, scratch};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use super::rng::Rng;
use super::support::{Running, apply, copy, delete, manifest_len, narrow, read, region, run, wait};
use crate::core::{Kind, Limits, Region, RegionId};

type Regions = BTreeMap<RegionId, Arc<Region>>;

/// What the callers know when the power goes.
#[derive(Clone, Debug, Default)]
struct Known {
    /// By acknowledged edits, those before the start included.
    regions: Regions,
    /// Edits that were answered with "unknown". They were in one batch.
    unknown: Vec<Edit>,
    given: Limits,
}

/// One process after the other on a workdir that meets a fault.
struct Callers<'a> {
    run: &'a Run<'a>,
    known: Known,
    /// Whether anything failed, and whether it ended a process.
    failed: bool,
    ended: bool,
}

impl<'a> Callers<'a> {
    fn new(run: &'a Run<'a>, known: Known) -> Self {
        Self { run, known, failed: false, ended: false }
    }

    /// Serves the workdir: `groups` of edits that are queued together, allocations between them, then `until`, then a clean
    /// end. Does nothing after a failure that ended a process.
    fn serve(&mut self, groups: &[Vec<Edit>], until: impl FnOnce(&Running)) -> &mut Self {
        if self.ended {
            return self;
        }
        let Ok(running) = super::support::run(self.run.fs.clone(), self.run.dir) else {
            (self.failed, self.ended) = (true, true);
            return self;
        };
        for (round, group) in groups.iter().enumerate() {
            self.edit(&running, group);
            // The first one parks, and the second needs a refill in the next half second as well.
            self.take(&running, if round % 2 == 0 { Kind::Id } else { Kind::Timestamp }, 3000);
        }
        until(&running);
        assert!(!self.is_survivable() || running.fatal.is_empty(), "no space for {:?} ended it", self.run.met());
        // A last write for which there is no space ends it as well.
        self.ended |= running.writer.stop().is_err();
        self.failed |= self.ended;
        self
    }

    fn edit(&mut self, running: &Running, group: &[Edit]) {
        let answers: Vec<_> = group.iter().map(|edit| running.submit(edit.clone())).collect();
        for (edit, answer) in group.iter().zip(answers) {
            match answer.and_then(wait) {
                Ok(_) => {
                    apply(&mut self.known.regions, edit);
                    continue;
                }
                Err(EditError::NoSpace) => {}
                Err(error) if self.is_survivable() => panic!("no space for {:?} ended in {error:?}", self.run.met()),
                Err(EditError::Unknown) => self.known.unknown.push(edit.clone()),
                Err(EditError::Stopped) => {}
                Err(error) => panic!("{error:?}"),
            }
            self.failed = true;
        }
    }

    fn take(&mut self, running: &Running, kind: Kind, count: u64) {
        let last = match kind {
            Kind::Id => &mut self.known.given.ids,
            Kind::Timestamp => &mut self.known.given.timestamps,
        };
        match running.take(kind, count) {
            Ok(first) => {
                assert!(first > *last, "{first} was given before");
                *last = first + count - 1;
            }
            Err(_) => self.failed = true,
        }
    }

    /// Whether a process that serves goes on after the fault: it was a lack of space for something that is undone.
    fn is_survivable(&self) -> bool {
        matches!(
            (self.run.fault, self.run.met()),
            (Some(Fault::Once(ENOSPC)), Some(Op::Create | Op::Write { .. }))
                | (Some(Fault::NoSpaceMidway), Some(Op::Write { .. }))
        )
    }

    /// What they know in the end. Checks that a fault was not noticed which need not be.
    fn end(&mut self) -> Known {
        let (fault, met) = (self.run.fault, self.run.met());
        if fault.is_none_or(Fault::is_transparent) {
            assert!(!self.failed, "{fault:?} at {met:?} was noticed");
        }
        std::mem::take(&mut self.known)
    }
}

/// Edits that share batches, and some that open one each.
fn groups() -> [Vec<Edit>; 5] {
    [
        vec![narrow(1, 5), narrow(2, 5)],
        vec![delete(1)],
        vec![narrow(3, 5), narrow(4, 5), delete(9), narrow(5, 5)],
        vec![narrow(2, 6)],
        vec![delete(4), narrow(1, 6)],
    ]
}

/// A process of a fault-free machine, and then the next.
fn two_processes(run: &Run<'_>, known: Known) -> Known {
    let mut callers = Callers::new(run, known);
    callers.serve(&groups()[..3], |_| {}).serve(&groups()[3..], |_| {});
    callers.end()
}

/// The workdir opens, holds what is known, and serves again, also when the power goes once more meanwhile.
fn check(dir: &Path, known: &Known, context: &str) {
    let (regions, issued) = read(OsFs, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = regions.into_iter().map(|region| (region.id(), region)).collect::<Regions>();
    let mut with_unknown = known.regions.clone();
    known.unknown.iter().for_each(|edit| apply(&mut with_unknown, edit));
    assert!(found == known.regions || found == with_unknown, "{context}: {found:?}");
    assert!(issued.ids >= known.given.ids && issued.timestamps >= known.given.timestamps, "{context}: {issued:?}");

    let known = Known { regions: found, unknown: Vec::new(), given: known.given };
    cut_again(dir, &known, context);

    let running = run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(running.take(Kind::Id, 1).unwrap() > known.given.ids, "{context}");
    assert!(running.take(Kind::Timestamp, 1).unwrap() > known.given.timestamps, "{context}");
    running.edit(narrow(99, 1)).unwrap();
    let served = running.regions();
    drop(running);
    assert_eq!(read(OsFs, dir).unwrap().0, served, "{context}");
}

/// The power goes once more at some operation of the start that follows.
fn cut_again(dir: &Path, known: &Known, context: &str) {
    let again = scratch();
    copy(dir, again.path());
    let seed = known.given.ids + known.given.timestamps + u64::try_from(context.len()).unwrap();
    let cut_at = Rng::new(seed).below(40);
    let mut number = 0;
    let fs = FaultFs::new(again.path(), move |_, _| {
        number += 1;
        if number > cut_at { Fate::Fail(EIO) } else { Fate::Pass }
    });
    drop(run(fs.clone(), again.path()));
    for files in fs.power_cuts(seed) {
        let left = scratch();
        disk::restore(&files, left.path());
        let (regions, issued) = read(OsFs, left.path()).unwrap_or_else(|error| panic!("{context}, again: {error}"));
        assert!(regions.iter().eq(known.regions.values()), "{context}, again: {regions:?}");
        assert!(issued.ids >= known.given.ids && issued.timestamps >= known.given.timestamps, "{context}, again");
    }
}

/// Serves the workdir of a process that ended, by the same disk, until the power goes. A start once built on what a killed one
/// had renamed and not synced: a power cut took the name back, with all that was acknowledged since.
fn go_on(fault: &Run<'_>, known: Known, context: &str) {
    let running = run(fault.fs.clone(), fault.dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let regions = running.regions().into_iter().map(|region| (region.id(), region)).collect();
    let mut known = Known { regions, unknown: Vec::new(), given: known.given };
    for edit in [narrow(4, 10), narrow(5, 10), delete(4)] {
        assert!(running.edit(edit.clone()).is_ok(), "{context}");
        apply(&mut known.regions, &edit);
    }
    let cut_power = |known: &Known| {
        let left = scratch();
        disk::restore(&fault.fs.cut_power(Left::Synced), left.path());
        let (regions, issued) = read(OsFs, left.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(regions.iter().eq(known.regions.values()), "{context}: {regions:?}");
        assert!(issued.ids >= known.given.ids && issued.timestamps >= known.given.timestamps, "{context}: {issued:?}");
    };
    cut_power(&known);
    for (kind, last) in [(Kind::Id, &mut known.given.ids), (Kind::Timestamp, &mut known.given.timestamps)] {
        let first = running.take(kind, 1).unwrap();
        assert!(first > *last, "{context}: {first} was given before");
        *last = first;
    }
    cut_power(&known);
}

#[test]
fn the_very_first_start_survives() {
    let scenario = |run: &Run<'_>| {
        let mut callers = Callers::new(run, Known::default());
        callers.serve(&groups()[..1], |_| {});
        callers.end()
    };
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, |_| {}, scenario, check, go_on);
}

#[test]
fn batches_refills_and_restarts_survive() {
    let prepare = |dir: &Path| drop(run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap());
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, prepare, |run| two_processes(run, Known::default()), check, go_on);
}

/// Regions of a workdir before the start.
fn before() -> Known {
    let regions = [region(1, "00000001", "00000001~", 1), region(7, "7", "8", 1)];
    let regions = regions.into_iter().map(|region| (region.id(), region)).collect();
    Known { regions, unknown: Vec::new(), given: Limits { ids: 40, timestamps: 50 } }
}

fn converts(torn: bool, has_allocated: bool) {
    let known = || match has_allocated {
        true => before(),
        false => Known { given: Limits::default(), ..before() },
    };
    let prepare = |dir: &Path| {
        std::fs::create_dir(dir).unwrap();
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
    let scenario = |run: &Run<'_>| {
        let mut callers = Callers::new(run, known());
        callers.serve(&groups()[..2], |_| {});
        callers.end()
    };
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, prepare, scenario, check, go_on);
}

#[test]
fn a_conversion_survives() {
    converts(false, true);
}

#[test]
fn a_conversion_of_what_never_allocated_survives() {
    converts(false, false);
}

#[test]
fn a_conversion_of_a_torn_manifest_survives() {
    converts(true, true);
}

/// A workdir of ours, in which everything is synced.
fn prepared(known: &Known) -> tempfile::TempDir {
    let dir = scratch();
    let running = run(FaultFs::new(dir.path(), |_, _| Fate::Pass), dir.path()).unwrap();
    known.regions.values().for_each(|region| assert!(running.edit(Edit::Put(region.clone())).is_ok()));
    running.take(Kind::Id, known.given.ids).unwrap();
    running.take(Kind::Timestamp, known.given.timestamps).unwrap();
    running.writer.stop().unwrap();
    dir
}

fn copied(template: &Path) -> impl Fn(&Path) {
    move |dir| {
        std::fs::create_dir(dir).unwrap();
        copy(template, dir);
    }
}

#[test]
fn taking_in_what_the_reference_appended_survives() {
    let template = prepared(&before());
    let manifest = template.path().join("MANIFEST-000001");
    let mut content = std::fs::read(&manifest).unwrap();
    record::push_put(&mut content, &region(8, "8", "9", 1), RegionState::Plain, false);
    std::fs::write(&manifest, &content).unwrap();
    let mut known = before();
    apply(&mut known.regions, &Edit::Put(region(8, "8", "9", 1)));
    let scenario = |run: &Run<'_>| {
        let mut callers = Callers::new(run, known.clone());
        callers.serve(&groups()[..2], |_| {});
        callers.end()
    };
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, copied(template.path()), scenario, check, go_on);
}

#[test]
fn the_cut_of_a_torn_tail_survives() {
    let template = prepared(&before());
    let manifest = template.path().join("MANIFEST-000001");
    let mut content = std::fs::read(&manifest).unwrap();
    record::push_delete(&mut content, RegionId(7), true);
    std::fs::write(&manifest, &content).unwrap();
    let scenario = |run: &Run<'_>| {
        let mut callers = Callers::new(run, before());
        let known = callers.serve(&groups()[..2], |_| {}).end();
        let kept = run.dir.join("MANIFEST-000001.broken");
        assert!(!kept.exists() || std::fs::read(&kept).unwrap() == content, "a copy is whole or not there");
        assert!(kept.exists() || known.given == before().given, "no copy was kept");
        known
    };
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, copied(template.path()), scenario, check, go_on);
}

#[test]
fn a_rewrite_survives() {
    let template = prepared(&before());
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
    let scenario = |run: &Run<'_>| {
        let mut callers = Callers::new(run, before());
        callers.serve(&groups(), |running| until_rewritten(run, running)).end()
    };
    let faults = [Fault::PowerCut, Fault::Once(EIO), Fault::Once(ENOSPC), Fault::NoSpaceMidway];
    at_every_operation(&faults, SMALL_PAGE_LEN, copied(template.path()), scenario, check, go_on);
}

/// Waits until the old manifest or the new one goes, or the process has to end.
fn until_rewritten(run: &Run<'_>, running: &Running) {
    let mut ready = Select::new();
    let (ops, _) = (ready.recv(&run.ops), ready.recv(&running.fatal));
    while ready.ready() == ops {
        if let Ok((Op::Remove, name)) = run.ops.try_recv()
            && name.starts_with("MANIFEST")
        {
            break;
        }
    }
}
