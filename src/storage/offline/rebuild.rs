//! Moves a damaged manifest aside and starts an empty one, while the counters go on. The routes come back by heartbeats.
//!
//! The damaged file gets its new name first. From then on, until `CURRENT` names the new manifest, the workdir is one whose
//! manifest is missing, which no server starts on and which can be rebuilt again.

use std::path::{Path, PathBuf};

use super::check::overlap;
use super::on_disk;
use super::signs::{Signs, trusted_checkpoint};
use crate::core::Limits;
use crate::storage::StorageError;
use crate::storage::checkpoint::CheckpointFile;
use crate::storage::dir::{Dir, manifest_name, next_manifest_name};
use crate::storage::lock::Lock;
use crate::storage::manifest::Manifest;
use crate::storage::open::{self, CURRENT, inspect, is_without_changes, manifest_number, read_current};
use crate::storage::record::Origin;
use crate::storage::start::broken_name;
use crate::storage::state::{Checkpoint, STATE_FILE, Synced};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The manifests that were moved aside, by their new names.
    pub kept: Vec<PathBuf>,
    /// The new, empty manifest.
    pub manifest: String,
    /// The last values that count as given out.
    pub counters: Limits,
}

/// Starts a damaged workdir anew, durable when it returns. `None`: nothing is damaged, and nothing was done.
///
/// # Errors
///
/// `Damaged` when the checkpoint is what is lost ([`set_min`](fn@super::set_min) comes first then); `InUse`, `NotOurs` or `Io`.
pub fn rebuild(workdir: &Path) -> Result<Option<Rebuilt>, StorageError> {
    rebuild_in(&on_disk(workdir))
}

pub(super) fn rebuild_in(dir: &Dir) -> Result<Option<Rebuilt>, StorageError> {
    open::require_workdir(&*dir.fs, &dir.path)?;
    let _lock = Lock::take(&*dir.fs, &dir.path)?;
    match inspect(&*dir.fs, &dir.path).and_then(|contents| overlap(dir, &contents)) {
        Ok(()) => return Ok(None),
        Err(StorageError::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let state = trusted_checkpoint(dir, Signs::read(dir)?)?;
    let limits = state.as_ref().map_or(Limits::default(), |(checkpoint, _)| checkpoint.limits);
    let synced = state.as_ref().and_then(|(checkpoint, _)| checkpoint.synced.clone());
    if !state.is_some_and(|(checkpoint, bytes)| checkpoint.is_encoded_as(&bytes)) {
        // Beside a manifest of ours it has to be there, and in one of two exact forms.
        dir.replace(STATE_FILE, Checkpoint { limits, synced: None }.encode().as_bytes())?;
    }
    let name = new_name(dir, synced.as_ref())?;
    let kept = move_aside(dir, synced.as_ref())?;
    let manifest = Manifest::create(dir, name, Origin::New)?;
    dir.replace(CURRENT, manifest.name().as_bytes())?;
    CheckpointFile::new(dir.clone(), limits).write(limits, &manifest)?;
    Ok(Some(Rebuilt { kept, manifest: manifest.name().to_owned(), counters: limits }))
}

/// A name that no manifest has or had: the checkpoint may still know more bytes of the old one as synced than the new one has.
fn new_name(dir: &Dir, synced: Option<&Synced>) -> Result<String, StorageError> {
    let names = dir.names()?;
    let numbered = |name: &str| manifest_number(name.split_once(".broken").map_or(name, |(manifest, _)| manifest));
    let known = names.iter().map(String::as_str).chain(synced.map(|synced| synced.manifest.as_str()));
    let highest = known.filter_map(numbered).max().unwrap_or(0);
    Ok(next_manifest_name(&manifest_name(highest), &names))
}

/// Renames the manifest that `CURRENT` names and the one that the checkpoint names, which a start would take for a left-over,
/// or all that hold anything when `CURRENT` names none.
fn move_aside(dir: &Dir, synced: Option<&Synced>) -> Result<Vec<PathBuf>, StorageError> {
    let mut names = dir.names()?;
    names.sort();
    let current = read_current(&*dir.fs, &dir.path).ok().flatten();
    let mut kept = Vec::new();
    for name in names.iter().filter(|name| manifest_number(name).is_some()) {
        let is_known = synced.is_some_and(|synced| synced.manifest == *name);
        if current.as_ref().is_some_and(|current| current != name && !is_known)
            || (current.is_none() && is_without_changes(&*dir.fs, &dir.path.join(name))?)
        {
            continue;
        }
        let (from, to) = (dir.path.join(name), dir.path.join(broken_name(name, &names)));
        dir.fs.rename(&from, &to).map_err(|source| StorageError::io("rename", &from, source))?;
        kept.push(to);
    }
    dir.sync()?;
    Ok(kept)
}
