//! No space, or no file descriptor: what was begun is undone, callers are told, and writing resumes by itself.

use std::path::Path;

use super::super::fs::OsFs;
use super::super::rewrite::REWRITE_LEN_MIN;
use super::super::{Edit, EditError, EditOutcome, StorageError};
use super::faults::{EDQUOT, EIO, EMFILE, ENOSPC, Fate, FaultFs, Op};
use super::support::{checkpoint, manifest_len, manifests, narrow, read, region, run};
use crate::core::{AllocError, Kind, RegionId};

fn is_manifest(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST")
}

#[test]
fn an_append_without_space_is_undone_and_writing_resumes_by_itself() {
    for code in [ENOSPC, EDQUOT] {
        let dir = tempfile::tempdir().unwrap();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let running = run(fs.clone(), dir.path()).unwrap();
        assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
        let first = running.take(Kind::Id, 10).unwrap();
        let len = manifest_len(dir.path());
        // The disk takes 20 bytes more, so a piece of the batch is written.
        fs.set_rule(move |op, path| match op {
            Op::Write { offset, .. } if is_manifest(path) && offset == len => Fate::Short(20),
            Op::Write { .. } => Fate::Fail(code),
            _ => Fate::Pass,
        });
        for _ in 0..3 {
            assert_eq!(running.edit(narrow(2, 1)), Err(EditError::NoSpace));
            assert_eq!(manifest_len(dir.path()), len);
            assert_eq!(running.regions().len(), 1);
            assert!(!running.state.cluster.lock().unwrap().is_being_edited(RegionId(2)));
        }
        assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored), "nothing to write");
        assert_eq!(running.take(Kind::Id, 10), Ok(first + 10), "below the limit");
        fs.set_rule(|_, _| Fate::Pass);
        assert_eq!(running.edit(narrow(2, 1)), Ok(EditOutcome::Stored));
        assert!(running.fatal.is_empty());
        let regions = running.regions();
        running.writer.stop().unwrap();
        assert_eq!(read(OsFs, dir.path()).unwrap().0, regions);
    }
}

#[test]
fn short_writes_are_continued() {
    let short = |op, _: &Path| match op {
        Op::Write { len, .. } if len > 7 => Fate::Short(7),
        _ => Fate::Pass,
    };
    let dir = tempfile::tempdir().unwrap();
    let running = run(FaultFs::new(dir.path(), short), dir.path()).unwrap();
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
    running.writer.stop().unwrap();
    assert_eq!(read(OsFs, dir.path()).unwrap().0, running.regions());
}

#[test]
fn an_append_that_cannot_be_undone_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    fs.set_rule(|op, _| match op {
        Op::Write { .. } => Fate::Fail(ENOSPC),
        Op::SetLen => Fate::Fail(EIO),
        _ => Fate::Pass,
    });
    assert_eq!(running.edit(narrow(1, 1)), Err(EditError::Unknown));
    assert!(matches!(running.fatal.recv().unwrap(), StorageError::Io { .. }));
}

#[test]
fn allocations_that_need_a_refill_without_space_are_told_and_later_ones_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let first = running.take(Kind::Timestamp, 1).unwrap();
    let limit = checkpoint(dir.path()).limits.timestamps;
    for failing in [Op::Create, Op::Write { offset: 0, len: 0 }] {
        fs.set_rule(move |op, path| {
            let fails = op.is_like(failing);
            if fails && !is_manifest(path) { Fate::Fail(ENOSPC) } else { Fate::Pass }
        });
        assert_eq!(running.take(Kind::Timestamp, 1 << 20), Err(AllocError::NoSpace));
        assert_eq!(running.take(Kind::Timestamp, 1 << 20), Err(AllocError::NoSpace));
        assert!(!dir.path().join("PD_STATE.json.tmp").exists());
    }
    assert_eq!(checkpoint(dir.path()).limits.timestamps, limit);
    assert_eq!(running.take(Kind::Timestamp, 1), Ok(first + 1), "below the limit");
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored), "the manifest has space");
    fs.set_rule(|_, _| Fate::Pass);
    assert_eq!(running.take(Kind::Timestamp, 1 << 20), Ok(first + 2));
    assert!(running.fatal.is_empty());
    running.writer.stop().unwrap();
    assert_eq!(checkpoint(dir.path()).limits.timestamps, first + 1 + (1 << 20));
}

#[test]
fn edits_need_no_descriptor_and_what_does_is_refused_until_one_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let first = running.take(Kind::Timestamp, 1).unwrap();
    fs.fail_opens(Some(EMFILE));
    // More than once, and until the manifest is due for a rewrite, which cannot begin.
    for version in 1..=10 {
        let long = "k".repeat(480_000);
        let edit = Edit::Put(region(50, &format!("50{long}"), "51", version));
        assert_eq!(running.edit(edit), Ok(EditOutcome::Stored));
    }
    assert_eq!(running.edit(narrow(1, 1)), Ok(EditOutcome::Stored));
    assert!(manifest_len(dir.path()) > REWRITE_LEN_MIN);
    assert_eq!(manifests(dir.path()), ["MANIFEST-000001"]);
    assert_eq!(running.take(Kind::Timestamp, 1), Ok(first + 1), "below the limit");
    assert_eq!(running.take(Kind::Timestamp, 1 << 20), Err(AllocError::NoSpace));
    assert_eq!(running.take(Kind::Timestamp, 1 << 20), Err(AllocError::NoSpace));
    fs.fail_opens(None);
    // They fail at the first file that is created, too, when the last descriptor goes behind the look at the old one.
    fs.set_rule(|op, _| if op == Op::Create { Fate::Fail(EMFILE) } else { Fate::Pass });
    assert_eq!(running.take(Kind::Timestamp, 1 << 20), Err(AllocError::NoSpace));
    fs.set_rule(|_, _| Fate::Pass);
    assert_eq!(running.take(Kind::Timestamp, 1 << 20), Ok(first + 2));
    assert!(running.fatal.is_empty());
    running.writer.stop().unwrap();
    assert_eq!(checkpoint(dir.path()).limits.timestamps, first + 1 + (1 << 20));
}
