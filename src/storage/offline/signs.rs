//! What can still be told of a manifest that may be damaged anywhere: whose it is, and how far its counters had come.

use std::io;

use super::set_min::highest;
use crate::core::Limits;
use crate::storage::StorageError;
use crate::storage::decode::{self, Commit};
use crate::storage::dir::Dir;
use crate::storage::fs::File;
use crate::storage::open::{CURRENT, check_state_beside_ours, manifest_number, read_current, read_state};
use crate::storage::record::{self, COMMIT_LEN, OPENING_LEN};
use crate::storage::scan::Scan;
use crate::storage::state::{Checkpoint, STATE_FILE};

/// What the manifests of a workdir tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Manifests that could be looked at.
    pub(super) manifests: usize,
    /// One of them has an opening record or a commit of ours, whole or not.
    pub(super) is_ours: bool,
    /// The highest values in any commit whose batch is whole.
    pub(super) issued: Limits,
}

impl Signs {
    /// Looks at the manifest that `CURRENT` names, or at all of them when it names none.
    pub(super) fn read(dir: &Dir) -> Result<Self, StorageError> {
        let names = match read_current(&*dir.fs, &dir.path) {
            Ok(Some(name)) => vec![name],
            Ok(None) | Err(StorageError::Damaged { .. }) => {
                dir.names()?.into_iter().filter(|name| manifest_number(name).is_some()).collect()
            }
            Err(error) => return Err(error),
        };
        let mut signs = Self::default();
        for name in names {
            let path = dir.path.join(&name);
            let file = match dir.fs.open(&path) {
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(|source| StorageError::io("open", &path, source))?,
            };
            signs.manifests += 1;
            signs.look_at(&*file).map_err(|source| StorageError::io("read", &path, source))?;
        }
        Ok(signs)
    }

    fn look_at(&mut self, file: &dyn File) -> io::Result<()> {
        const STEP_LEN: usize = 1 << 20;
        let file_len = file.len()?;
        let mut scan = Scan::new(file, file_len, 0);
        let head = scan.peek(OPENING_LEN)?;
        let salt = decode::opening(head).map(|opening| opening.salt);
        self.is_ours |= decode::is_opening_like(head);
        while scan.left() > 0 {
            let offset = scan.offset();
            // The windows overlap by one byte less than a commit has, so that none is missed between two of them.
            let window = scan.peek(STEP_LEN + COMMIT_LEN - 1)?;
            let step = window.len().min(STEP_LEN);
            for (at, bytes) in window[..step].iter().enumerate().map(|(at, _)| (at, &window[at..])) {
                let Some(commit) = decode::is_commit_like(bytes).then(|| decode::commit_fields(bytes)).flatten() else {
                    continue;
                };
                let at = offset + u64::try_from(at).expect("a window is shorter than 2^64 bytes");
                let is_in_place = commit.start.checked_add(commit.batch_len) == Some(at);
                self.is_ours |= is_in_place;
                if let Some(salt) = salt.filter(|_| is_in_place)
                    && is_whole(file, file_len, at, &commit, salt)?
                {
                    self.issued = highest(self.issued, commit.issued);
                }
            }
            scan.skip(step);
        }
        Ok(())
    }
}

/// Tells whether the checksum of the commit at `at` is right.
fn is_whole(file: &dyn File, file_len: u64, at: u64, commit: &Commit, salt: u64) -> io::Result<bool> {
    const STEP_LEN: usize = 1 << 16;
    let mut scan = Scan::new(file, file_len, commit.start);
    let mut left = at - commit.start + u64::try_from(COMMIT_LEN - 4).expect("a constant of this program fits 64 bits");
    let mut checksum = record::seed(salt);
    while left > 0 {
        let step = usize::try_from(left).map_or(STEP_LEN, |left| left.min(STEP_LEN));
        let bytes = scan.peek(step)?;
        checksum = crc32c::crc32c_append(checksum, bytes);
        scan.skip(step);
        left -= u64::try_from(step).expect("at most STEP_LEN");
    }
    Ok(checksum == commit.checksum)
}

/// The checkpoint of a workdir whose manifest may be damaged, checked as far as that can be done without it; absent when
/// there is none and nothing was ever allocated.
///
/// # Errors
///
/// `Damaged` when it is lost: unreadable, missing where it should be there, or behind a commit.
pub(super) fn trusted_checkpoint(dir: &Dir, signs: Signs) -> Result<Option<(Checkpoint, Vec<u8>)>, StorageError> {
    let state = read_state(&*dir.fs, &dir.path)?;
    let path = dir.path.join(STATE_FILE);
    if signs.is_ours {
        check_state_beside_ours(&path, state.as_ref(), signs.issued)?;
    }
    let has_current = dir.names()?.iter().any(|name| name == CURRENT);
    if state.is_none() && signs.manifests == 0 && has_current {
        return Err(StorageError::damaged(
            &path,
            0,
            "it is missing, and so is the manifest that would tell whether it may be",
        ));
    }
    Ok(state)
}
