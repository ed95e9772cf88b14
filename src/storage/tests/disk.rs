//! What a power cut may leave of a directory: contents page by page, lengths, names.
//!
//! What was synced is there. Of everything since, each page, length, rename, creation and removal is there or not, whatever
//! came of the others: a file may have its length without its bytes, or a name the file it had before. A page that was
//! written more than once has any of these contents. The name of the directory itself goes as long as the one above it was
//! not synced. After a sync that failed the system takes the pages for written: they are there or not, and the next sync does
//! not write them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::fs::File;
use super::super::lock::LOCK;
use super::rng::Rng;

/// Bytes that get to the disk together. In a real one they are 512 or more; with these few, small records are torn as well.
pub const SMALL_PAGE_LEN: usize = 64;
/// Up to so many changes, each set of them is tried.
const EXHAUSTIVE_MAX: usize = 6;
/// Sets that are tried by chance when there are more.
const RANDOM_SETS: usize = 24;

/// The files of a directory by name, but for the lock.
pub type Files = BTreeMap<OsString, Arc<Vec<u8>>>;

/// One of the ways in which the power may go.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    /// All changes are there: the process was killed and the machine went on.
    Everything,
    /// Nothing but what was synced.
    Synced,
}

/// What is known to be on the disk, and what may be.
pub struct Disk {
    dir: PathBuf,
    page_len: usize,
    /// The directories made since the start whose names are not synced, the workdir or above it.
    new_dirs: Vec<PathBuf>,
    names: BTreeMap<OsString, u64>,
    name_changes: Vec<NameChange>,
    files: HashMap<u64, Content>,
    /// Handles of files without a name, so that their inodes are not given to others.
    kept: Vec<std::fs::File>,
}

#[derive(Clone)]
enum NameChange {
    Put(OsString, u64),
    Rename { from: OsString, to: OsString, inode: u64 },
    Remove(OsString),
}

/// A file.
#[derive(Default)]
struct Content {
    synced: Arc<Vec<u8>>,
    /// Contents of a page since then, in order.
    pages: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The pages that the next sync writes.
    dirty: BTreeSet<usize>,
    lens: Vec<usize>,
}

/// A change that may be on the disk or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    NewDir,
    Name(usize),
    Len { inode: u64, at: usize },
    Page { inode: u64, page: usize, at: usize },
}

