//! A file system in memory, at each of whose operations another thread may go on. What is synced is not told apart.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pd_lite_interleavings::storage::fs::{Directory, File, Fs, Identity};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A disk.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: HashMap<PathBuf, Stored>,
    next_inode: u64,
    locked: bool,
    is_full: bool,
    /// The number of the sync that fails, counted from now.
    fails_in: Option<u64>,
    has_failed: bool,
}

#[derive(Clone)]
struct Stored {
    inode: u64,
    content: Arc<Mutex<Vec<u8>>>,
}

struct Handle {
    disk: Memory,
    file: Stored,
    is_lock: bool,
}

impl Memory {
    /// The sync `number` from now on fails, and all behind it.
    pub fn fail_sync(&self, number: u64) {
        self.0.lock().unwrap().fails_in = Some(number);
    }

    pub fn has_failed(&self) -> bool {
        self.0.lock().unwrap().has_failed
    }

    pub fn set_full(&self, is_full: bool) {
        shuttle::thread::yield_now();
        self.0.lock().unwrap().is_full = is_full;
    }

    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().files.get(Path::new(path)).map(|file| file.content.lock().unwrap().clone())
    }

    fn find(&self, path: &Path) -> io::Result<Stored> {
        self.0.lock().unwrap().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn handle(&self, file: Stored, is_lock: bool) -> Box<dyn File> {
        Box::new(Handle { disk: self.clone(), file, is_lock })
    }

    fn put(&self, path: &Path) -> Stored {
        let mut disk = self.0.lock().unwrap();
        disk.next_inode += 1;
        let file = Stored { inode: disk.next_inode, content: Arc::default() };
        disk.files.entry(path.to_owned()).or_insert(file).clone()
    }

    fn need_space(&self) -> io::Result<()> {
        shuttle::thread::yield_now();
        if self.0.lock().unwrap().is_full { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        shuttle::thread::yield_now();
        let mut disk = self.0.lock().unwrap();
        disk.fails_in = disk.fails_in.map(|left| left.saturating_sub(1));
        if disk.fails_in == Some(0) {
            disk.has_failed = true;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }
}

impl Fs for Memory {
    fn create_dir(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let disk = self.0.lock().unwrap();
        let names = disk.files.keys().filter(|path| path.parent() == Some(dir)).filter_map(|path| path.file_name());
        Ok(names.map(ToOwned::to_owned).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.handle(self.find(path)?, false))
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.need_space()?;
        let file = self.put(path);
        file.content.lock().unwrap().clear();
        Ok(self.handle(file, false))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        let file = self.put(path);
        let was_locked = std::mem::replace(&mut self.0.lock().unwrap().locked, true);
        Ok((!was_locked).then(|| self.handle(file, true)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let file = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_dir(&self, _: &Path) -> io::Result<Box<dyn Directory>> {
        Ok(Box::new(self.clone()))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        Ok(Identity { device: 0, inode: self.find(path)?.inode })
    }
}

impl Directory for Memory {
    fn sync(&self) -> io::Result<()> {
        Memory::sync(self)
    }
}

impl File for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.file.content.lock().unwrap().len()).unwrap())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.file.content.lock().unwrap();
        let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.need_space()?;
        let mut content = self.file.content.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.content.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity { device: 0, inode: self.file.inode })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_lock {
            self.disk.0.lock().unwrap().locked = false;
        }
    }
}
