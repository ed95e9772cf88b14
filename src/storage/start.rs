//! Makes a workdir ready for writing: creation, the cut of a torn tail, conversion into our form.
//!
//! Every step leaves files that the next start understands. `CURRENT` names a manifest of ours only when the manifest and a
//! state file are durable, because a state file that is missing beside our form is damage. An old manifest goes only after
//! the name of the new one is durable.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::checkpoint::CheckpointFile;
use super::dir::{Dir, manifest_name};
use super::manifest::{Manifest, check_len};
use super::open::{CURRENT, manifest_number};
use super::persist::Work;
use super::record::{OPENING_LEN, Origin};
use super::rewrite::Rewrite;
use super::state::Synced;
use super::sync::Mutex;
use super::writer::Writer;
use super::{Found, Opened, State, StorageError, decode};
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
    /// `Io` when the files cannot be written, `ChangedUnderUs` when a file is not as it was read.
    pub fn start(self, state: Arc<State>, fatal: Sender<StorageError>) -> Result<Writer, StorageError> {
        let dir = Dir::new(self.fs, self.workdir);
        // The process before this one may have been killed between a rename and the sync of the directory: nothing may build
        // on the new name before it is durable.
        dir.sync()?;
        remove_left_overs(&dir, &self.found)?;
        let (manifest, checkpoint) = match self.found {
            Found::Nothing { checkpoint } => {
                sync_path(&dir)?;
                create(&dir, checkpoint)?
            }
            Found::Ours { name, salt, next_batch, end, file_len, checkpoint } => {
                if file_len > end {
                    keep_copy(&dir, &name)?;
                }
                let manifest = Manifest::resume(&dir, name, salt, next_batch, end, file_len)?;
                let mut file = CheckpointFile::new(dir.clone(), checkpoint.limits);
                // A manifest that is not known as synced could be emptied by damage and pass for one of the reference.
                let is_known = |synced: &Synced| synced.manifest == manifest.name() && synced.bytes > 0;
                if !checkpoint.synced.as_ref().is_some_and(is_known) {
                    file.write(checkpoint.limits, &manifest)?;
                }
                (manifest, file)
            }
            Found::Rewrite { name, end, file_len, checkpoint } => {
                if file_len > end {
                    keep_copy(&dir, &name)?;
                }
                convert(&dir, &name, file_len, checkpoint, &state.cluster)?
            }
        };
        Writer::spawn(Work { dir, lock: self.lock, state, manifest, checkpoint }, fatal)
    }
}

/// Makes the name of a new workdir durable, and those of the directories above it: an earlier start that was killed may have
/// created them.
pub(super) fn sync_path(dir: &Dir) -> Result<(), StorageError> {
    for parent in dir.path.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match dir.fs.open_dir(parent).and_then(|parent| parent.sync()) {
            Ok(()) => {}
            // Not readable, so hardly made by a start; or of a kind that has nothing to sync.
            Err(source) if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {}
            Err(source) => return Err(StorageError::io("sync the directory", parent, source)),
        }
    }
    Ok(())
}

/// Creates state file, manifest and `CURRENT`, in this order, each durable before the next. The checkpoint knows the manifest
/// as synced only in the end: until then the reference may have made the manifest, of a creation that was cut short.
pub(super) fn create(dir: &Dir, limits: Limits) -> Result<(Manifest, CheckpointFile), StorageError> {
    let name = manifest_name(1);
    let mut checkpoint = CheckpointFile::new(dir.clone(), limits);
    checkpoint.create(name.clone())?;
    let manifest = Manifest::create(dir, name, Origin::New)?;
    dir.replace(CURRENT, manifest.name().as_bytes())?;
    checkpoint.write(limits, &manifest)?;
    Ok((manifest, checkpoint))
}

