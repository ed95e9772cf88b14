//! The file seam: every operation on the disk that `storage/` makes, as a trait, so that tests and benches can put a disk
//! behind it that fails, forgets or is slow. [`OsFs`] is the real one.
//!
//! A file is read and written at offsets; no handle has a position of its own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file system.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory with its parents; existing ones are no error. Durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
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
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
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

/// Puts `bytes` in the place of the file `dir/name`, whole or not at all, durable when it returns: a temporary file
/// `NAME.tmp`, synced, renamed over the old one, the directory synced.
pub fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let written = write_temporary(fs, dir, name, bytes)?;
    install_temporary(fs, dir, name, written)
}

/// The first half of [`replace`]: until it returns the old file is untouched, and a failure can be undone by removing the
/// temporary file.
pub fn write_temporary(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<Box<dyn File>> {
    let file = fs.create(&temporary(dir, name))?;
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

/// The second half of [`replace`]: when it fails, which of the two files is on the disk is unknown.
pub fn install_temporary(fs: &dyn Fs, dir: &Path, name: &str, written: Box<dyn File>) -> io::Result<()> {
    written.sync()?;
    drop(written);
    fs.rename(&temporary(dir, name), &dir.join(name))?;
    fs.sync_dir(dir)
}

/// Where [`replace`] prepares the new content of `dir/name`.
#[must_use]
pub fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.tmp"))
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        // One level at a time, because each new name has to be synced in its own parent.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => self.sync_dir(parent),
                None => self.sync_dir(Path::new(".")),
            },
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

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
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
}
