//! Makes a workdir ready for writing: creation, the cut of a torn tail, conversion into our form.
//!
//! Every step leaves files that the next start understands. `CURRENT` names a manifest of ours only when the manifest and a
//! state file are durable, because a state file that is missing beside our form is damage. An old manifest goes only after
//! the name of the new one is durable.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use super::checkpoint::CheckpointFile;
use super::dir::{CURRENT, Dir, io_error, manifest_name, manifest_number};
use super::manifest::Manifest;
use super::persist::Work;
use super::record::{self, OPENING_LEN};
use super::rewrite::{self, Rewrite};
use super::writer::Writer;
use super::{Found, Opened, State, StorageError};
use crate::core::{Cluster, Limits};

/// How much of a damaged file is copied at a time.
const COPY_LEN: usize = 1 << 20;

impl Opened {
    /// Makes the workdir ready for writing (creation, truncation of a torn tail, conversion into our form) and starts the
    /// persistence thread over `state`, whose cluster holds the snapshot's regions. `fatal` gets the error that ends the
    /// thread, if one does.
    ///
    /// # Errors
    ///
    /// `Io` when the files cannot be written, `ChangedUnderUs` when the manifest is not as it was read.
    pub fn start(self, state: Arc<State>, fatal: Sender<StorageError>) -> Result<Writer, StorageError> {
        let dir = Dir { fs: self.fs, path: self.workdir };
        remove_left_overs(&dir, &self.found)?;
        let (manifest, checkpoint) = match self.found {
            Found::Nothing { checkpoint } => create(&dir, checkpoint)?,
            Found::Ours { name, salt, next_batch, end, file_len, checkpoint } => {
                if file_len > end {
                    keep_copy(&dir, &dir.path.join(&name))?;
                }
                let manifest = Manifest::resume(&dir, name, salt, next_batch, end, file_len)?;
                (manifest, CheckpointFile::new(dir.clone(), checkpoint.limits))
            }
            Found::Rewrite { name, torn, checkpoint } => convert(&dir, &name, torn, checkpoint, &state.cluster)?,
        };
        let live = rewrite::live_len(&state.cluster);
        Writer::spawn(Work { dir, lock: self.lock, state, manifest, checkpoint, live }, fatal)
    }
}

/// Creates state file, manifest and `CURRENT`, in this order, each durable before the next.
fn create(dir: &Dir, limits: Limits) -> Result<(Manifest, CheckpointFile), StorageError> {
    let name = manifest_name(1);
    let mut checkpoint = CheckpointFile::new(dir.clone(), limits);
    checkpoint.create(name.clone())?;
    let manifest = Manifest::create(dir, name)?;
    dir.replace(CURRENT, manifest.name().as_bytes())?;
    Ok((manifest, checkpoint))
}

/// Writes a new manifest with all regions and makes it the current one. The old one is kept as `*.broken` when it is torn.
fn convert(
    dir: &Dir,
    name: &str,
    torn: bool,
    limits: Limits,
    cluster: &Mutex<Cluster>,
) -> Result<(Manifest, CheckpointFile), StorageError> {
    let mut rewrite = Rewrite::begin(dir, name)?;
    while !rewrite.is_complete() {
        rewrite.copy_slice(cluster, limits)?;
    }
    rewrite.sync()?;
    let mut checkpoint = CheckpointFile::new(dir.clone(), limits);
    checkpoint.write(limits, rewrite.manifest())?;
    let manifest = rewrite.finish(dir).map_err(|(error, _)| StorageError::from(error))?;
    let old = dir.path.join(name);
    if torn {
        let kept = broken_name(dir, &old)?;
        dir.fs.rename(&old, &kept).map_err(|source| io_error("rename", &old, source))?;
        log::warn!("the damaged manifest is kept as {}", kept.display());
    } else {
        dir.discard(&old);
    }
    Ok((manifest, checkpoint))
}

/// Copies a damaged manifest, whole or not at all, to a name of its own.
fn keep_copy(dir: &Dir, path: &Path) -> Result<(), StorageError> {
    let kept = broken_name(dir, path)?;
    let mut temporary = kept.clone().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    copy(dir, path, &temporary)
        .and_then(|()| dir.fs.rename(&temporary, &kept))
        .and_then(|()| dir.fs.sync_dir(kept.parent().unwrap_or(&dir.path)))
        .map_err(|source| io_error("keep a copy of the damaged manifest as", &kept, source))?;
    log::warn!("a copy of the damaged manifest is kept as {}", kept.display());
    Ok(())
}

fn copy(dir: &Dir, from: &Path, to: &Path) -> std::io::Result<()> {
    let from = dir.fs.open(from)?;
    let to = dir.fs.create(to)?;
    let mut buffer = vec![0; COPY_LEN];
    let mut offset = 0;
    loop {
        let read = from.read_full_at(&mut buffer, offset)?;
        if read == 0 {
            return to.sync();
        }
        to.write_all_at(&buffer[..read], offset)?;
        offset += u64::try_from(read).expect("at most COPY_LEN");
    }
}

/// `NAME.broken`, or the first of `NAME.broken.1`, `NAME.broken.2`, … that is free.
fn broken_name(dir: &Dir, path: &Path) -> Result<PathBuf, StorageError> {
    let parent = path.parent().unwrap_or(&dir.path);
    let taken = dir.fs.list(parent).map_err(|source| io_error("list", parent, source))?;
    let mut name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    name.push(".broken");
    let mut candidate = name.clone();
    for number in 1_u64.. {
        if !taken.contains(&candidate) {
            break;
        }
        candidate = name.clone();
        candidate.push(format!(".{number}"));
    }
    Ok(parent.join(candidate))
}

/// Removes what a rewrite that did not come to its end has left: manifests of ours that `CURRENT` does not name.
fn remove_left_overs(dir: &Dir, found: &Found) -> Result<(), StorageError> {
    let current = match found {
        Found::Nothing { .. } => None,
        Found::Ours { name, .. } | Found::Rewrite { name, .. } => Some(name),
    };
    for name in dir.names()? {
        let is_manifest = manifest_number(&name).is_some_and(|number| manifest_name(number) == name);
        let path = dir.path.join(&name);
        if is_manifest && Some(&name) != current && is_ours(dir, &path)? {
            log::info!("removing {}, left over from an interrupted rewrite", path.display());
            dir.discard(&path);
        }
    }
    Ok(())
}

/// Tells whether a file begins with an opening record of ours.
fn is_ours(dir: &Dir, path: &Path) -> Result<bool, StorageError> {
    let mut start = [0; OPENING_LEN];
    let read = dir.fs.open(path).and_then(|file| file.read_full_at(&mut start, 0));
    let read = read.map_err(|source| io_error("read", path, source))?;
    let salt_at = OPENING_LEN - 12;
    let salt = u64::from_le_bytes(start[salt_at..salt_at + 8].try_into().expect("8 bytes"));
    let mut opening = Vec::with_capacity(OPENING_LEN);
    record::push_opening(&mut opening, salt);
    Ok(opening == start[..read])
}
