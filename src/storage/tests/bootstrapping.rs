//! A store's first start: whatever fails at whatever operation on the disk, and in whatever way the power goes then, the
//! workdir has all of its first regions or none, and the next start heals it.

use std::path::Path;
use std::sync::Arc;

use super::super::fs::{Fs, OsFs};
use super::super::record::{self, RegionState};
use super::super::{Opened, StorageError};
use super::disk::SMALL_PAGE_LEN;
use super::every_operation::{FAULTS, Fault, Run, at_every_operation};
use super::faults::{Fate, FaultFs};
use super::support::{copy, current, manifests, region, run};
use crate::core::{Cluster, Lead, LeadRow, Region, RegionId, StoreId};

const STORE: StoreId = StoreId(1);

/// What a store knows of its first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    has_regions: bool,
    has_leads: bool,
}

fn first_regions() -> Vec<Arc<Region>> {
    vec![region(1, "", "m", 1), region(7, "m", "", 1)]
}

fn first_leads() -> [LeadRow; 2] {
    [1, 7].map(|id| LeadRow { region: RegionId(id), lead: Lead { term: 1, leader: STORE }, offered_to: None })
}

/// A store's start, which notes in `known` what is durable.
fn start(fs: impl Fs, dir: &Path, known: &mut Known) -> Result<(), StorageError> {
    let mut opened = Opened::open(Arc::new(fs), dir)?;
    let saved = opened.saved_leads()?;
    if opened.take_snapshot().regions.is_empty() {
        opened.bootstrap(Cluster::restore(first_regions()).unwrap())?;
    }
    known.has_regions = true;
    let workdir = opened.into_store(STORE)?;
    if saved.is_none() {
        workdir.save(first_leads().into_iter())?;
    }
    known.has_leads = true;
    Ok(())
}

/// What a workdir holds.
fn found(dir: &Path, context: &str) -> Known {
    let mut opened = Opened::open(Arc::new(OsFs), dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let regions = opened.take_snapshot().regions;
    assert!(regions.is_empty() || regions == first_regions().into(), "{context}: all of them or none: {regions:?}");
    let saved = opened.saved_leads().unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(saved.as_ref().is_none_or(|saved| saved.rows == first_leads()), "{context}: {saved:?}");
    Known { has_regions: !regions.is_empty(), has_leads: saved.is_some() }
}

/// What is durable is there, and the next start makes the rest.
fn heals(fs: impl Fs, dir: &Path, known: &Known, context: &str) {
    let left = found(dir, context);
    assert!(left.has_regions || !known.has_regions, "{context}: the regions were durable");
    assert!(left.has_leads || !known.has_leads, "{context}: the leads were durable");
    start(fs, dir, &mut Known::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let whole = Known { has_regions: true, has_leads: true };
    assert_eq!(found(dir, context), whole, "{context}");
}

/// Before the fix a kill (and a power cut) between the checkpoint and `CURRENT` left a workdir for exit code 4: the checkpoint
/// knew the new manifest, and `CURRENT` named the one of ours that had been created a moment before. That order is right only
/// where the old manifest is the reference's.
fn survives(prepare: impl Fn(&Path)) {
    let scenario = |run: &Run<'_>| {
        let mut known = Known::default();
        let started = start(run.fs.clone(), run.dir, &mut known);
        if run.fault.is_none_or(Fault::is_transparent) {
            assert!(started.is_ok(), "{:?} at {:?} was noticed: {started:?}", run.fault, run.met());
        }
        known
    };
    let check = |dir: &Path, known: &Known, context: &str| heals(OsFs, dir, known, context);
    let go_on = |run: &Run<'_>, known: Known, context: &str| heals(run.fs.clone(), run.dir, &known, context);
    at_every_operation(&FAULTS, SMALL_PAGE_LEN, prepare, scenario, check, go_on);
}

#[test]
fn the_first_start_in_a_new_workdir_survives() {
    survives(|_| {});
}

#[test]
fn the_first_start_in_a_workdir_of_ours_without_regions_survives() {
    survives(|dir| drop(run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap()));
}

/// A manifest without regions, and how the last record of it came to be.
fn emptied(dir: &Path, is_ours: bool, torn_by: usize) {
    std::fs::create_dir(dir).unwrap();
    if is_ours {
        drop(run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap());
    } else {
        std::fs::write(dir.join("CURRENT"), "MANIFEST-000001").unwrap();
    }
    let manifest = dir.join("MANIFEST-000001");
    let mut content = if is_ours { std::fs::read(&manifest).unwrap() } else { Vec::new() };
    record::push_put(&mut content, &region(3, "", "", 1), RegionState::Plain, false);
    record::push_delete(&mut content, RegionId(3), false);
    record::push_delete(&mut content, RegionId(3), false);
    content.truncate(content.len() - torn_by);
    std::fs::write(&manifest, content).unwrap();
}

#[test]
fn the_first_start_in_a_workdir_that_the_reference_emptied_survives() {
    survives(|dir| emptied(dir, false, 0));
    survives(|dir| emptied(dir, true, 0));
}

#[test]
fn the_first_start_in_a_workdir_with_a_torn_tail_survives() {
    survives(|dir| emptied(dir, false, 1));
    // Of ours: the piece of a batch, which opens no region.
    survives(|dir| {
        drop(run(FaultFs::new(dir, |_, _| Fate::Pass), dir).unwrap());
        let manifest = dir.join("MANIFEST-000001");
        let mut content = std::fs::read(&manifest).unwrap();
        record::push_put(&mut content, &region(3, "", "", 1), RegionState::Plain, true);
        std::fs::write(&manifest, content).unwrap();
    });
}

/// Before the fix each start that was killed left a manifest behind that only a placement driver's start removed.
#[test]
fn what_a_first_start_that_was_killed_has_left_is_removed() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(run(OsFs, whole.path()).unwrap());
    copy(whole.path(), killed.path());
    start(OsFs, whole.path(), &mut Known::default()).unwrap();
    let new = current(whole.path());
    std::fs::copy(whole.path().join(&new), killed.path().join(&new)).unwrap();
    start(OsFs, killed.path(), &mut Known::default()).unwrap();
    assert_eq!(manifests(killed.path()), [current(killed.path())]);
}
