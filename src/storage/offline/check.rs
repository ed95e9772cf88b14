//! Tells what a workdir holds, without writing to it.

use std::path::Path;

use serde::Serialize;

use super::on_disk;
use crate::core::{Cluster, Limits, Regions};
use crate::storage::StorageError;
use crate::storage::dir::Dir;
use crate::storage::lock::Lock;
use crate::storage::open::{self, Contents, inspect, overlap_error};
use crate::storage::replay::{Form, Replayed};

/// What a workdir holds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub workdir: String,
    /// Whether a server would start on it.
    pub usable: bool,
    /// Why it would not.
    pub problem: Option<String>,
    /// Absent for a new workdir, and where the damage keeps it from being read.
    pub manifest: Option<ManifestReport>,
    /// The last values that may have been given out; 0: none. Absent where they cannot be read.
    pub id_current: Option<u64>,
    pub ts_current: Option<u64>,
    /// What a server would warn of at its start.
    pub warnings: Vec<String>,
}

/// What a manifest holds.
#[derive(Clone, Debug, Serialize)]
pub struct ManifestReport {
    pub name: String,
    /// `pd-lite` or `reference`.
    pub form: &'static str,
    /// Whether the reference has appended to a manifest of ours.
    pub appended_by_reference: bool,
    pub regions: usize,
    /// In a manifest of ours.
    pub batches: Option<u64>,
    pub bytes: u64,
    /// Bytes of a torn tail at its end.
    pub torn_bytes: u64,
    /// Bytes that the checkpoint knows as synced.
    pub synced_bytes: Option<u64>,
}

/// A report, and the regions.
#[derive(Clone, Debug)]
pub struct Dump {
    pub report: Report,
    pub regions: Regions,
}

/// Reads and checks a workdir as a server does at its start. Damage is reported, not returned.
///
/// # Errors
///
/// `InUse`, `NotOurs` or `Io`.
pub fn check(workdir: &Path) -> Result<Report, StorageError> {
    let dir = on_disk(workdir);
    match dump_in(&dir) {
        Ok(dump) => Ok(dump.report),
        Err(error @ StorageError::Damaged { .. }) => Ok(damaged_report(&dir, &error)),
        Err(error) => Err(error),
    }
}

/// As [`check`], with the regions. Those that overlap are all there.
///
/// # Errors
///
/// `Damaged` when the regions cannot be read, and those of [`check`].
pub fn dump(workdir: &Path) -> Result<Dump, StorageError> {
    dump_in(&on_disk(workdir))
}

fn dump_in(dir: &Dir) -> Result<Dump, StorageError> {
    open::require_workdir(&*dir.fs, &dir.path)?;
    let _lock = Lock::take_to_read(&*dir.fs, &dir.path)?;
    let contents = inspect(&*dir.fs, &dir.path)?;
    let problem = overlap(dir, &contents).err();
    let limits = contents.limits();
    let warnings = contents.warnings().to_vec();
    let synced = contents.checkpoint.and_then(|checkpoint| checkpoint.synced);
    let mut regions = Regions::default();
    let manifest = contents.manifest.map(|(name, mut replayed)| {
        regions = std::mem::take(&mut replayed.regions);
        let synced = synced.filter(|synced| synced.manifest == name).map(|synced| synced.bytes);
        ManifestReport::new(name, &replayed, regions.len(), synced)
    });
    let report = Report { manifest, warnings, ..Report::new(dir, problem.as_ref(), Some(limits)) };
    Ok(Dump { report, regions })
}

/// Tells whether the regions may stand side by side.
pub(super) fn overlap(dir: &Dir, contents: &Contents) -> Result<(), StorageError> {
    let Some((name, replayed)) = &contents.manifest else { return Ok(()) };
    match Cluster::check_overlaps(&replayed.regions) {
        Ok(()) => Ok(()),
        Err(overlap) => Err(overlap_error(&dir.path.join(name), overlap)),
    }
}

fn damaged_report(dir: &Dir, error: &StorageError) -> Report {
    let state = open::read_state(&*dir.fs, &dir.path).ok().flatten();
    Report::new(dir, Some(error), state.map(|(checkpoint, _)| checkpoint.limits))
}

impl Report {
    fn new(dir: &Dir, problem: Option<&StorageError>, limits: Option<Limits>) -> Self {
        Self {
            workdir: dir.path.display().to_string(),
            usable: problem.is_none(),
            problem: problem.map(ToString::to_string),
            manifest: None,
            id_current: limits.map(|limits| limits.ids),
            ts_current: limits.map(|limits| limits.timestamps),
            warnings: Vec::new(),
        }
    }
}

impl ManifestReport {
    fn new(name: String, replayed: &Replayed, regions: usize, synced_bytes: Option<u64>) -> Self {
        let (form, batches) = match replayed.form {
            Form::Ours { next_batch, .. } => ("pd-lite", Some(next_batch - 1)),
            Form::Reference => ("reference", None),
        };
        Self {
            name,
            form,
            appended_by_reference: replayed.appended_by_reference,
            regions,
            batches,
            bytes: replayed.file_len,
            torn_bytes: replayed.file_len - replayed.end,
            synced_bytes,
        }
    }
}
