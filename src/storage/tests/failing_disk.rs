//! Every failure but "no space" is final, and is never retried.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::unbounded;

use super::super::fs::OsFs;
use super::super::lock::LOCK;
use super::super::state::STATE_FILE;
use super::super::{EditError, EditOutcome, StorageError};
use super::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use super::support::{current, delete, narrow, run, wait};
use crate::core::{AllocError, Kind, RegionId};

fn is_state(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("PD_STATE")
}

#[test]
fn after_a_failed_sync_its_batch_is_unknown_and_everything_else_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
    running.take(Kind::Id, 1).unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let (entered, is_entered) = unbounded();
    let (release, is_released) = unbounded::<()>();
    let counted = syncs.clone();
    fs.set_rule(move |op, _| match op {
        Op::Sync => {
            counted.fetch_add(1, Ordering::Relaxed);
            entered.send(()).unwrap();
            is_released.recv().unwrap();
            Fate::Fail(EIO)
        }
        _ => Fate::Pass,
    });
    let in_batch = running.submit(narrow(2, 1)).unwrap();
    is_entered.recv().unwrap();
    let queued = [narrow(3, 1), delete(1), narrow(2, 2)].map(|edit| running.submit(edit).unwrap());
    let parked = running.ask(Kind::Id, 1 << 20).unwrap().unwrap_err();
    release.send(()).unwrap();
    assert_eq!(wait(parked), Err(AllocError::Stopped));
    assert_eq!(wait(in_batch), Err(EditError::Unknown));
    for answer in queued {
        assert_eq!(wait(answer), Err(EditError::Stopped));
    }
    assert!(
        matches!(running.fatal.recv().unwrap(), StorageError::Io { source, .. } if source.raw_os_error() == Some(EIO))
    );
    assert_eq!(running.edit(narrow(4, 1)), Err(EditError::Stopped));
    assert_eq!(running.take(Kind::Id, 1), Err(AllocError::Stopped));
    assert_eq!(running.regions().len(), 1, "what is not durable is not visible");
    assert!((1..=4).all(|id| !running.state.cluster.lock().unwrap().is_being_edited(RegionId(id))));
    assert!(matches!(running.writer.stop(), Err(StorageError::Io { .. })));
    assert!(running.writer.stop().is_ok(), "the error is told once");
    assert_eq!(syncs.load(Ordering::Relaxed), 1, "no sync is tried again");
}

#[test]
fn every_final_failure_of_an_append_ends_the_thread() {
    for (failing, code) in [(Op::Write { offset: 0, len: 0 }, EIO), (Op::Sync, EIO), (Op::Sync, ENOSPC)] {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let running = run(fs.clone(), dir.path()).unwrap();
        fs.set_rule(move |op, _| match op.is_like(failing) {
            true => Fate::Fail(code),
            false => Fate::Pass,
        });
        assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Unknown), "{failing:?} {code}");
        assert!(matches!(running.fatal.recv().unwrap(), StorageError::Io { .. }));
        fs.set_rule(|_, _| Fate::Pass);
        assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Stopped));
    }
}

#[test]
fn every_final_failure_of_a_checkpoint_ends_the_thread() {
    let cases = [
        (Op::Write { offset: 0, len: 0 }, EIO),
        (Op::Create, EIO),
        (Op::Sync, ENOSPC),
        (Op::Rename, ENOSPC),
        (Op::SyncDir, EIO),
    ];
    for (failing, code) in cases {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let running = run(fs.clone(), dir.path()).unwrap();
        fs.set_rule(move |op, path| {
            let fails = op.is_like(failing);
            if fails && (is_state(path) || op == Op::SyncDir) { Fate::Fail(code) } else { Fate::Pass }
        });
        assert_eq!(running.take(Kind::Timestamp, 1), Err(AllocError::Stopped), "{failing:?} {code}");
        assert!(matches!(running.fatal.recv().unwrap(), StorageError::Io { .. }));
        assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Stopped));
    }
}

#[test]
fn a_manifest_that_somebody_else_wrote_to_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
    let path = dir.path().join(current(dir.path()));
    let mut content = std::fs::read(&path).unwrap();
    let ours = u64::try_from(content.len()).unwrap();
    content.push(0);
    std::fs::write(&path, &content).unwrap();
    assert_eq!(running.edit(narrow(2, 1)), Err(EditError::Stopped));
    match running.fatal.recv().unwrap() {
        StorageError::ChangedUnderUs { file, change } => {
            assert_eq!(file, path);
            assert!(change.contains(&format!("{ours} bytes expected, {} found", ours + 1)), "{change}");
        }
        error => panic!("{error:?}"),
    }
    assert!(running.writer.stop().is_err());
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

/// The reference ignores the lock, and replaces the state file whenever it gives a value out.
#[test]
fn a_checkpoint_that_somebody_else_wrote_is_not_written_over() {
    for theirs in [r#"{"id_current":70000,"ts_current":70000}"#, ""] {
        let dir = tempfile::tempdir().unwrap();
        let running = run(OsFs, dir.path()).unwrap();
        let first = running.take(Kind::Timestamp, 1).unwrap();
        std::fs::write(dir.path().join(STATE_FILE), theirs).unwrap();
        assert_eq!(running.take(Kind::Timestamp, 5000), Err(AllocError::Stopped), "after {first}");
        match running.fatal.recv().unwrap() {
            StorageError::ChangedUnderUs { file, .. } => assert_eq!(file, dir.path().join(STATE_FILE)),
            error => panic!("{error:?}"),
        }
        assert!(running.writer.stop().is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(STATE_FILE)).unwrap(), theirs);
    }
}

/// The lock is on the file: without its name, a second process could take a lock of its own.
#[test]
fn nothing_is_written_once_the_lock_file_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join(LOCK);
    for replaced in [false, true] {
        let running = run(OsFs, dir.path()).unwrap();
        std::fs::remove_file(&lock).unwrap();
        if replaced {
            std::fs::write(&lock, "pid 1\n").unwrap();
        }
        assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Stopped));
        match running.fatal.recv().unwrap() {
            StorageError::ChangedUnderUs { file, .. } => assert_eq!(file, lock),
            error => panic!("{error:?}"),
        }
        assert!(running.writer.stop().is_err());
    }
    let running = run(OsFs, dir.path()).unwrap();
    std::fs::remove_file(&lock).unwrap();
    assert_eq!(running.take(Kind::Id, 1), Err(AllocError::Stopped));
}

#[test]
fn a_panic_of_the_thread_is_a_final_failure() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    fs.set_rule(|op, _| if op == Op::Sync { panic!("on purpose") } else { Fate::Pass });
    assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Unknown));
    assert!(matches!(running.fatal.recv().unwrap(), StorageError::Io { source, .. }
        if source.to_string().contains("on purpose")));
    assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Stopped));
    assert_eq!(running.take(Kind::Id, 1), Err(AllocError::Stopped));
    assert!(running.writer.stop().is_err());
}
