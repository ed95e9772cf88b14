//! A disk that counts what is made durable on it and can be slow to sync: a file seam around the real file system.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pd_lite::storage::fs::{Directory, File, Fs, Identity, OsFs};
use pd_lite::storage::state::STATE_FILE;

/// How the name of every manifest begins.
const MANIFEST_PREFIX: &str = "MANIFEST-";

/// What was made durable so far.
#[derive(Default)]
pub struct Counts {
    manifest_syncs: AtomicU64,
    state_writes: Mutex<Vec<Instant>>,
}

impl Counts {
    /// Syncs of manifests, those of a rewrite included.
    pub fn manifest_syncs(&self) -> u64 {
        self.manifest_syncs.load(Ordering::Relaxed)
    }

    /// When the state file was replaced, each time since the start.
    pub fn state_writes(&self) -> Vec<Instant> {
        self.state_writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The operating system's file system, counted, each sync of a file or a directory made longer by `sync_delay`.
pub struct CountingDisk {
    sync_delay: Duration,
    counts: Arc<Counts>,
}

impl CountingDisk {
    /// A disk and its counts.
    pub fn new(sync_delay: Duration) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Self { sync_delay, counts: Arc::clone(&counts) }, counts)
    }

    fn wrap(&self, path: &Path, inner: Box<dyn File>) -> Box<dyn File> {
        let is_manifest =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(MANIFEST_PREFIX));
        Box::new(CountingFile { inner, is_manifest, sync_delay: self.sync_delay, counts: Arc::clone(&self.counts) })
    }
}

impl Fs for CountingDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        OsFs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        OsFs.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, OsFs.open(path)?))
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, OsFs.open_for_writing(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, OsFs.create(path)?))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        OsFs.try_lock(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to.file_name().is_some_and(|name| name == STATE_FILE) {
            self.counts.state_writes.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFs.remove(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Directory>> {
        Ok(Box::new(SlowDirectory { inner: OsFs.open_dir(dir)?, sync_delay: self.sync_delay }))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        OsFs.identity(path)
    }
}

struct SlowDirectory {
    inner: Box<dyn Directory>,
    sync_delay: Duration,
}

impl Directory for SlowDirectory {
    fn sync(&self) -> io::Result<()> {
        thread::sleep(self.sync_delay);
        self.inner.sync()
    }
}

struct CountingFile {
    inner: Box<dyn File>,
    is_manifest: bool,
    sync_delay: Duration,
    counts: Arc<Counts>,
}

impl File for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_manifest {
            self.counts.manifest_syncs.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(self.sync_delay);
        self.inner.sync()
    }

    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }
}
