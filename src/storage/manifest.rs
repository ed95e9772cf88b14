//! The open manifest: appends batches, each closed by a commit record.
//!
//! Invariants: `synced <= end`; the file is `end` bytes long unless a write is under way or another process wrote to it;
//! the next batch starts at `end` and has the number `next_batch`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use super::StorageError;
use super::dir::{Dir, WriteError, is_no_space};
use super::fs::File;
use super::record::{self, BATCH_LEN_MAX, Origin};
use super::state::Synced;
use crate::core::Limits;

/// A manifest of ours that is open for appending.
pub(super) struct Manifest {
    file: Box<dyn File>,
    /// As `CURRENT` names it.
    name: String,
    path: PathBuf,
    salt: u64,
    next_batch: u64,
    /// Bytes written.
    end: u64,
    /// Bytes known to be on the disk.
    synced: u64,
}

impl Manifest {
    /// Creates a manifest that holds an opening record alone, durable under its name. A file that has the name is emptied.
    pub(super) fn create(dir: &Dir, name: String, origin: Origin) -> Result<Self, WriteError> {
        let path = dir.path.join(&name);
        let salt = random();
        let mut opening = Vec::with_capacity(record::OPENING_LEN);
        record::push_opening(&mut opening, origin, salt);
        let written = dir.fs.create(&path).and_then(|file| file.write_all_at(&opening, 0).map(|()| file));
        let file = match written {
            Ok(file) => file,
            Err(source) => {
                let _ = dir.fs.remove(&path);
                return Err(WriteError::undone("create", &path, source));
            }
        };
        let mut manifest = Self { file, name, path, salt, next_batch: 1, end: len(&opening), synced: 0 };
        manifest.sync().map_err(WriteError::Final)?;
        dir.sync().map_err(WriteError::Final)?;
        Ok(manifest)
    }

    /// Opens a manifest that was read before: whole up to `end`, where it ends or is cut now. Durable when it returns.
    pub(super) fn resume(
        dir: &Dir,
        name: String,
        salt: u64,
        next_batch: u64,
        end: u64,
        file_len: u64,
    ) -> Result<Self, StorageError> {
        let path = dir.path.join(&name);
        let file = dir.fs.open_for_writing(&path).map_err(|source| StorageError::io("open", &path, source))?;
        let mut manifest = Self { file, name, path, salt, next_batch, end, synced: 0 };
        manifest.check_len(file_len)?;
        if file_len > end {
            manifest.cut().map_err(|source| StorageError::io("cut the torn tail of", &manifest.path, source))?;
        }
        manifest.write_last_again().map_err(|source| StorageError::io("write to", &manifest.path, source))?;
        manifest.sync()?;
        Ok(manifest)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What is known to be on the disk.
    pub(super) fn synced(&self) -> Synced {
        Synced { manifest: self.name.clone(), bytes: self.synced }
    }

    /// Appends a batch: `records` (left as they were) and a commit. Durable only after [`Manifest::sync`].
    pub(super) fn write(&mut self, records: &mut Vec<u8>, issued: Limits) -> Result<(), WriteError> {
        self.check_len(self.end).map_err(WriteError::Final)?;
        let records_len = records.len();
        record::push_commit(records, self.end, self.next_batch, issued, self.salt);
        let written = self.file.write_all_at(records, self.end);
        let batch_len = len(records);
        records.truncate(records_len);
        match written {
            Ok(()) => {
                self.end += batch_len;
                self.next_batch += 1;
                Ok(())
            }
            Err(source) => {
                if is_no_space(&source) {
                    self.cut().map_err(|source| WriteError::last("undo a write to", &self.path, source))?;
                }
                Err(WriteError::undone("write to", &self.path, source))
            }
        }
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync().map_err(|source| StorageError::io("sync", &self.path, source))?;
        self.synced = self.end;
        Ok(())
    }

    /// Takes away everything behind `end`. Durable, so that no piece of what was there can turn up behind the next batch.
    fn cut(&self) -> std::io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync()
    }

    /// Writes the bytes of the last batch once more, in place. They may never have got to the disk: a sync that failed, which
    /// ended the process before this one, leaves them in the system's memory marked as written, and then the next sync
    /// succeeds without them. Older batches were synced before this one was written.
    fn write_last_again(&self) -> std::io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.end).map_or(BATCH_LEN_MAX, |end| end.min(BATCH_LEN_MAX))];
        let start = self.end - len(&bytes);
        if self.file.read_full_at(&mut bytes, start)? < bytes.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.file.write_all_at(&bytes, start)
    }

    fn check_len(&self, expected: u64) -> Result<(), StorageError> {
        check_len(&*self.file, &self.path, expected)
    }
}

/// Makes sure that a manifest has its length still. The reference ignores our lock: it may have appended to the file, and that
/// would be lost now.
pub(super) fn check_len(file: &dyn File, path: &Path, expected: u64) -> Result<(), StorageError> {
    let found = file.len().map_err(|source| StorageError::io("read the size of", path, source))?;
    if found == expected {
        Ok(())
    } else {
        let change = format!("wrote to it: {expected} bytes expected, {found} found");
        Err(StorageError::ChangedUnderUs { file: path.to_owned(), change })
    }
}

/// A number that nobody can foresee: the standard library seeds its hashers from the system's random source.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a slice is shorter than 2^64 bytes")
}