impl Disk {
    pub fn of(dir: &Path, page_len: usize) -> Self {
        let mut disk = Self {
            dir: dir.to_owned(),
            page_len,
            new_dirs: Vec::new(),
            names: BTreeMap::new(),
            name_changes: Vec::new(),
            files: HashMap::new(),
            kept: Vec::new(),
        };
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let entry = entry.unwrap();
            let inode = entry.metadata().unwrap().ino();
            disk.names.insert(entry.file_name(), inode);
            disk.file(inode).synced = Arc::new(std::fs::read(entry.path()).unwrap());
        }
        disk
    }

    fn file(&mut self, inode: u64) -> &mut Content {
        self.files.entry(inode).or_default()
    }

    pub fn dir_created(&mut self, dir: &Path) {
        if self.dir.starts_with(dir) {
            self.new_dirs.push(dir.to_owned());
        }
    }

    pub fn dir_synced(&mut self, dir: &Path) {
        self.new_dirs.retain(|new| new.parent() != Some(dir));
        if dir == self.dir {
            for change in std::mem::take(&mut self.name_changes) {
                change.apply(&mut self.names);
            }
        }
    }

    fn name_of<'a>(&self, path: &'a Path) -> Option<&'a OsStr> {
        path.file_name().filter(|_| path.parent() == Some(&self.dir))
    }

    pub fn created(&mut self, path: &Path, inode: u64) {
        if let Some(name) = self.name_of(path) {
            self.name_changes.push(NameChange::Put(name.to_owned(), inode));
            self.files.insert(inode, Content::default());
        }
    }

    pub fn renamed(&mut self, from: &Path, to: &Path) {
        let inode = std::fs::metadata(to).unwrap().ino();
        if let (Some(from), Some(to)) = (self.name_of(from), self.name_of(to)) {
            self.name_changes.push(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        }
    }

    pub fn removed(&mut self, path: &Path) {
        if let Some(name) = self.name_of(path) {
            self.name_changes.push(NameChange::Remove(name.to_owned()));
        }
    }

    pub fn keep_inode_of(&mut self, path: &Path) {
        self.kept.extend(std::fs::File::open(path));
    }

    /// `len` bytes of a file were written at `offset`.
    pub fn written(&mut self, inode: u64, file: &dyn File, offset: u64, len: usize) -> io::Result<()> {
        let file_len = usize::try_from(file.len()?).unwrap();
        let start = usize::try_from(offset).unwrap();
        if len == 0 {
            return Ok(());
        }
        let page_len = self.page_len;
        let first = start / page_len;
        let mut bytes = vec![0; (start + len).next_multiple_of(page_len) - first * page_len];
        let read = file.read_full_at(&mut bytes, u64::try_from(first * page_len).unwrap())?;
        let content = self.file(inode);
        for (page, bytes) in (first..).zip(bytes[..read].chunks(page_len)) {
            content.put(page, page_len, bytes);
        }
        content.set_len(file_len);
        Ok(())
    }

    /// A file has another length, and now this content.
    pub fn resized(&mut self, inode: u64, len: usize, now: &[u8]) {
        let page_len = self.page_len;
        let content = self.file(inode);
        if !len.is_multiple_of(page_len) {
            let page = len / page_len;
            content.put(page, page_len, &now[page * page_len..len]);
        }
        content.set_len(len);
    }

    /// Everything that is in the file now is on the disk, but for pages that the system takes for written.
    pub fn synced(&mut self, inode: u64, now: &[u8]) {
        let page_len = self.page_len;
        let content = self.file(inode);
        let synced = Arc::make_mut(&mut content.synced);
        synced.resize(now.len(), 0);
        for page in std::mem::take(&mut content.dirty) {
            content.pages.remove(&page);
            let range = page * page_len..((page + 1) * page_len).min(now.len());
            if let Some(bytes) = now.get(range.clone()) {
                synced[range].copy_from_slice(bytes);
            }
        }
        content.pages.retain(|page, _| page * page_len < now.len());
        content.lens.clear();
    }

    pub fn sync_failed(&mut self, inode: u64) {
        self.file(inode).dirty.clear();
    }

    pub fn left(&self, left: Left) -> Files {
        let changes = self.changes();
        self.with(&changes, |_| matches!(left, Left::Everything))
    }

    pub fn cuts(&self, seed: u64) -> Vec<Files> {
        let changes = self.changes();
        let count = changes.len();
        let mut cuts = BTreeSet::new();
        if count <= EXHAUSTIVE_MAX {
            cuts.extend((0_u64..1 << count).map(|set| self.with(&changes, |at| set >> at & 1 == 1)));
        } else {
            let is_name = |at: usize| matches!(changes[at], Change::Name(_) | Change::NewDir);
            cuts.extend([true, false].map(|all| self.with(&changes, |_| all)));
            cuts.extend([true, false].map(|names| self.with(&changes, |at| is_name(at) == names)));
            let mut random = Rng::new(seed);
            for _ in 0..RANDOM_SETS {
                let lone = usize::try_from(random.below(u64::try_from(count).unwrap())).unwrap();
                let is_left = random.below(2) == 0;
                cuts.insert(self.with(&changes, |at| (at == lone) == is_left));
                let set = changes.iter().map(|_| random.below(2) == 0).collect::<Vec<_>>();
                cuts.insert(self.with(&changes, |at| set[at]));
            }
        }
        cuts.into_iter().collect()
    }

    /// What was not synced, of files that have or may have a name.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.new_dirs.iter().map(|_| Change::NewDir));
        changes.extend((0..self.name_changes.len()).map(Change::Name));
        let mut inodes = self.names.values().copied().collect::<BTreeSet<_>>();
        inodes.extend(self.name_changes.iter().filter_map(NameChange::inode));
        for inode in inodes {
            let Some(content) = self.files.get(&inode) else { continue };
            changes.extend((0..content.lens.len()).map(|at| Change::Len { inode, at }));
            for (&page, versions) in &content.pages {
                changes.extend((0..versions.len()).map(|at| Change::Page { inode, page, at }));
            }
        }
        changes
    }

    /// The files with those of the changes that `is_left` tells.
    fn with(&self, changes: &[Change], is_left: impl Fn(usize) -> bool) -> Files {
        let mut names = self.names.clone();
        let mut contents =
            self.files.iter().map(|(&inode, file)| (inode, Arc::clone(&file.synced))).collect::<HashMap<_, _>>();
        let mut lens = HashMap::new();
        for (at, &change) in changes.iter().enumerate() {
            match change {
                Change::NewDir if !is_left(at) => return Files::new(),
                _ if !is_left(at) => {}
                Change::NewDir => {}
                Change::Name(at) => self.name_changes[at].apply(&mut names),
                Change::Len { inode, at } => {
                    lens.insert(inode, self.files[&inode].lens[at]);
                }
                Change::Page { inode, page, at } => {
                    let bytes = &self.files[&inode].pages[&page][at];
                    let start = page * self.page_len;
                    let content = Arc::make_mut(contents.get_mut(&inode).unwrap());
                    content.resize(content.len().max(start + bytes.len()), 0);
                    content[start..][..bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        let mut content = |inode: &u64| {
            let content = contents.entry(*inode).or_default();
            let len = lens.get(inode).copied().unwrap_or(self.files.get(inode).map_or(0, |file| file.synced.len()));
            if content.len() != len {
                Arc::make_mut(content).resize(len, 0);
            }
            Arc::clone(content)
        };
        names.retain(|name, _| name != LOCK);
        names.iter().map(|(name, inode)| (name.clone(), content(inode))).collect()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Self::Put(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn inode(&self) -> Option<u64> {
        match self {
            Self::Put(_, inode) | Self::Rename { inode, .. } => Some(*inode),
            Self::Remove(_) => None,
        }
    }
}

impl Content {
    fn put(&mut self, page: usize, page_len: usize, bytes: &[u8]) {
        let start = page * page_len;
        let on_disk = self.synced.get(start..self.synced.len().min(start + page_len)).unwrap_or_default();
        if self.pages.contains_key(&page) || on_disk != bytes {
            self.pages.entry(page).or_default().push(bytes.to_vec());
            self.dirty.insert(page);
        }
    }

    fn set_len(&mut self, len: usize) {
        if self.lens.last().copied().unwrap_or(self.synced.len()) != len {
            self.lens.push(len);
        }
    }
}

/// The files of a directory; none where there is no directory.
pub fn read(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap());
    let files = entries.map(|entry| (entry.file_name(), Arc::new(std::fs::read(entry.path()).unwrap())));
    files.filter(|(name, _)| name != LOCK).collect()
}

/// Puts files into a directory.
pub fn restore(files: &Files, dir: &Path) {
    for (name, content) in files {
        std::fs::write(dir.join(name), &**content).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fs::Fs;
    use super::super::faults::{EIO, Fate, FaultFs, Op};
    use super::*;

    /// A directory with one file, "old", of three pages of `a`.
    fn disk() -> (tempfile::TempDir, FaultFs) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old"), [b'a'; 3 * SMALL_PAGE_LEN]).unwrap();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        (dir, fs)
    }

    fn contents(fs: &FaultFs, name: &str) -> BTreeSet<Option<String>> {
        let text = |bytes: &Arc<Vec<u8>>| String::from_utf8_lossy(bytes).replace('\0', "0");
        fs.power_cuts(1).iter().map(|files| files.get(OsStr::new(name)).map(text)).collect()
    }

    fn letters(runs: &[(char, usize)]) -> Option<String> {
        Some(runs.iter().map(|&(letter, count)| letter.to_string().repeat(count)).collect())
    }

    #[test]
    fn each_page_of_a_write_is_left_or_not_and_a_sync_makes_all_of_them_last() {
        let (dir, fs) = disk();
        let file = fs.open_for_writing(&dir.path().join("old")).unwrap();
        file.write_all_at(&[b'b'; SMALL_PAGE_LEN], 32).unwrap();
        let (a, b) = ('a', 'b');
        let expected = [
            [(a, 192), (b, 0), (a, 0)],
            [(a, 32), (b, 32), (a, 128)],
            [(a, 64), (b, 32), (a, 96)],
            [(a, 32), (b, 64), (a, 96)],
        ];
        assert_eq!(contents(&fs, "old"), expected.iter().map(|runs| letters(runs)).collect());
        file.sync().unwrap();
        assert_eq!(contents(&fs, "old"), [letters(&expected[3])].into());
    }

    #[test]
    fn a_length_may_be_there_without_its_bytes_and_the_other_way_round() {
        let (dir, fs) = disk();
        let file = fs.open_for_writing(&dir.path().join("old")).unwrap();
        file.write_all_at(b"bb", 192).unwrap();
        let expected = [letters(&[('a', 192)]), letters(&[('a', 192), ('0', 2)]), letters(&[('a', 192), ('b', 2)])];
        assert_eq!(contents(&fs, "old"), expected.into());
        file.set_len(10).unwrap();
        assert!(contents(&fs, "old").contains(&letters(&[('a', 10)])));
        assert!(contents(&fs, "old").contains(&letters(&[('a', 192)])));
        file.sync().unwrap();
        assert_eq!(contents(&fs, "old"), [letters(&[('a', 10)])].into());
    }

    #[test]
    fn after_a_failed_sync_pages_stay_in_doubt_until_they_are_written_again() {
        let (dir, fs) = disk();
        let file = fs.open_for_writing(&dir.path().join("old")).unwrap();
        file.write_all_at(&[b'b'; SMALL_PAGE_LEN], 0).unwrap();
        fs.set_rule(|op, _| if op == Op::Sync { Fate::Fail(EIO) } else { Fate::Pass });
        assert!(file.sync().is_err());
        fs.set_rule(|_, _| Fate::Pass);
        file.sync().unwrap();
        let (old, new) = (letters(&[('a', 192)]), letters(&[('b', 64), ('a', 128)]));
        assert_eq!(contents(&fs, "old"), [old, new.clone()].into());
        file.write_all_at(&[b'b'; SMALL_PAGE_LEN], 0).unwrap();
        file.sync().unwrap();
        assert_eq!(contents(&fs, "old"), [new].into());
    }

    #[test]
    fn names_last_once_their_directory_is_synced() {
        let (dir, fs) = disk();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let file = fs.create(&new).unwrap();
        file.write_all_at(b"b", 0).unwrap();
        file.sync().unwrap();
        fs.rename(&new, &old).unwrap();
        let (a, b) = (letters(&[('a', 192)]), letters(&[('b', 1)]));
        assert_eq!(contents(&fs, "old"), [a, b.clone()].into());
        assert_eq!(contents(&fs, "new"), [None, b.clone()].into());
        fs.open_dir(dir.path()).unwrap().sync().unwrap();
        assert_eq!((contents(&fs, "old"), contents(&fs, "new")), ([b.clone()].into(), [None].into()));
        fs.remove(&old).unwrap();
        assert_eq!(contents(&fs, "old"), [None, b].into());
    }

    #[test]
    fn a_new_directory_goes_with_everything_in_it_until_its_parent_is_synced() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/wd");
        let fs = FaultFs::new(&dir, |_, _| Fate::Pass);
        assert!(fs.create_dir(&dir).is_err());
        assert!(fs.create_dir(&parent.path().join("a")).unwrap() && fs.create_dir(&dir).unwrap());
        fs.create(&dir.join("new")).unwrap();
        fs.open_dir(&dir).unwrap().sync().unwrap();
        assert_eq!(contents(&fs, "new"), [None, Some(String::new())].into());
        fs.open_dir(&parent.path().join("a")).unwrap().sync().unwrap();
        assert_eq!(contents(&fs, "new"), [None, Some(String::new())].into());
        fs.open_dir(parent.path()).unwrap().sync().unwrap();
        assert_eq!(contents(&fs, "new"), [Some(String::new())].into());
    }

    #[test]
    fn many_changes_are_tried_in_part_but_always_all_none_names_and_contents() {
        let (dir, fs) = disk();
        let file = fs.create(&dir.path().join("new")).unwrap();
        file.write_all_at(&[b'b'; 100 * SMALL_PAGE_LEN], 0).unwrap();
        let new = contents(&fs, "new");
        assert!(new.len() > 15, "{}", new.len());
        for expected in [None, letters(&[]), letters(&[('b', 6400)])] {
            assert!(new.contains(&expected), "{expected:?}");
        }
        assert_eq!(new, contents(&fs, "new"), "the same seed tries the same");
    }
}
