//! Opens a workdir: the lock, then `CURRENT`, the manifest and the checkpoint, each checked against the others. Nothing but
//! the lock file is written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::decode;
use super::fs::Fs;
use super::lock::Lock;
use super::record::{OPENING_LEN, Origin};
use super::replay::{Form, Replayed, replay};
use super::state::{Checkpoint, STATE_FILE, Synced};
use super::{Found, Opened, Snapshot, StorageError};
use crate::core::{Limits, Overlap, Regions};

/// The file that names the manifest.
pub(super) const CURRENT: &str = "CURRENT";
/// More than any name or checkpoint has, in bytes.
const SMALL_FILE_LEN_MAX: usize = 1 << 16;

impl Opened {
    /// Locks `workdir` (created with its parents when missing), reads and checks it. Writes nothing but the lock file.
    /// Logs one warning for each kind of oddity found.
    ///
    /// # Errors
    ///
    /// Any [`StorageError`] but `ChangedUnderUs`.
    pub fn open(fs: Arc<dyn Fs>, workdir: &Path) -> Result<Self, StorageError> {
        create_workdir(&*fs, workdir)?;
        let lock = Lock::take(&*fs, workdir)?;
        let contents = inspect(&*fs, workdir)?;
        for warning in contents.warnings() {
            log::warn!("{warning}");
        }
        let (found, snapshot) = contents.split();
        Ok(Self { fs, workdir: workdir.to_owned(), lock, found, snapshot: Some(snapshot) })
    }

    /// What the workdir held, once: the regions move out.
    ///
    /// # Panics
    ///
    /// At the second call.
    pub fn take_snapshot(&mut self) -> Snapshot {
        self.snapshot.take().expect("the snapshot is taken once")
    }

    /// The error that an overlap between two regions of the snapshot is.
    #[must_use]
    pub fn overlap(&self, overlap: Overlap) -> StorageError {
        let file = match &self.found {
            Found::Nothing { .. } => self.workdir.clone(),
            Found::Ours { name, .. } | Found::Rewrite { name, .. } => self.workdir.join(name),
        };
        overlap_error(&file, overlap)
    }
}

pub(super) fn overlap_error(manifest: &Path, overlap: Overlap) -> StorageError {
    StorageError::damaged(manifest, 0, format!("regions {} and {} overlap", overlap.with, overlap.region))
}

/// Creates the directory with its parents when it is missing.
pub(super) fn create_workdir(fs: &dyn Fs, workdir: &Path) -> Result<(), StorageError> {
    fs.create_dir_all(workdir).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            StorageError::NotOurs { workdir: workdir.to_owned(), reason: "it is not a directory".into() }
        }
        _ => StorageError::io("create the directory", workdir, source),
    })
}

/// Refuses what is no directory that exists.
pub(super) fn require_workdir(fs: &dyn Fs, workdir: &Path) -> Result<(), StorageError> {
    let reason = match fs.list(workdir) {
        Ok(_) => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => "it does not exist",
        Err(source) if source.kind() == io::ErrorKind::NotADirectory => "it is not a directory",
        Err(source) => return Err(StorageError::io("list", workdir, source)),
    };
    Err(StorageError::NotOurs { workdir: workdir.to_owned(), reason: reason.into() })
}

/// What a workdir holds.
pub(super) struct Contents {
    /// The manifest that `CURRENT` names, and its name. `None`: the workdir is new.
    pub(super) manifest: Option<(String, Replayed)>,
    /// Absent: nothing was ever allocated.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Contents {
    pub(super) fn limits(&self) -> Limits {
        self.checkpoint.as_ref().map_or(Limits::default(), |checkpoint| checkpoint.limits)
    }

    pub(super) fn warnings(&self) -> &[String] {
        self.manifest.as_ref().map_or(&[], |(_, replayed)| &replayed.warnings)
    }

