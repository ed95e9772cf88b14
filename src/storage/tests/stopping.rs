//! A clean end answers everything and writes exact values.

use std::path::Path;

use super::super::fs::OsFs;
use super::super::state::Synced;
use super::super::{EditError, EditOutcome, StorageError};
use super::faults::{ENOSPC, Fate, FaultFs};
use super::support::{checkpoint, copy, current, manifest_len, narrow, read, run, wait};
use crate::core::{AllocError, Kind, Limits};

#[test]
fn a_stop_answers_what_is_queued_and_writes_exact_values() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    assert_eq!(running.take(Kind::Id, 5), Ok(1));
    assert_eq!(running.take(Kind::Timestamp, 7), Ok(1));
    assert!(checkpoint(dir.path()).limits.timestamps > 7, "while it runs the checkpoint is ahead");
    let answers = (1..=5000).map(|id| running.submit(narrow(id, 1)).unwrap()).collect::<Vec<_>>();
    running.writer.stop().unwrap();
    for answer in answers {
        assert_eq!(wait(answer), Ok(EditOutcome::Stored));
    }
    assert_eq!(running.edit(narrow(1, 2)), Err(EditError::Stopped));
    assert_eq!(running.take(Kind::Id, 1), Err(AllocError::Stopped));
    running.writer.poke();
    running.writer.stop().unwrap();
    let written = checkpoint(dir.path());
    assert_eq!(written.limits, Limits { ids: 5, timestamps: 7 });
    assert_eq!(written.synced, Some(Synced { manifest: current(dir.path()), bytes: manifest_len(dir.path()) }));
    assert_eq!(read(OsFs, dir.path()).unwrap(), (running.regions(), written.limits));
    assert!(running.fatal.is_empty());

    let running = run(OsFs, dir.path()).unwrap();
    assert_eq!((running.take(Kind::Id, 1), running.take(Kind::Timestamp, 1)), (Ok(6), Ok(8)));
}

#[test]
fn a_dropped_writer_ends_as_a_stopped_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    running.take(Kind::Id, 3).unwrap();
    let answer = running.submit(narrow(1, 1)).unwrap();
    drop(running.writer);
    assert_eq!(wait(answer), Ok(EditOutcome::Stored));
    assert_eq!(checkpoint(dir.path()).limits.ids, 3);
    assert!(run(OsFs, dir.path()).is_ok(), "the lock is free");
}

#[test]
fn a_workdir_is_locked_until_its_thread_ends() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    assert!(matches!(run(OsFs, dir.path()), Err(StorageError::InUse { .. })));
    running.writer.stop().unwrap();
    assert!(run(OsFs, dir.path()).is_ok());
}

#[test]
fn a_stop_on_a_full_disk_says_so_and_leaves_a_safe_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    running.take(Kind::Id, 3).unwrap();
    fs.set_rule(|_, _| Fate::Fail(ENOSPC));
    assert!(matches!(running.writer.stop(), Err(StorageError::Io { .. })));
    assert!(read(OsFs, dir.path()).unwrap().1.ids >= 3);
}

#[test]
fn an_allocator_that_starts_above_its_checkpoint_does_not_make_the_checkpoint_look_old() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    *running.state.allocators.lock().unwrap() = crate::core::Allocators::durable(Limits { ids: 999, timestamps: 0 });
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
    assert!(read_copy(dir.path()).is_ok());
    assert_eq!(running.take(Kind::Id, 1), Ok(1000));
    assert_eq!(running.edit(narrow(2, 1)), Ok(EditOutcome::Stored));
    assert!(read_copy(dir.path()).unwrap().ids >= 1000);
}

/// What a start would find after a kill.
fn read_copy(dir: &Path) -> Result<Limits, StorageError> {
    let killed = tempfile::tempdir().unwrap();
    copy(dir, killed.path());
    read(OsFs, killed.path()).map(|(_, issued)| issued)
}
