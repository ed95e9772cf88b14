//! The workdir of a store: a placement driver's, with one more file that says who leads its regions.
//!
//! ```text
//! Format of STORE_LEADS.json, one line without a newline:
//!   {"store_id":1,"leads":[[4,2,3,0],[7,1,1,2]],"crc32c":"0011aabb"}
//!   per region, by ascending id: region id, term, the leader's store id, the store that the next term is offered to (0: none)
//!   crc32c is that of the bytes in front of `,"crc32c"`, as eight lower-case hex digits
//! ```
//!
//! The file is replaced whole, and durable when [`StoreWorkdir::save`] returns.

use std::io;
use std::sync::Arc;

use serde::Deserialize;

use super::dir::{Dir, WriteError};
use super::lock::Lock;
use super::{Opened, StorageError};
use crate::core::{Lead, LeadRow, RegionId, StoreId};

/// The file's name.
pub const LEADS_FILE: &str = "STORE_LEADS.json";

/// The longest file, in bytes: that of half a million regions.
const LEN_MAX: u64 = 32 << 20;

/// A store's workdir in use: it is locked, and its manifest stays as it is.
pub struct StoreWorkdir {
    dir: Dir,
    lock: Lock,
    store: StoreId,
}

/// What a store's file held.
#[derive(Debug, PartialEq, Eq)]
pub struct SavedLeads {
    pub store: StoreId,
    /// By ascending region id.
    pub rows: Vec<LeadRow>,
}

/// Why leads were not saved.
#[derive(Debug)]
pub enum SaveError {
    /// No space on the disk, or no file descriptor free: the file is as it was, and the same may succeed later.
    NoSpace(StorageError),
    /// What is on the disk is unknown, or not this process's alone: nothing may be saved any more.
    Final(StorageError),
}

impl From<SaveError> for StorageError {
    /// For callers to whom no space is an error like any other.
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::NoSpace(error) | SaveError::Final(error) => error,
        }
    }
}

impl Opened {
    /// Who led the workdir's regions when it was last saved, and whose workdir it is; `None`: nothing was saved yet.
    ///
    /// # Errors
    ///
    /// `Damaged`, or `Io`.
    pub fn saved_leads(&self) -> Result<Option<SavedLeads>, StorageError> {
        read(&Dir::new(Arc::clone(&self.fs), self.workdir.clone()))
    }

    /// Refuses the workdir of a store: a placement driver that gave out values from it would end the store.
    ///
    /// # Errors
    ///
    /// `NotOurs`, or `Io`.
    pub fn check_is_no_store_s(&self) -> Result<(), StorageError> {
        let path = self.workdir.join(LEADS_FILE);
        match self.fs.open(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StorageError::io("read", &path, source)),
            Ok(_) => Err(StorageError::NotOurs {
                workdir: self.workdir.clone(),
                reason: format!("it holds {LEADS_FILE}, as a store's does (pd-lite serve)"),
            }),
        }
    }

    /// Keeps the workdir as that of `store`. What was read from it is durable when this returns.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn into_store(self, store: StoreId) -> Result<StoreWorkdir, StorageError> {
        let dir = Dir::new(self.fs, self.workdir);
        // The process before this one may have been killed between a rename and the sync of the directory.
        dir.sync()?;
        Ok(StoreWorkdir { dir, lock: self.lock, store })
    }
}

impl StoreWorkdir {
    /// Replaces what is kept by `rows`, by ascending region id.
    ///
    /// # Errors
    ///
    /// Any [`SaveError`].
    pub fn save(&self, rows: impl Iterator<Item = LeadRow>) -> Result<(), SaveError> {
        self.lock.check(&*self.dir.fs).map_err(SaveError::Final)?;
        let text = encode(self.store, rows);
        let len = u64::try_from(text.len()).expect("a length fits 64 bits");
        if len > LEN_MAX {
            // The next start would not read it.
            let source = io::Error::other(format!("{len} bytes of leads, and at most {LEN_MAX} are read"));
            return Err(SaveError::Final(StorageError::io("write", &self.dir.path.join(LEADS_FILE), source)));
        }
        self.dir.replace(LEADS_FILE, text.as_bytes()).map_err(|error| match error {
            WriteError::NoSpace(error) => SaveError::NoSpace(error),
            WriteError::Final(error) => SaveError::Final(error),
        })
    }
}