    fn split(self) -> (Found, Snapshot) {
        let limits = self.limits();
        let Some((name, replayed)) = self.manifest else {
            return (Found::Nothing { checkpoint: limits }, Snapshot { regions: Regions::default(), issued: limits });
        };
        let Replayed { end, file_len, .. } = replayed;
        let found = match (replayed.form, self.checkpoint) {
            (Form::Ours { salt, next_batch }, Some(checkpoint)) if !replayed.appended_by_reference => {
                Found::Ours { name, salt, next_batch, end, file_len, checkpoint }
            }
            _ => Found::Rewrite { name, end, file_len, checkpoint: limits },
        };
        (found, Snapshot { regions: replayed.regions, issued: limits })
    }
}

/// Reads and checks a workdir.
pub(super) fn inspect(fs: &dyn Fs, workdir: &Path) -> Result<Contents, StorageError> {
    let state = read_state(fs, workdir)?;
    let Some(name) = read_current(fs, workdir)? else {
        check_unfinished_creation(fs, workdir)?;
        let checkpoint = state.map(|(checkpoint, _)| checkpoint);
        return match checkpoint.as_ref().and_then(|checkpoint| checkpoint.synced.as_ref()) {
            Some(Synced { manifest, bytes }) if *bytes > len(OPENING_LEN) => Err(StorageError::damaged(
                &workdir.join(CURRENT),
                0,
                format!("it is missing, but the checkpoint knows {bytes} bytes of {manifest} as synced"),
            )),
            _ => Ok(Contents { manifest: None, checkpoint }),
        };
    };
    let synced = state.as_ref().and_then(|(checkpoint, _)| checkpoint.synced.as_ref());
    let replayed = read_manifest(fs, workdir, &name, synced)?;
    // Any rewrite leaves records, and ours are durable before `CURRENT` names the new manifest.
    if replayed.form == Form::Reference
        && replayed.end == 0
        && let Some(Synced { manifest, bytes }) = synced
        && is_newer(&name, manifest)
    {
        let reason =
            format!("it holds nothing, but it took the place of {manifest}, of which {bytes} bytes were synced");
        return Err(StorageError::damaged(&workdir.join(&name), 0, reason));
    }
    if let Form::Ours { .. } = replayed.form {
        check_state_beside_ours(&workdir.join(STATE_FILE), state.as_ref(), replayed.issued)?;
        if let Some(synced) =
            synced.filter(|synced| !replayed.appended_by_reference && is_newer(&synced.manifest, &name))
        {
            let Synced { manifest, bytes } = synced;
            let reason = format!("it names {name}, but the checkpoint knows {bytes} bytes of {manifest} as synced");
            return Err(StorageError::damaged(&workdir.join(CURRENT), 0, reason));
        }
    }
    Ok(Contents { manifest: Some((name, replayed)), checkpoint: state.map(|(checkpoint, _)| checkpoint) })
}

/// Tells whether one manifest came after another one, by their names.
///
/// When the one that the checkpoint knows came after the one that `CURRENT` names, an old `CURRENT` was put back, if the
/// latter is ours and nobody else appended to it: the checkpoint names a new manifest only when `CURRENT` does (so it is in a
/// store's bootstrap, too), but for a conversion, which writes the checkpoint first. What it converts is the reference's, or ends with records of the
/// reference, and these are durable before that checkpoint.
fn is_newer(manifest: &str, other: &str) -> bool {
    // Behind the last number the next one is any that is free.
    manifest_number(manifest).filter(|&number| number != u64::MAX) > manifest_number(other)
}

/// Reads the manifest that `CURRENT` names. `synced` counts when it is about this manifest.
pub(super) fn read_manifest(
    fs: &dyn Fs,
    workdir: &Path,
    name: &str,
    synced: Option<&Synced>,
) -> Result<Replayed, StorageError> {
    let path = workdir.join(name);
    let file = fs.open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            StorageError::damaged(&workdir.join(CURRENT), 0, format!("it names {name}, which is missing"))
        }
        _ => StorageError::io("open", &path, source),
    })?;
    let synced = synced.filter(|synced| synced.manifest == name).map(|synced| synced.bytes);
    replay(&*file, &path, synced)
}

