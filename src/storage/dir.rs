//! The workdir as the writer uses it: operations whose errors tell "no space", which is undone and may be tried again, from
//! everything else, which is final. That no file descriptor is free counts as no space: nothing was written either.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::StorageError;
use super::fs::{Directory, File, Fs};
use super::open::manifest_number;

/// Why something did not get to the disk.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The disk, or the user's share of it, is full, or no file descriptor is free. What was begun is undone.
    NoSpace(StorageError),
    /// What is on the disk is unknown. Nothing may be tried again: after a failed sync the system forgets which pages it
    /// could not write, so a second sync would succeed without them.
    Final(StorageError),
}

impl WriteError {
    /// The error of an operation that the caller has undone, if `source` is "no space".
    pub(super) fn undone(action: &'static str, path: &Path, source: io::Error) -> Self {
        let no_space = is_no_space(&source);
        let error = StorageError::io(action, path, source);
        if no_space { Self::NoSpace(error) } else { Self::Final(error) }
    }

    /// The error of a look at the files in front of the first change.
    pub(super) fn in_front(error: StorageError) -> Self {
        match &error {
            StorageError::Io { source, .. } if is_no_space(source) => Self::NoSpace(error),
            _ => Self::Final(error),
        }
    }

    /// The error of an operation that cannot be undone.
    pub(super) fn last(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Final(StorageError::io(action, path, source))
    }
}

impl From<WriteError> for StorageError {
    /// For callers to whom no space is an error like any other.
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoSpace(error) | WriteError::Final(error) => error,
        }
    }
}

/// Too many open files in the system, and in this process. The standard library has no stable kind for them.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// A workdir and the file system it is on.
#[derive(Clone)]
pub(super) struct Dir {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    /// The directory's handle, opened by the first sync and kept: a later sync must not fail for want of a descriptor, because
    /// what it is to make durable has happened.
    handle: Arc<OnceLock<Box<dyn Directory>>>,
}

impl Dir {
    pub(super) fn new(fs: Arc<dyn Fs>, path: PathBuf) -> Self {
        Self { fs, path, handle: Arc::default() }
    }

    /// Puts `bytes` in the place of the file `name`, whole or not at all, durable when it returns: a temporary file, synced,
    /// renamed over the old one, the directory synced.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let (path, temporary) = (self.path.join(name), self.temporary(name));
        let written = self.fs.create(&temporary).and_then(|file| file.write_all_at(bytes, 0).map(|()| file));
        match written {
            Ok(file) => self.install(file, &temporary, &path).map_err(WriteError::Final),
            Err(source) => {
                // The next attempt overwrites it anyway; removing it gives its blocks back.
                let _ = self.fs.remove(&temporary);
                Err(WriteError::undone("write", &path, source))
            }
        }
    }

    /// The second half of [`Dir::replace`]: when it fails, which of the two files is on the disk is unknown.
    fn install(&self, file: Box<dyn File>, temporary: &Path, path: &Path) -> Result<(), StorageError> {
        let renamed = file.sync().and_then(|()| self.fs.rename(temporary, path));
        renamed.map_err(|source| StorageError::io("replace", path, source))?;
        self.sync()
    }

    /// Where new content of the file `name` is prepared.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.tmp"))
    }

    /// Removes a file that nothing names any more. One that stays is no harm: nothing reads it.
    pub(super) fn discard(&self, path: &Path) {
        if let Err(error) = self.fs.remove(path) {
            log::warn!("cannot remove {}, which is not needed any more: {error}", path.display());
        }
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        let synced = match self.handle.get() {
            Some(handle) => handle.sync(),
            None => self.fs.open_dir(&self.path).and_then(|opened| self.handle.get_or_init(|| opened).sync()),
        };
        synced.map_err(|source| StorageError::io("sync the directory", &self.path, source))
    }

    /// The names in the directory; one that is not text is none that this program gives.
    pub(super) fn names(&self) -> Result<Vec<String>, StorageError> {
        let names = self.fs.list(&self.path).map_err(|source| StorageError::io("list", &self.path, source))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }
}

/// The name of the manifest that follows `name`: the next number that no file in the directory has.
pub(super) fn next_manifest_name(name: &str, taken: &[String]) -> String {
    let mut number = manifest_number(name).unwrap_or(0);
    loop {
        // Behind the last number any lower one that is free serves as well.
        number = number.checked_add(1).unwrap_or(1);
        let next = manifest_name(number);
        if !taken.contains(&next) {
            return next;
        }
    }
}

/// The name of the manifest with this number.
pub(super) fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fs::OsFs;

    #[test]
    fn a_new_manifest_gets_the_next_free_number() {
        let next = |name: &str, taken: &[&str]| {
            next_manifest_name(name, &taken.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(next("MANIFEST-000001", &["MANIFEST-000001"]), "MANIFEST-000002");
        assert_eq!(next("MANIFEST-000009", &["MANIFEST-000010", "MANIFEST-000011"]), "MANIFEST-000012");
        assert_eq!(next("MANIFEST-999999", &[]), "MANIFEST-1000000");
        assert_eq!(next(&format!("MANIFEST-{}", u64::MAX), &["MANIFEST-000001"]), "MANIFEST-000002");
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_file() {
        let workdir = tempfile::tempdir().unwrap();
        let dir = Dir::new(Arc::new(OsFs), workdir.path().to_owned());
        std::fs::write(workdir.path().join("name.tmp"), "left over and longer").unwrap();
        for content in ["first", "2nd"] {
            dir.replace("name", content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(workdir.path().join("name")).unwrap(), content);
            assert_eq!(dir.names().unwrap(), ["name"]);
        }
    }

    #[test]
    fn only_a_full_disk_or_quota_and_a_lack_of_descriptors_are_no_space() {
        for code in [28, 122, 23, 24] {
            assert!(is_no_space(&io::Error::from_raw_os_error(code)), "ENOSPC, EDQUOT, ENFILE and EMFILE: {code}");
        }
        for code in [5, 27, 30] {
            assert!(!is_no_space(&io::Error::from_raw_os_error(code)), "EIO, EFBIG and EROFS: {code}");
        }
    }
}
