//! The reference's placement driver and ours by turns on one workdir, with kills, torn writes and power cuts between them.
//! Each finds what the other has acknowledged, and no value is given out twice.
//!
//! One case is refused and has to be: the power took a part of our last batch, and the reference was the next to start and
//! wrote behind it. It reads records with holes, and what it leaves looks like a batch that was whole and is damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::{Edit, EditError, StorageError, offline};
use super::disk::{self, Left};
use super::every_operation::scratch;
use super::faults::{EIO, Fate, FaultFs, Op};
use super::reference::Reference;
use super::rng::Rng;
use super::support::{Running, apply, copy, read, region, run, wait};
use crate::core::{Kind, Limits, Region, RegionId};
use crate::storage::fs::OsFs;

type Regions = BTreeMap<RegionId, Arc<Region>>;

/// A workdir on its way from one to the other.
struct Workdir {
    dir: tempfile::TempDir,
    rng: Rng,
    known: Regions,
    /// Edits whose outcome nobody knows, in order: some of the first of them may have happened.
    unknown: Vec<Edit>,
    given: Limits,
    /// The reference refuses a workdir whose last record is cut.
    may_be_torn: bool,
    /// The power took a part of our last batch, and whether the reference has written behind it since.
    may_have_holes: bool,
    is_built_on: bool,
    /// How often that was refused.
    refused: usize,
    context: String,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Stop,
    Kill,
    PowerCut,
}

impl Workdir {
    fn new(seed: u64, fixture: Option<&Path>) -> Self {
        let dir = scratch();
        let (mut known, mut given) = (Regions::new(), Limits::default());
        let may_be_torn = fixture.is_some();
        if let Some(fixture) = fixture {
            copy(fixture, dir.path());
            std::fs::remove_file(dir.path().join("expect.json")).unwrap();
            let (regions, issued) = read(OsFs, dir.path()).unwrap();
            known = regions.into_iter().map(|region| (region.id(), region)).collect();
            given = issued;
        }
        let context = format!("seed {seed}");
        Self {
            dir,
            rng: Rng::new(seed),
            known,
            unknown: Vec::new(),
            given,
            may_be_torn,
            may_have_holes: false,
            is_built_on: false,
            refused: 0,
            context,
        }
    }

    fn edit(&mut self) -> Edit {
        let id = 1 + self.rng.below(6);
        match self.rng.below(4) {
            0 => Edit::Delete(RegionId(id + 1_000_000 * self.rng.below(2))),
            _ => {
                // Beside everything that a fixture holds.
                let key = |letter: u64| format!("\u{ff}{letter}");
                let start = self.rng.below(8);
                let end = start + 1 + self.rng.below(2);
                Edit::Put(region(1_000_000 + id, &key(start), &key(end), 1 + self.rng.below(5)))
            }
        }
    }

    fn is_possible(&self, found: &Regions) -> bool {
        let mut possible = self.known.clone();
        *found == possible
            || self.unknown.iter().any(|edit| {
                apply(&mut possible, edit);
                *found == possible
            })
    }

    /// What was found must be what is known, with some of the edits in doubt; no others can still turn up. From then on it
    /// is known. Returns what was known before.
    fn found(&mut self, found: Regions) -> Regions {
        let (known, unknown) = (&self.known, &self.unknown);
        assert!(self.is_possible(&found), "{}: {found:?}, known {known:?}, in doubt {unknown:?}", self.context);
        let mut possible = self.known.clone();
        let mut happened = 0;
        for (at, edit) in (1..).zip(unknown) {
            apply(&mut possible, edit);
            happened = if found == possible { at } else { happened };
        }
        self.unknown.truncate(happened);
        std::mem::replace(&mut self.known, found)
    }

    fn took(&mut self, kind: Kind, first: u64, count: u64) {
        let last = match kind {
            Kind::Id => &mut self.given.ids,
            Kind::Timestamp => &mut self.given.timestamps,
        };
        assert!(first > *last, "{}: {kind:?} {first} was given before", self.context);
        *last = first + count - 1;
    }

