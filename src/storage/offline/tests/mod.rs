//! The commands on whole workdirs.

mod append;
mod look;
mod power_cut;
mod repair;

use tempfile::TempDir;

use super::*;
use crate::core::{Limits, Region};
use crate::storage::record::RegionState;
use crate::storage::state::{Checkpoint, STATE_FILE, Synced};
use crate::storage::testing::{Ours, fill, plain, region};
use crate::storage::{Opened, StorageError};

const PLAIN_STATE: &[u8] = br#"{"id_current":13,"ts_current":40}"#;
const COUNTERS: Limits = Limits { ids: 13, timestamps: 40 };

fn workdir(content: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), content);
    dir
}

/// Regions 1 [,f) and 2 [f,m), as the reference writes them.
fn reference() -> TempDir {
    let manifest = [plain(&region(1, "", "f")), plain(&region(2, "f", "m"))].concat();
    workdir(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest), (STATE_FILE, PLAIN_STATE)])
}

/// The same as two batches of ours, all of it synced.
fn ours() -> TempDir {
    let mut ours = Ours::new(3);
    ours.put(&[region(1, "", "f")], Limits { ids: 1, timestamps: 2 });
    ours.put(&[region(2, "f", "m")], COUNTERS);
    let synced = Some(Synced { manifest: "MANIFEST-000001".into(), bytes: ours.len() });
    let state = Checkpoint { limits: COUNTERS, synced }.encode();
    workdir(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &ours.bytes), (STATE_FILE, state.as_bytes())])
}

fn read(dir: &Path) -> Result<(Vec<Region>, Limits), StorageError> {
    let snapshot = Opened::open(Arc::new(OsFs), dir)?.take_snapshot();
    Ok((snapshot.regions.iter().cloned().collect(), snapshot.issued))
}

fn change(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(dir.join(name)).unwrap();
    change(&mut content);
    std::fs::write(dir.join(name), content).unwrap();
}

/// A workdir whose first record is damaged.
fn damaged(dir: TempDir) -> TempDir {
    change(dir.path(), "MANIFEST-000001", |manifest| manifest[5] ^= 1);
    assert!(matches!(read(dir.path()), Err(StorageError::Damaged { .. })));
    dir
}

fn append_running(dir: &Path, region: &Region) -> Result<(), AppendError> {
    append_region(dir, region, RegionState::Running)
}