/// Beside a manifest of ours the state file is always there, in one of two exact forms, and never behind a commit.
pub(super) fn check_state_beside_ours(
    path: &Path,
    state: Option<&(Checkpoint, Vec<u8>)>,
    issued: Limits,
) -> Result<(), StorageError> {
    let Some((checkpoint, bytes)) = state else {
        return Err(StorageError::damaged(path, 0, "it is missing"));
    };
    if !checkpoint.is_encoded_as(bytes) {
        return Err(StorageError::damaged(path, 0, "neither pd-lite nor the reference writes it in this form"));
    }
    let limits = checkpoint.limits;
    if limits.ids < issued.ids || limits.timestamps < issued.timestamps {
        let reason = format!(
            "it is older than the manifest: id {} and timestamp {} in it, {} and {} in the manifest",
            limits.ids, limits.timestamps, issued.ids, issued.timestamps
        );
        return Err(StorageError::damaged(path, 0, reason));
    }
    Ok(())
}

/// Without `CURRENT` there may be the beginning of a creation, and no change of any kind.
fn check_unfinished_creation(fs: &dyn Fs, workdir: &Path) -> Result<(), StorageError> {
    let names = fs.list(workdir).map_err(|source| StorageError::io("list", workdir, source))?;
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| manifest_number(name).is_some()) {
        if !is_without_changes(fs, &workdir.join(name))? {
            let reason = format!("it is missing, but {name} holds changes");
            return Err(StorageError::damaged(&workdir.join(CURRENT), 0, reason));
        }
    }
    Ok(())
}

/// Tells whether a manifest is empty, or holds the opening record of a new workdir alone or a piece of one.
pub(super) fn is_without_changes(fs: &dyn Fs, manifest: &Path) -> Result<bool, StorageError> {
    let mut head = [0; OPENING_LEN + 1];
    let read = fs.open(manifest).and_then(|file| file.read_full_at(&mut head, 0));
    let head = &head[..read.map_err(|source| StorageError::io("read", manifest, source))?];
    let is_new = decode::opening(head).is_some_and(|opening| opening.origin == Origin::New);
    Ok(is_new || decode::is_piece_of_an_opening(head))
}

/// The checkpoint and the bytes that it was read from.
pub(super) fn read_state(fs: &dyn Fs, workdir: &Path) -> Result<Option<(Checkpoint, Vec<u8>)>, StorageError> {
    let path = workdir.join(STATE_FILE);
    let Some(bytes) = read_small(fs, &path)? else { return Ok(None) };
    match Checkpoint::decode(&bytes) {
        Ok(checkpoint) => Ok(Some((checkpoint, bytes))),
        Err(reason) => Err(StorageError::damaged(&path, 0, reason)),
    }
}

/// The manifest that `CURRENT` names.
pub(super) fn read_current(fs: &dyn Fs, workdir: &Path) -> Result<Option<String>, StorageError> {
    let path = workdir.join(CURRENT);
    let Some(bytes) = read_small(fs, &path)? else { return Ok(None) };
    match std::str::from_utf8(&bytes) {
        Ok(name) if manifest_number(name).is_some() => Ok(Some(name.to_owned())),
        _ => {
            let shown = &bytes[..bytes.len().min(64)];
            let reason = format!(
                "it holds {:?}, which is not the bare name of a manifest in the workdir, MANIFEST-<number>",
                String::from_utf8_lossy(shown)
            );
            Err(StorageError::damaged(&path, 0, reason))
        }
    }
}

/// The number of a manifest, by the name of its file.
pub(super) fn manifest_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("MANIFEST-")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The content of a small file; `None` when there is none.
pub(super) fn read_small(fs: &dyn Fs, path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    let read = |source| StorageError::io("read", path, source);
    let file = match fs.open(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(read)?,
    };
    let mut bytes = vec![0; SMALL_FILE_LEN_MAX + 1];
    let filled = file.read_full_at(&mut bytes, 0).map_err(read)?;
    if filled > SMALL_FILE_LEN_MAX {
        return Err(StorageError::damaged(path, 0, format!("it has more than {SMALL_FILE_LEN_MAX} bytes")));
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

fn len(count: usize) -> u64 {
    u64::try_from(count).expect("a constant of this program fits 64 bits")
}

#[cfg(test)]
mod tests;
