//! Appends one region to a workdir by hand, in the form that its manifest has.

use std::fmt;
use std::path::Path;

use super::on_disk;
use crate::core::{Limits, Overlap, Region};
use crate::storage::StorageError;
use crate::storage::checkpoint::CheckpointFile;
use crate::storage::dir::{Dir, manifest_name};
use crate::storage::lock::Lock;
use crate::storage::manifest::Manifest;
use crate::storage::open::{CURRENT, Contents, create_workdir, inspect};
use crate::storage::record::{self, HEADER_LEN, RegionState, TYPE_UNFINISHED};
use crate::storage::replay::{Form, Replayed};
use crate::storage::start::keep_copy;
use crate::storage::state::{Checkpoint, STATE_FILE};

/// Why a region was not appended. Nothing changed, unless the disk failed.
#[derive(Debug)]
pub enum AppendError {
    /// The region shares keys with another one: no server would start on both.
    Overlap(Overlap),
    Storage(StorageError),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(Overlap { region, with }) => {
                write!(f, "region range overlap: region={region} overlaps region={with}")
            }
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Appends one region record, durable when it returns: a plain record where the reference was the last to write, a batch in
/// a manifest of ours. A torn tail is cut off first; the damaged file is kept as `*.broken`. A missing workdir is created in
/// the reference's form (`CURRENT` and a manifest, no `PD_STATE.json`).
///
/// # Errors
///
/// `Overlap`, unless the region is a tombstone, and any [`StorageError`]; the region by itself is checked by the caller.
pub fn append_region(workdir: &Path, region: &Region, state: RegionState) -> Result<(), AppendError> {
    append_in(&on_disk(workdir), region, state)
}

pub(super) fn append_in(dir: &Dir, region: &Region, state: RegionState) -> Result<(), AppendError> {
    create_workdir(&*dir.fs, &dir.path)?;
    let _lock = Lock::take(&*dir.fs, &dir.path)?;
    let Contents { manifest, checkpoint } = inspect(&*dir.fs, &dir.path)?;
    // What was found may be a rename that is not durable yet.
    dir.sync()?;
    let Some((name, replayed)) = manifest else {
        let name = create_as_reference(dir, checkpoint)?;
        return Ok(append_plain(dir, &name, 0, region, state)?);
    };
    if state != RegionState::Tombstone {
        let mut others = replayed.regions.iter().filter(|other| other.id() != region.id());
        if let Some(other) = others.find(|other| other.range().overlaps(&region.range())) {
            return Err(AppendError::Overlap(Overlap { region: region.id(), with: other.id() }));
        }
    }
    let Replayed { form, issued, end, file_len, appended_by_reference, .. } = replayed;
    if end < file_len {
        keep_copy(dir, &name)?;
    }
    match (form, checkpoint) {
        (Form::Ours { salt, next_batch }, Some(checkpoint)) if !appended_by_reference => {
            let manifest = Manifest::resume(dir, name, salt, next_batch, end, file_len)?;
            append_batch(dir, manifest, region, state, issued, checkpoint.limits)?;
        }
        _ => append_plain(dir, &name, end, region, state)?,
    }
    Ok(())
}

/// Creates an empty manifest and `CURRENT`. A checkpoint of an unfinished creation of ours would name the manifest as one of
/// ours, so it is written anew in the reference's form.
fn create_as_reference(dir: &Dir, checkpoint: Option<Checkpoint>) -> Result<String, StorageError> {
    if let Some(Checkpoint { limits, synced: Some(_) }) = checkpoint {
        dir.replace(STATE_FILE, Checkpoint { limits, synced: None }.encode().as_bytes())?;
    }
    let name = manifest_name(1);
    let path = dir.path.join(&name);
    let file = dir.fs.create(&path).map_err(|source| StorageError::io("create", &path, source))?;
    file.sync().map_err(|source| StorageError::io("sync", &path, source))?;
    dir.sync()?;
    dir.replace(CURRENT, name.as_bytes())?;
    Ok(name)
}

fn append_batch(
    dir: &Dir,
    mut manifest: Manifest,
    region: &Region,
    state: RegionState,
    issued: Limits,
    limits: Limits,
) -> Result<(), StorageError> {
    let mut records = Vec::new();
    record::push_put(&mut records, region, state, true);
    manifest.write(&mut records, issued)?;
    manifest.sync()?;
    CheckpointFile::new(dir.clone(), limits).write(limits, &manifest)?;
    Ok(())
}

/// Puts a plain record at `end`, where the manifest ends or is cut. It has no checksum, and of several sectors a power cut may
/// leave any, so it counts only once all of it is durable.
fn append_plain(dir: &Dir, name: &str, end: u64, region: &Region, state: RegionState) -> Result<(), StorageError> {
    let path = dir.path.join(name);
    let file = dir.fs.open_for_writing(&path).map_err(|source| StorageError::io("open", &path, source))?;
    let mut record = Vec::new();
    record::push_put(&mut record, region, state, false);
    let kind_at = HEADER_LEN - 1;
    let kind = std::mem::replace(&mut record[kind_at], TYPE_UNFINISHED);
    let kind_offset = end + u64::try_from(kind_at).expect("a constant of this program fits 64 bits");
    let written = file
        .set_len(end)
        .and_then(|()| file.write_all_at(&record, end))
        .and_then(|()| file.sync())
        .and_then(|()| file.write_all_at(&[kind], kind_offset))
        .and_then(|()| file.sync());
    if written.is_err() {
        // The reference does not start on a record that is cut.
        let _ = file.set_len(end);
    }
    written.map_err(|source| StorageError::io("write", &path, source))
}
