//! The file seam: every operation on the disk that `storage/` makes, as a trait, so that tests and benches can put a disk
//! behind it that fails, forgets or is slow. [`OsFs`] is the real one.
//!
//! A file is read and written at offsets; no handle has a position of its own. Of all calls only reads and writes may end as
//! interrupted by a signal; `write_all_at` and `read_full_at` go on then. The others are repeated below this seam (the
//! standard library does that).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A file system.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory in one that exists. `false`: there is one already. Durable after a sync of the one it is in.
    fn create_dir(&self, dir: &Path) -> io::Result<bool>;
    /// Creates a directory with its parents; existing ones are no error. Durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let created = match (self.create_dir(dir), parent) {
            // One level at a time, because each new name has to be synced in its own parent.
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir_all(parent)?;
                self.create_dir(dir)?
            }
            (created, _) => created?,
        };
        if created { self.open_dir(parent.unwrap_or(Path::new(".")))?.sync() } else { Ok(()) }
    }
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file, or empties the one that is there, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates the file when it is missing and takes an exclusive lock on it, which ends with the handle. `None`: another
    /// handle, of this process or another one, has the lock.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Opens a directory, for [`Directory::sync`].
    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Directory>>;
    /// What tells the file that has this name from every other one. Needs no file descriptor.
    fn identity(&self, path: &Path) -> io::Result<Identity>;
}

/// An open directory.
pub trait Directory: Send + Sync {
    /// Makes creations, renames and removals in the directory durable.
    fn sync(&self) -> io::Result<()>;
}

/// The number of a file on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a length that may fail; nobody asks whether a file is empty")]
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads at most `buffer.len()` bytes; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at most `bytes.len()` bytes; may write fewer.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the content and the length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// What tells this file from every other one, whatever its name is.
    fn identity(&self) -> io::Result<Identity>;
}

impl dyn File + '_ {
    /// Writes all of `bytes`. On an error some of them may be written.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += u64::try_from(written).expect("a slice is shorter than 2^64 bytes");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buffer` as far as the file goes. Returns how many bytes came.
    pub fn read_full_at(&self, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    offset += u64::try_from(read).expect("a slice is shorter than 2^64 bytes");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        match fs::create_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Directory>> {
        Ok(Box::new(fs::File::open(dir)?))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        Ok(identity(&fs::metadata(path)?))
    }
}

impl Directory for fs::File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        fs::File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(identity(&self.metadata()?))
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_created_with_their_parents_and_existing_ones_are_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        OsFs.create_dir_all(&deep).unwrap();
        OsFs.create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(deep.join("file"), "x").unwrap();
        assert_eq!(OsFs.create_dir_all(&deep.join("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(OsFs.create_dir_all(&deep.join("file/d")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(OsFs.list(&deep).unwrap(), ["file"]);
    }

    #[test]
    fn reads_and_writes_go_to_their_offsets_and_stop_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OsFs.create(&path).unwrap();
        file.write_all_at(b"cd", 2).unwrap();
        file.write_all_at(b"ab", 0).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(file.read_full_at(&mut buffer, 1).unwrap(), 3);
        assert_eq!(&buffer[..3], b"bcd");
        assert_eq!(file.read_full_at(&mut buffer, 9).unwrap(), 0);
        file.set_len(3).unwrap();
        assert_eq!(OsFs.open(&path).unwrap().len().unwrap(), 3);
        assert!(OsFs.open(&path).unwrap().write_all_at(b"x", 0).is_err(), "open is for reading");
        OsFs.open_for_writing(&path).unwrap().write_all_at(b"x", 3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcx", "nothing is emptied");
        assert_eq!(
            OsFs.open_for_writing(&dir.path().join("none")).map(|_| ()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_lock_has_one_holder_and_keeps_the_files_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = OsFs.try_lock(&path).unwrap().unwrap();
        held.write_all_at(b"who", 0).unwrap();
        assert!(OsFs.try_lock(&path).unwrap().is_none());
        assert_eq!(fs::read(&path).unwrap(), b"who");
        drop(held);
        assert!(OsFs.try_lock(&path).unwrap().is_some());
    }
}