/// Writes a new manifest with all regions and makes it the current one, in the place of the reference's or one that the
/// reference appended to, which was read and is `file_len` bytes long. The checkpoint comes first: it may be missing or in
/// the reference's form until then.
pub(super) fn convert(
    dir: &Dir,
    name: &str,
    file_len: u64,
    limits: Limits,
    cluster: &Mutex<Cluster>,
) -> Result<(Manifest, CheckpointFile), StorageError> {
    let path = dir.path.join(name);
    let old = dir.fs.open_for_writing(&path).map_err(|source| StorageError::io("open", &path, source))?;
    // The reference syncs nothing. Without its records this would be a manifest of ours, older than what the checkpoint
    // names from the next lines on, and that is damage.
    old.sync().map_err(|source| StorageError::io("sync", &path, source))?;
    let mut rewrite = copy_all(dir, name, limits, cluster)?;
    let mut checkpoint = CheckpointFile::new(dir.clone(), limits);
    checkpoint.write(limits, rewrite.manifest())?;
    check_len(&*old, &path, file_len)?;
    rewrite.make_current(dir)?;
    dir.discard(&path);
    Ok((rewrite.into_manifest(), checkpoint))
}

/// As [`convert`], in the place of a manifest of ours that nobody else appended to. `CURRENT` comes first: a checkpoint that
/// knows a newer manifest than the one of ours that `CURRENT` names is damage.
pub(super) fn supersede(
    dir: &Dir,
    name: &str,
    file_len: u64,
    limits: Limits,
    cluster: &Mutex<Cluster>,
) -> Result<(), StorageError> {
    let path = dir.path.join(name);
    let old = dir.fs.open(&path).map_err(|source| StorageError::io("open", &path, source))?;
    let mut rewrite = copy_all(dir, name, limits, cluster)?;
    check_len(&*old, &path, file_len)?;
    rewrite.make_current(dir)?;
    CheckpointFile::new(dir.clone(), limits).write(limits, rewrite.manifest())?;
    dir.discard(&path);
    Ok(())
}

/// A manifest to follow the one named `old`, with all regions, durable. Nothing names it yet.
fn copy_all(dir: &Dir, old: &str, limits: Limits, cluster: &Mutex<Cluster>) -> Result<Rewrite, StorageError> {
    let mut rewrite = Rewrite::begin(dir, old)?;
    while !rewrite.is_complete() {
        rewrite.copy_slice(cluster, limits)?;
    }
    rewrite.seal(limits)?;
    rewrite.sync()?;
    Ok(rewrite)
}

/// Copies a manifest with a torn tail, whole or not at all, to a name of its own.
pub(super) fn keep_copy(dir: &Dir, name: &str) -> Result<(), StorageError> {
    let kept = broken_name(name, &dir.names()?);
    let (from, to) = (dir.path.join(name), dir.path.join(&kept));
    let temporary = dir.temporary(&kept);
    if let Err(source) = copy(dir, &from, &temporary).and_then(|()| dir.fs.rename(&temporary, &to)) {
        // A disk that has no space for it needs what it took, and each later try would take as much once more.
        let _ = dir.fs.remove(&temporary);
        return Err(StorageError::io("keep a copy of the damaged manifest as", &to, source));
    }
    dir.sync()?;
    log::warn!("{} is a copy of the manifest with its torn tail", to.display());
    Ok(())
}

fn copy(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
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
pub(super) fn broken_name(name: &str, taken: &[String]) -> String {
    let numbered = (1_u64..).map(|number| format!("{name}.broken.{number}"));
    let mut names = std::iter::once(format!("{name}.broken")).chain(numbered);
    names.find(|name| !taken.contains(name)).expect("a directory has fewer than 2^64 names")
}

/// Removes what a rewrite that did not come to its end has left: manifests of ours that `CURRENT` does not name.
pub(super) fn remove_left_overs(dir: &Dir, found: &Found) -> Result<(), StorageError> {
    let current = match found {
        Found::Nothing { .. } => None,
        Found::Ours { name, .. } | Found::Rewrite { name, .. } => Some(name),
    };
    for name in dir.names()? {
        let is_manifest = manifest_number(&name).is_some_and(|number| manifest_name(number) == name);
        let path = dir.path.join(&name);
        if is_manifest && Some(&name) != current && is_ours(dir, &path)? {
            log::warn!("removing {}, left over from an interrupted rewrite", path.display());
            dir.discard(&path);
        }
    }
    Ok(())
}

/// Tells whether a file begins with an opening record of ours.
fn is_ours(dir: &Dir, path: &Path) -> Result<bool, StorageError> {
    let mut start = [0; OPENING_LEN];
    let read = dir.fs.open(path).and_then(|file| file.read_full_at(&mut start, 0));
    let read = read.map_err(|source| StorageError::io("read", path, source))?;
    Ok(decode::opening(&start[..read]).is_some())
}