    /// A turn of ours.
    fn ours(&mut self) {
        let end = [End::Stop, End::Kill, End::PowerCut][usize::try_from(self.rng.below(3)).unwrap()];
        self.context = format!("{}, ours {end:?}", self.context);
        // Where the power goes the start may be cut short as well.
        let fails_at = if end == End::PowerCut { self.rng.below(90) } else { u64::MAX };
        let mut number = 0;
        let fs = FaultFs::new(self.dir.path(), move |op, _| {
            number += 1;
            match op {
                Op::Write { len, .. } if number == fails_at => Fate::Short(len / 2),
                _ if number >= fails_at => Fate::Fail(EIO),
                _ => Fate::Pass,
            }
        });
        self.rebuild_if_refused();
        let running = match run(fs.clone(), self.dir.path()) {
            Ok(running) => running,
            Err(error) => {
                assert!(fails_at < u64::MAX, "{}: {error}", self.context);
                return self.end(&fs, End::PowerCut, None);
            }
        };
        let found = running.regions().into_iter().map(|region| (region.id(), region)).collect();
        self.found(found);
        self.unknown.clear();
        (self.may_have_holes, self.is_built_on) = (false, false);
        for _ in 0..self.rng.below(6) {
            self.serve(&running);
        }
        if end == End::Stop {
            running.writer.stop().unwrap();
            self.may_be_torn = false;
        } else {
            // Without what the end of the writer writes.
            self.end(&fs, end, Some(running));
        }
    }

    /// Gives the routes of a workdir up that has to be refused.
    fn rebuild_if_refused(&mut self) {
        if let Err(StorageError::Damaged { reason, .. }) = read(OsFs, self.dir.path()) {
            assert!(self.may_have_holes && self.is_built_on, "{}: {reason}", self.context);
            assert!(reason.contains("stand behind a batch that is not whole"), "{}: {reason}", self.context);
            offline::rebuild(self.dir.path()).unwrap().unwrap();
            self.refused += 1;
            self.known.clear();
            self.unknown.clear();
        }
    }

    fn serve(&mut self, running: &Running) {
        let edits = [self.edit(), self.edit()];
        let answers = edits.clone().map(|edit| running.submit(edit));
        for (edit, answer) in edits.into_iter().zip(answers) {
            match answer.and_then(wait) {
                Ok(_) => apply(&mut self.known, &edit),
                Err(EditError::Unknown) => self.unknown.push(edit),
                Err(EditError::Refused(_) | EditError::Stopped) => {}
                Err(error) => panic!("{}: {error:?}", self.context),
            }
        }
        let kind = if self.rng.below(2) == 0 { Kind::Id } else { Kind::Timestamp };
        let count = 1 + self.rng.below(3000);
        if let Ok(first) = running.take(kind, count) {
            self.took(kind, first, count);
        }
    }

    /// Goes on with what the end of a process leaves at this moment.
    fn end(&mut self, fs: &FaultFs, end: End, running: Option<Running>) {
        let files = if end == End::Kill {
            fs.cut_power(Left::Everything)
        } else {
            let mut cuts = fs.power_cuts(self.rng.below(u64::MAX));
            cuts.swap_remove(usize::try_from(self.rng.below(u64::try_from(cuts.len()).unwrap())).unwrap())
        };
        drop(running);
        self.dir = scratch();
        disk::restore(&files, self.dir.path());
        self.may_be_torn = true;
        self.may_have_holes |= end == End::PowerCut;
    }

