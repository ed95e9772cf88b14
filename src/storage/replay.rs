//! Reads a manifest: which regions it holds, how far it is whole, and what stands behind that.
//!
//! In a manifest of ours only what a valid commit closes is applied. A commit is valid when its number is the next one, its
//! batch starts where the one before ended and reaches to the commit, and the checksum over all of that is right.
//! In one of the reference, or behind our last commit when the reference went on there, each record counts by itself.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::StorageError;
use super::decode::{self, Change, Ending, Oddity, Opening};
use super::fs::File;
use super::record::{
    self, COMMIT_LEN, HEADER_LEN, OPENING_LEN, Origin, TYPE_COMMIT, TYPE_LOG_POINTER, TYPE_REGION, TYPE_UNFINISHED,
};
use super::scan::Scan;
use super::tail::{self, Committed, Frame, frame};
use crate::core::{Limits, RegionId, Regions};

/// Whose form a manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Ours {
        salt: u64,
        next_batch: u64,
    },
    /// No checksums and no batches: to be rewritten before anything is appended.
    Reference,
}

/// What a manifest holds.
#[derive(Debug)]
pub struct Replayed {
    pub form: Form,
    pub regions: Regions,
    /// The issued values of the newest commit.
    pub issued: Limits,
    /// Everything in front of this offset is whole and applied.
    pub end: u64,
    /// The file's length; more than `end` when a torn tail stands there.
    pub file_len: u64,
    /// Whole records behind our last commit, the last of them plain: the reference appended to the file, and they are
    /// applied.
    pub appended_by_reference: bool,
    /// One line for each kind of thing that was passed over or found odd, for the log.
    pub warnings: Vec<String>,
}

/// Reads `file`. `synced`: how many of its bytes are known to be on the disk.
///
/// # Errors
///
/// `Damaged`, `NotOurs` (a store's manifest) or `Io`.
pub fn replay(file: &dyn File, path: &Path, synced: Option<u64>) -> Result<Replayed, StorageError> {
    let io = |source| StorageError::io("read", path, source);
    let file_len = file.len().map_err(io)?;
    let mut scan = Scan::new(file, file_len, 0);
    let head = scan.peek(OPENING_LEN).map_err(io)?;
    let opening = decode::is_opening_like(head).then(|| decode::opening(head));
    let source = Source { file, path, file_len };
    // A checkpoint that knows nothing as synced is older than the manifest.
    let synced = synced.filter(|&bytes| bytes > 0);
    match (opening, synced) {
        (Some(None), _) => Err(source.damaged(0, "its opening record is damaged")),
        (Some(Some(opening)), synced) => ours(&source, scan, opening, synced.unwrap_or(0)),
        (None, Some(synced)) => Err(source.damaged(
            0,
            format!("the checkpoint knows {synced} bytes of it as synced, but it has no opening record of ours"),
        )),
        (None, None) => reference(&source, scan),
    }
}

/// The file that is read.
struct Source<'a> {
    file: &'a dyn File,
    path: &'a Path,
    file_len: u64,
}

impl Source<'_> {
    fn io(&self, source: io::Error) -> StorageError {
        StorageError::io("read", self.path, source)
    }

    fn damaged(&self, offset: u64, reason: impl Into<String>) -> StorageError {
        StorageError::damaged(self.path, offset, reason)
    }

    fn torn_warning(&self, end: u64) -> String {
        format!(
            "{}: the last {} bytes are what a crash left of an unfinished change; they are dropped",
            self.path.display(),
            self.file_len - end
        )
    }
}

/// The records behind the last valid commit.
#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    /// The last region record was one of the reference.
    ends_plain: bool,
    /// Something that neither we nor the reference write in this place.
    is_odd: bool,
    /// A region record that cannot be read, and why.
    unreadable: Option<(u64, &'static str)>,
}

impl Pending {
    fn push_region(&mut self, offset: u64, record: &[u8]) {
        match decode::region(&record[HEADER_LEN..]) {
            Ok((change, ending)) => {
                // We never append behind records of the reference: the manifest is rewritten first.
                self.is_odd |= ending == Ending::Odd || (ending == Ending::Marked && self.ends_plain);
                self.ends_plain = ending == Ending::Plain;
                self.changes.push(change);
            }
            Err(reason) => self.unreadable = Some((offset, reason)),
        }
    }

    /// Whether the reference has read all of them and appended: it serves a batch that lost its commit in our crash, and
    /// what it acknowledged since then builds on that.
    fn is_from_reference(&self) -> bool {
        self.ends_plain && !self.is_odd && self.unreadable.is_none()
    }
}

