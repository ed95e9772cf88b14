//! The lock on a workdir: one process at a time.
//!
//! The lock lasts as long as the handle, and is on the file, not on its name: whoever removes the file lets a second process
//! in. So [`Lock::check`] is asked before each write.

use std::io;
use std::path::{Path, PathBuf};

use super::StorageError;
use super::fs::{File, Fs};
use super::open::read_small;

/// The lock file. It holds one line that says who has, or had, the lock.
pub(super) const LOCK: &str = "PD_LOCK";

/// A lock that is held until this is dropped.
pub(super) struct Lock {
    file: Box<dyn File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock and leaves this process's id in its file.
    pub(super) fn take(fs: &dyn Fs, workdir: &Path) -> Result<Self, StorageError> {
        let path = workdir.join(LOCK);
        let Some(file) = fs.try_lock(&path).map_err(|source| StorageError::io("lock", &path, source))? else {
            return Err(StorageError::InUse { workdir: workdir.to_owned(), holder: holder(fs, &path) });
        };
        // Only a help for who finds the workdir in use: no reason to refuse on a full disk.
        let _ = file.set_len(0).and_then(|()| file.write_all_at(format!("pid {}\n", std::process::id()).as_bytes(), 0));
        Ok(Self { file, path })
    }

    /// As [`Lock::take`], for a look that writes nothing: a workdir without a lock file is not in use, and gets none.
    pub(super) fn take_to_read(fs: &dyn Fs, workdir: &Path) -> Result<Option<Self>, StorageError> {
        match fs.open(&workdir.join(LOCK)) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::take(fs, workdir).map(Some),
        }
    }

    /// Makes sure that the file which is locked still has its name, so that nobody else can hold the workdir. Opens nothing:
    /// an append needs no file descriptor.
    ///
    /// # Errors
    ///
    /// `ChangedUnderUs`, or `Io` when that cannot be told.
    pub(super) fn check(&self, fs: &dyn Fs) -> Result<(), StorageError> {
        let look = |source| StorageError::io("look at", &self.path, source);
        let is_ours = match fs.identity(&self.path) {
            Ok(named) => named == self.file.identity().map_err(look)?,
            Err(source) if source.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(look(source)),
        };
        if is_ours {
            return Ok(());
        }
        Err(StorageError::ChangedUnderUs { file: self.path.clone(), change: "removed or replaced it".into() })
    }
}

/// The first line of a lock file.
fn holder(fs: &dyn Fs, path: &Path) -> Option<String> {
    let bytes = read_small(fs, path).ok()??;
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line.get(..64).unwrap_or(line));
    (!line.is_empty()).then(|| line.escape_debug().to_string())
}