    /// A turn of the reference.
    fn reference(&mut self) {
        self.context = format!("{}, reference", self.context);
        let mut reference = match Reference::start(self.dir.path()) {
            Ok(reference) => reference,
            Err(error) => return assert!(self.may_be_torn, "{}: {error}", self.context),
        };
        if self.may_have_holes && !self.is_possible(&reference.regions()) {
            // It serves records with holes: whoever sees that starts it no more.
            return;
        }
        // It serves records of ours whose commit never came, each by itself, and we drop them unless it writes behind them.
        let known = self.found(reference.regions());
        self.may_be_torn = false;
        for _ in 0..self.rng.below(5) {
            match self.edit() {
                Edit::Delete(id) => {
                    if reference.remove(id) {
                        self.known.remove(&id);
                    }
                }
                Edit::Put(region) => {
                    if reference.put(&region, usize::MAX) {
                        self.known.insert(region.id(), region);
                    }
                }
            }
            let kind = if self.rng.below(2) == 0 { Kind::Id } else { Kind::Timestamp };
            let count = 1 + self.rng.below(50);
            let first = reference.take(kind, count);
            self.took(kind, first, count);
        }
        self.is_built_on |= reference.has_appended;
        if reference.has_appended {
            self.unknown.clear();
        } else {
            self.known = known;
        }
        if self.rng.below(3) == 0
            && let Edit::Put(region) = self.edit()
        {
            // Killed while it writes, a record and maybe the checkpoint.
            let written = usize::try_from(self.rng.below(60)).unwrap();
            self.context = format!("{} killed at {written}", self.context);
            if reference.put(&region, written) {
                self.unknown.push(Edit::Put(region));
                self.may_be_torn = true;
            }
            std::fs::write(self.dir.path().join("PD_STATE.json.tmp"), "{\"id_cur").unwrap();
        }
    }
}

/// Returns how often a workdir had to be refused.
fn take_turns(seed: u64, fixture: Option<&Path>) -> usize {
    let mut workdir = Workdir::new(seed, fixture);
    for _ in 0..8 {
        match workdir.rng.below(2) {
            0 => workdir.ours(),
            _ => workdir.reference(),
        }
    }
    workdir.rebuild_if_refused();
    let (regions, issued) =
        read(OsFs, workdir.dir.path()).unwrap_or_else(|error| panic!("{}: {error}", workdir.context));
    workdir.found(regions.into_iter().map(|region| (region.id(), region)).collect());
    assert!(issued.ids >= workdir.given.ids && issued.timestamps >= workdir.given.timestamps, "{}", workdir.context);
    workdir.refused
}

/// The power went when a first start had written its checkpoint and no `CURRENT` yet. The reference made a manifest of its
/// own then, and when it had given no value out the checkpoint made that look damaged: "it has no opening record of ours".
#[test]
fn a_manifest_that_the_reference_made_after_a_creation_that_was_cut_short_is_taken_over() {
    let dir = scratch();
    let fs = FaultFs::new(dir.path(), |op, path| match op {
        Op::Create if path.ends_with("CURRENT.tmp") => Fate::Fail(EIO),
        _ => Fate::Pass,
    });
    assert!(run(fs, dir.path()).is_err());
    std::fs::remove_file(dir.path().join("MANIFEST-000001")).unwrap();
    let mut reference = Reference::start(dir.path()).unwrap();
    assert!(reference.put(&region(1, "a", "b", 1), usize::MAX));
    let running = run(OsFs, dir.path()).unwrap();
    assert_eq!(running.regions(), [region(1, "a", "b", 1)]);
}

#[test]
fn by_turns_on_a_new_workdir_neither_loses_what_the_other_acknowledged() {
    let refused = (0..300).map(|seed| take_turns(seed, None)).sum::<usize>();
    assert!(refused < 15, "{refused} of 300 workdirs were refused");
}

#[test]
fn by_turns_on_a_workdir_of_the_reference_neither_loses_what_the_other_acknowledged() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/workdirs");
    for name in [
        "after-kill",
        "binary-keys",
        "empty-fresh",
        "three-regions",
        "torn-header",
        "torn-tail",
        "two-hundred-regions",
        "unknown-record",
    ] {
        assert!((0..20).map(|seed| take_turns(seed, Some(&fixtures.join(name)))).sum::<usize>() < 2);
    }
}
