//! The real file system with faults in front of it, and a record of what a power cut would leave. The record takes the place
//! of the syncs themselves, which would take most of the tests' time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use super::super::fs::{Directory, File, Fs, Identity, OsFs};

/// An operation that changes the disk, or makes a change last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Create,
    Write { offset: u64, len: usize },
    SetLen,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Pass,
    /// It fails with this error number, and does nothing.
    Fail(i32),
    /// A write stops after so many bytes.
    Short(usize),
}

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
    /// What everything that needs a new file descriptor fails with; 0: nothing does.
    open_error: AtomicI32,
    disk: Mutex<Disk>,
}

impl FaultFs {
    /// Files that are in `dir` already count as synced.
    pub fn new(dir: &Path, rule: impl FnMut(Op, &Path) -> Fate + Send + 'static) -> Self {
        let disk = Disk::of(dir);
        let rule: Mutex<Rule> = Mutex::new(Box::new(rule));
        Self { shared: Arc::new(Shared { rule, open_error: AtomicI32::new(0), disk: Mutex::new(disk) }) }
    }

    /// From now on `rule` decides.
    pub fn set_rule(&self, rule: impl FnMut(Op, &Path) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on no file or directory can be opened or created (`Some`), or each can (`None`).
    pub fn fail_opens(&self, code: Option<i32>) {
        self.shared.open_error.store(code.unwrap_or(0), Ordering::SeqCst);
    }

    fn take_descriptor(&self) -> io::Result<()> {
        match self.shared.open_error.load(Ordering::SeqCst) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Writes into the empty directory `to` what a power cut at this moment may leave.
    pub fn cut_power(&self, cut: PowerCut, to: &Path) {
        self.shared.disk.lock().unwrap().survive(cut, to);
    }

    fn ask(&self, op: Op, path: &Path) -> io::Result<Fate> {
        let fate = (self.shared.rule.lock().unwrap())(op, path);
        match fate {
            Fate::Fail(code) => Err(io::Error::from_raw_os_error(code)),
            fate => Ok(fate),
        }
    }

    fn wrap(&self, path: &Path, inner: Box<dyn File>) -> Box<dyn File> {
        let inode = std::fs::metadata(path).unwrap().ino();
        Box::new(FaultFile { fs: self.clone(), path: path.to_owned(), inode, inner })
    }
}

impl Fs for FaultFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsFs.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.take_descriptor()?;
        OsFs.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.take_descriptor()?;
        OsFs.open(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.take_descriptor()?;
        Ok(self.wrap(path, OsFs.open_for_writing(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.take_descriptor()?;
        self.ask(Op::Create, path)?;
        let file = self.wrap(path, OsFs.create(path)?);
        self.shared.disk.lock().unwrap().created(path);
        Ok(file)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        OsFs.try_lock(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Op::Rename, from)?;
        self.shared.disk.lock().unwrap().keep_inode_of(to);
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Remove, path)?;
        self.shared.disk.lock().unwrap().keep_inode_of(path);
        OsFs.remove(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Box<dyn Directory>> {
        self.take_descriptor()?;
        Ok(Box::new(FaultDir { fs: self.clone(), path: dir.to_owned() }))
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
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
        let mut disk = self.fs.shared.disk.lock().unwrap();
        if self.path == disk.dir {
            disk.dir_synced();
        }
        Ok(())
    }
}

struct FaultFile {
    fs: FaultFs,
    path: PathBuf,
    inode: u64,
    inner: Box<dyn File>,
}

impl File for FaultFile {
    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = match self.fs.ask(Op::Write { offset, len: bytes.len() }, &self.path)? {
            Fate::Short(len) => self.inner.write_at(&bytes[..len], offset)?,
            _ => self.inner.write_at(bytes, offset)?,
        };
        let start = usize::try_from(offset).unwrap();
        self.fs.shared.disk.lock().unwrap().dirty.entry(self.inode).or_default().push(start..start + written);
        Ok(written)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.ask(Op::SetLen, &self.path)?;
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        let asked = self.fs.ask(Op::Sync, &self.path);
        let mut content = vec![0; usize::try_from(self.inner.len()?).unwrap()];
        self.inner.read_full_at(&mut content, 0)?;
        let mut disk = self.fs.shared.disk.lock().unwrap();
        let dirty = disk.dirty.remove(&self.inode).unwrap_or_default();
        asked?;
        disk.synced(self.inode, &content, dirty);
        Ok(())
    }
}

/// Which changes a power cut leaves.
#[derive(Clone, Copy, Debug)]
pub enum PowerCut {
    /// All of them: the process was killed and the machine went on.
    Nothing,
    /// Names as they are, contents as they were synced: the system wrote the directory first.
    Contents,
    /// Names and contents as they were synced.
    NamesAndContents,
}

/// What is known to be on the disk: contents by inode, names of one directory.
struct Disk {
    dir: PathBuf,
    synced: HashMap<u64, Vec<u8>>,
    /// What was written since the last sync. A sync that fails forgets it, as the system does: the next one does not write it.
    dirty: HashMap<u64, Vec<Range<usize>>>,
    names: BTreeMap<OsString, u64>,
    /// Handles of files without a name, so that their inodes are not given to others.
    kept: Vec<std::fs::File>,
}

impl Disk {
    fn of(dir: &Path) -> Self {
        let mut disk = Self {
            dir: dir.to_owned(),
            synced: HashMap::new(),
            dirty: HashMap::new(),
            names: BTreeMap::new(),
            kept: Vec::new(),
        };
        disk.dir_synced();
        for (name, inode) in &disk.names {
            disk.synced.insert(*inode, std::fs::read(dir.join(name)).unwrap());
        }
        disk
    }

    /// The files that have a name now.
    fn names_now(&self) -> BTreeMap<OsString, u64> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return BTreeMap::new() };
        let entry = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name(), entry.metadata().unwrap().ino())
        };
        entries.map(entry).collect()
    }

    fn created(&mut self, path: &Path) {
        // An existing file that is emptied keeps what was synced until the emptying is.
        self.synced.entry(std::fs::metadata(path).unwrap().ino()).or_default();
    }

    fn keep_inode_of(&mut self, path: &Path) {
        self.kept.extend(std::fs::File::open(path));
    }

    fn synced(&mut self, inode: u64, content: &[u8], written: Vec<Range<usize>>) {
        let synced = self.synced.entry(inode).or_default();
        synced.resize(content.len(), 0);
        for range in written {
            let range = range.start..range.end.min(content.len());
            if let Some(bytes) = content.get(range.clone()) {
                synced[range].copy_from_slice(bytes);
            }
        }
    }

    fn dir_synced(&mut self) {
        self.names = self.names_now();
    }

    fn survive(&self, cut: PowerCut, to: &Path) {
        let names = match cut {
            PowerCut::NamesAndContents => self.names.clone(),
            PowerCut::Nothing | PowerCut::Contents => self.names_now(),
        };
        for (name, inode) in names {
            let content = match cut {
                PowerCut::Nothing => std::fs::read(self.dir.join(&name)).unwrap(),
                PowerCut::Contents | PowerCut::NamesAndContents => self.synced.get(&inode).cloned().unwrap_or_default(),
            };
            std::fs::write(to.join(name), content).unwrap();
        }
    }
}
