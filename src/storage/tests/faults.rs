//! The real file system with faults in front of it, and a record of what a power cut may leave. The record takes the place
//! of the syncs themselves, which would take most of the tests' time.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::fs::{Directory, File, Fs, Identity, OsFs};
use super::disk::{Disk, Files, Left, SMALL_PAGE_LEN};

/// An operation of the seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    List,
    Open,
    OpenDir,
    Lock,
    Identity,
    Len,
    Read,
    CreateDir,
    Create,
    Write { offset: u64, len: usize },
    SetLen,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

impl Op {
    /// Whether it changes the disk, or makes a change last.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::List | Self::Open | Self::OpenDir | Self::Lock | Self::Identity | Self::Len | Self::Read)
    }

    /// Whether it takes a new file descriptor.
    fn takes_descriptor(self) -> bool {
        matches!(self, Self::List | Self::Open | Self::OpenDir | Self::Lock | Self::Create)
    }

    /// Whether both are of one kind.
    pub fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It fails with this error number, and does nothing.
    Fail(i32),
    /// A read or write stops after so many bytes.
    Short(usize),
}

pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const EMFILE: i32 = 24;
pub const ENOSPC: i32 = 28;
pub const EDQUOT: i32 = 122;

type Rule = Box<dyn FnMut(Op, &Path) -> Fate + Send>;

/// The real file system, with a rule that decides about each [`Op`] before it is done.
#[derive(Clone)]
pub struct FaultFs {
    shared: Arc<Shared>,
}

struct Shared {
    rule: Mutex<Rule>,
    disk: Mutex<Disk>,
}

impl FaultFs {
    /// The files that are in `dir`, if it is there, count as synced.
    pub fn new(dir: &Path, rule: impl FnMut(Op, &Path) -> Fate + Send + 'static) -> Self {
        Self::with_pages(dir, SMALL_PAGE_LEN, rule)
    }

    /// As [`FaultFs::new`], with pages of so many bytes.
    pub fn with_pages(dir: &Path, page_len: usize, rule: impl FnMut(Op, &Path) -> Fate + Send + 'static) -> Self {
        let rule: Mutex<Rule> = Mutex::new(Box::new(rule));
        Self { shared: Arc::new(Shared { rule, disk: Mutex::new(Disk::of(dir, page_len)) }) }
    }

    /// From now on `rule` decides.
    pub fn set_rule(&self, rule: impl FnMut(Op, &Path) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on no file or directory can be opened or created (`Some`), or each can (`None`).
    pub fn fail_opens(&self, code: Option<i32>) {
        self.set_rule(move |op, _| match code {
            Some(code) if op.takes_descriptor() => Fate::Fail(code),
            _ => Fate::Pass,
        });
    }

    /// What a power cut at this moment leaves of the files, in one of the ways it may.
    pub fn cut_power(&self, left: Left) -> Files {
        self.disk().left(left)
    }

    /// What a power cut at this moment may leave: each way if they are few, some of them by `seed` if they are many. No two
    /// are the same.
    pub fn power_cuts(&self, seed: u64) -> Vec<Files> {
        self.disk().cuts(seed)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.disk.lock().unwrap()
    }

    fn ask(&self, op: Op, path: &Path) -> io::Result<Fate> {
        let fate = (self.shared.rule.lock().unwrap())(op, path);
        match fate {
            Fate::Fail(code) => Err(io::Error::from_raw_os_error(code)),
            fate => Ok(fate),
        }
    }

    fn wrap(&self, path: &Path, inner: Box<dyn File>) -> io::Result<Box<dyn File>> {
        let inode = inner.identity()?.inode;
        Ok(Box::new(FaultFile { fs: self.clone(), path: path.to_owned(), inode, inner }))
    }
}

impl Fs for FaultFs {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        self.ask(Op::CreateDir, dir)?;
        let created = OsFs.create_dir(dir)?;
        if created {
            self.disk().dir_created(dir);
        }
        Ok(created)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.ask(Op::List, dir)?;
        OsFs.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.ask(Op::Open, path)?;
        self.wrap(path, OsFs.open(path)?)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.ask(Op::Open, path)?;
        self.wrap(path, OsFs.open_for_writing(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.ask(Op::Create, path)?;
        let had = std::fs::metadata(path).ok().map(|old| old.ino());
        let file = OsFs.create(path)?;
        match had {
            Some(inode) => self.disk().resized(inode, 0, &[]),
            None => self.disk().created(path, file.identity()?.inode),
        }
        self.wrap(path, file)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        self.ask(Op::Lock, path)?;
        let is_new = !path.exists();
        let Some(file) = OsFs.try_lock(path)? else { return Ok(None) };
        if is_new {
            self.disk().created(path, file.identity()?.inode);
        }
        self.wrap(path, file).map(Some)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Op::Rename, from)?;
        let mut disk = self.disk();
        disk.keep_inode_of(to);
        OsFs.rename(from, to)?;
        disk.renamed(from, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Remove, path)?;
        let mut disk = self.disk();
        disk.keep_inode_of(path);
        OsFs.remove(path)?;
        disk.removed(path);
        Ok(())
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Directory>> {
        self.ask(Op::OpenDir, dir)?;
        Ok(Box::new(FaultDir { fs: self.clone(), path: dir.to_owned() }))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        self.ask(Op::Identity, path)?;
        OsFs.identity(path)
    }
}

struct FaultDir {
    fs: FaultFs,
    path: PathBuf,
}

impl Directory for FaultDir {
    fn sync(&self) -> io::Result<()> {
        self.fs.ask(Op::SyncDir, &self.path)?;
        self.fs.disk().dir_synced(&self.path);
        Ok(())
    }
}

struct FaultFile {
    fs: FaultFs,
    path: PathBuf,
    inode: u64,
    inner: Box<dyn File>,
}

impl FaultFile {
    /// Everything that is in the file now.
    fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; usize::try_from(self.inner.len()?).unwrap()];
        self.inner.read_full_at(&mut content, 0)?;
        Ok(content)
    }
}

impl File for FaultFile {
    fn identity(&self) -> io::Result<Identity> {
        self.fs.ask(Op::Identity, &self.path)?;
        self.inner.identity()
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.ask(Op::Len, &self.path)?;
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.fs.ask(Op::Read, &self.path)? {
            Fate::Short(len) => {
                let len = len.min(buffer.len());
                self.inner.read_at(&mut buffer[..len], offset)
            }
            _ => self.inner.read_at(buffer, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = match self.fs.ask(Op::Write { offset, len: bytes.len() }, &self.path)? {
            Fate::Short(len) => self.inner.write_at(&bytes[..len.min(bytes.len())], offset)?,
            _ => self.inner.write_at(bytes, offset)?,
        };
        self.fs.disk().written(self.inode, &*self.inner, offset, written)?;
        Ok(written)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.ask(Op::SetLen, &self.path)?;
        self.inner.set_len(len)?;
        let content = self.content()?;
        self.fs.disk().resized(self.inode, usize::try_from(len).unwrap(), &content);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.fs.ask(Op::Sync, &self.path) {
            Ok(_) => self.fs.disk().synced(self.inode, &self.content()?),
            Err(error) => {
                self.fs.disk().sync_failed(self.inode);
                return Err(error);
            }
        }
        Ok(())
    }
}