/// What a workdir's file holds, checked.
pub(super) fn read(dir: &Dir) -> Result<Option<SavedLeads>, StorageError> {
    let path = dir.path.join(LEADS_FILE);
    let failed = |source| StorageError::io("read", &path, source);
    let file = match dir.fs.open(&path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let len = file.len().map_err(failed)?;
    if len > LEN_MAX {
        return Err(StorageError::damaged(&path, 0, format!("it has {len} bytes, and never more than {LEN_MAX}")));
    }
    let mut bytes = vec![0; usize::try_from(len).expect("at most LEN_MAX")];
    let filled = file.read_full_at(&mut bytes, 0).map_err(failed)?;
    decode(&bytes[..filled]).map(Some).map_err(|reason| StorageError::damaged(&path, 0, reason))
}

fn encode(store: StoreId, rows: impl Iterator<Item = LeadRow>) -> String {
    let mut text = format!(r#"{{"store_id":{store},"leads":["#);
    for (at, LeadRow { region, lead: Lead { term, leader }, offered_to }) in rows.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("{comma}[{region},{term},{leader},{}]", offered_to.map_or(0, |store| store.0)));
    }
    text.push(']');
    let checksum = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!(r#","crc32c":"{checksum:08x}"}}"#));
    text
}

#[derive(Deserialize)]
struct Fields {
    store_id: u64,
    leads: Vec<(u64, u64, u64, u64)>,
}

/// The file has one spelling: what is not written exactly so was not written by [`encode`].
fn decode(bytes: &[u8]) -> Result<SavedLeads, String> {
    let fields: Fields = serde_json::from_slice(bytes).map_err(|error| format!("it holds no leads: {error}"))?;
    let rows = fields.leads.into_iter().map(|(region, term, leader, offered_to)| LeadRow {
        region: RegionId(region),
        lead: Lead { term, leader: StoreId(leader) },
        offered_to: Some(StoreId(offered_to)).filter(|store| *store != StoreId(0)),
    });
    let saved = SavedLeads { store: StoreId(fields.store_id), rows: rows.collect() };
    if encode(saved.store, saved.rows.iter().copied()).as_bytes() != bytes {
        return Err("its checksum does not match its content".into());
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::fs::OsFs;

    fn row(region: u64, term: u64, leader: u64, offered_to: Option<u64>) -> LeadRow {
        let lead = Lead { term, leader: StoreId(leader) };
        LeadRow { region: RegionId(region), lead, offered_to: offered_to.map(StoreId) }
    }

    fn open(workdir: &Path) -> (StoreWorkdir, Option<SavedLeads>) {
        let opened = Opened::open(Arc::new(OsFs), workdir).unwrap();
        let saved = opened.saved_leads().unwrap();
        (opened.into_store(StoreId(1)).unwrap(), saved)
    }

    #[test]
    fn the_file_is_as_documented() {
        let text = encode(StoreId(1), [row(4, 2, 3, None), row(7, 1, 1, Some(2))].into_iter());
        let front = r#"{"store_id":1,"leads":[[4,2,3,0],[7,1,1,2]]"#;
        assert_eq!(text, format!(r#"{front},"crc32c":"{:08x}"}}"#, crc32c::crc32c(front.as_bytes())));
    }

    #[test]
    fn what_was_saved_last_is_there_at_the_next_start() {
        let workdir = tempfile::tempdir().unwrap();
        assert_eq!(open(workdir.path()).1, None);
        for rows in
            [vec![], vec![row(1, 1, 2, None), row(u64::MAX, u64::MAX, u64::MAX, Some(9))], vec![row(2, 5, 1, None)]]
        {
            open(workdir.path()).0.save(rows.iter().copied()).unwrap();
            assert_eq!(open(workdir.path()).1, Some(SavedLeads { store: StoreId(1), rows }));
        }
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_noticed() {
        let whole = encode(StoreId(1), [row(4, 2, 3, None), row(7, 1, 1, Some(2))].into_iter()).into_bytes();
        assert!(decode(&whole).is_ok());
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "{}", String::from_utf8_lossy(&flipped));
        }
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn without_its_lock_nothing_is_saved() {
        let workdir = tempfile::tempdir().unwrap();
        let (store, _) = open(workdir.path());
        std::fs::remove_file(workdir.path().join("PD_LOCK")).unwrap();
        assert!(matches!(store.save(std::iter::empty()), Err(SaveError::Final(StorageError::ChangedUnderUs { .. }))));
        assert!(!workdir.path().join(LEADS_FILE).exists());
    }
}