fn ours(source: &Source<'_>, mut scan: Scan<'_>, opening: Opening, synced: u64) -> Result<Replayed, StorageError> {
    scan.skip(OPENING_LEN);
    let salt = opening.salt;
    let mut is_complete = opening.origin == Origin::New;
    let mut committed = Committed { salt, end: scan.offset(), next_batch: 1 };
    let mut issued = Limits::default();
    let mut catalog = Catalog::default();
    let mut pending = Pending::default();
    let mut checksum = record::seed(salt);
    let is_at_end = loop {
        let (len, kind) = match frame(&mut scan).map_err(|error| source.io(error))? {
            Frame::Record { len, kind } => (len, kind),
            Frame::End => break true,
            Frame::Broken => break false,
        };
        let offset = scan.offset();
        let record = scan.peek(len).map_err(|error| source.io(error))?;
        match kind {
            TYPE_COMMIT => match decode::commit(record) {
                Some(commit)
                    if commit.number == committed.next_batch
                        && commit.start == committed.end
                        && commit.batch_len == offset - committed.end
                        && commit.checksum == crc32c::crc32c_append(checksum, &record[..COMMIT_LEN - 4]) =>
                {
                    if let Some((offset, reason)) = pending.unreadable {
                        return Err(source.damaged(offset, reason));
                    }
                    std::mem::take(&mut pending).changes.into_iter().for_each(|change| catalog.apply(change));
                    scan.skip(len);
                    is_complete |= commit.batch_len == 0;
                    committed = Committed { salt, end: scan.offset(), next_batch: committed.next_batch + 1 };
                    issued = commit.issued;
                    checksum = record::seed(salt);
                    continue;
                }
                _ => pending.is_odd = true,
            },
            TYPE_REGION => pending.push_region(offset, record),
            TYPE_UNFINISHED => {}
            _ => pending.is_odd = true,
        }
        checksum = crc32c::crc32c_append(checksum, record);
        scan.skip(len);
    };

    let mut end = committed.end;
    if end < synced {
        return Err(source.damaged(end, format!("it is whole up to here only, but {synced} bytes of it were synced")));
    }
    if !is_complete {
        return Err(source.damaged(end, "it is a copy of another manifest that does not come to its end"));
    }
    let mut warnings = Vec::new();
    let appended_by_reference =
        pending.is_from_reference() && (is_at_end || source.is_torn_reference(scan.offset())?);
    if appended_by_reference {
        end = scan.offset();
        warnings.push(format!(
            "{}: {} records behind our last batch come from a reference placement driver; they are taken in",
            source.path.display(),
            pending.changes.len()
        ));
        pending.changes.into_iter().for_each(|change| catalog.apply(change));
    } else if end < source.file_len {
        tail::judge_ours(source.file, source.file_len, committed)
            .map_err(|error| source.io(error))?
            .map_err(|reason| source.damaged(end, reason))?;
    }
    if end < source.file_len {
        warnings.push(source.torn_warning(end));
    }
    let regions = catalog.finish(source.path, &mut warnings);
    let form = Form::Ours { salt, next_batch: committed.next_batch };
    Ok(Replayed { form, regions, issued, end, file_len: source.file_len, appended_by_reference, warnings })
}

fn reference(source: &Source<'_>, mut scan: Scan<'_>) -> Result<Replayed, StorageError> {
    let mut catalog = Catalog::default();
    let mut warnings = Vec::new();
    loop {
        let offset = scan.offset();
        let (len, kind) = match frame(&mut scan).map_err(|error| source.io(error))? {
            Frame::Record { len, kind } => (len, kind),
            Frame::End => break,
            Frame::Broken => {
                tail::judge_reference(source.file, source.file_len, offset)
                    .map_err(|error| source.io(error))?
                    .map_err(|reason| source.damaged(offset, reason))?;
                warnings.push(source.torn_warning(offset));
                break;
            }
        };
        let record = scan.peek(len).map_err(|error| source.io(error))?;
        match kind {
            TYPE_REGION => match decode::region(&record[HEADER_LEN..]) {
                Ok((change, _)) => catalog.apply(change),
                Err(reason) => return Err(source.damaged(offset, reason)),
            },
            TYPE_LOG_POINTER => {}
            0..TYPE_REGION => {
                return Err(StorageError::NotOurs {
                    workdir: source.path.parent().unwrap_or(Path::new(".")).to_owned(),
                    reason: format!(
                        "{} holds records of a store's storage engine (type {kind} at byte {offset})",
                        source.path.display()
                    ),
                });
            }
            _ if decode::is_commit_like(record) => {
                return Err(
                    source.damaged(0, format!("it holds a batch of ours (byte {offset}) but no opening record"))
                );
            }
            _ => {}
        }
        scan.skip(len);
    }
    let end = scan.offset();
    let regions = catalog.finish(source.path, &mut warnings);
    Ok(Replayed {
        form: Form::Reference,
        regions,
        issued: Limits::default(),
        end,
        file_len: source.file_len,
        appended_by_reference: false,
        warnings,
    })
}

impl Source<'_> {
    fn is_torn_reference(&self, offset: u64) -> Result<bool, StorageError> {
        tail::judge_reference(self.file, self.file_len, offset)
            .map(|judged| judged.is_ok())
            .map_err(|error| self.io(error))
    }
}

/// The last record of each id.
#[derive(Default)]
struct Catalog {
    regions: Regions,
    passed_over: BTreeMap<RegionId, Oddity>,
}

impl Catalog {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(region) => {
                self.passed_over.remove(&region.id());
                self.regions.put(region);
            }
            Change::Delete(id) => {
                self.passed_over.remove(&id);
                self.regions.remove(id);
            }
            Change::Skip(id, oddity) => {
                self.passed_over.insert(id, oddity);
                self.regions.remove(id);
            }
        }
    }

    /// The regions, and a warning for each kind of thing that is passed over.
    fn finish(self, path: &Path, warnings: &mut Vec<String>) -> Regions {
        let mut passed_over = BTreeMap::<Oddity, usize>::new();
        for oddity in self.passed_over.into_values() {
            *passed_over.entry(oddity).or_default() += 1;
        }
        for (oddity, count) in passed_over {
            let what = match oddity {
                Oddity::NoId => "without an id",
                Oddity::Tombstone => "marked as a tombstone",
                Oddity::EmptyRange => "with a start key that is not below its end key",
            };
            warnings.push(format!("{}: passed over {count} region(s) {what}", path.display()));
        }
        self.regions
    }
}

#[cfg(test)]
mod tests_ours;
#[cfg(test)]
mod tests_reference;
