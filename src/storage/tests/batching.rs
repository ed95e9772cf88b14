//! Edits that wait together are written together, and the files hold what the catalog holds.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::super::fs::OsFs;
use super::super::writer::QUEUE_MAX;
use super::super::{Edit, EditError, EditOutcome};
use super::faults::{Fate, FaultFs, Op};
use super::support::{Answer, copy, delete, narrow, read, region, run, wait};
use crate::core::{Cluster, Kind, Limits, RegionId, Verdict};

#[test]
fn what_is_queued_during_a_sync_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let ops = Arc::new(Mutex::new(Vec::new()));
    let (entered, is_entered) = unbounded();
    let (release, is_released) = unbounded();
    let seen = ops.clone();
    fs.set_rule(move |op, _| {
        if op.is_change() {
            seen.lock().unwrap().push(op);
        }
        if op == Op::Sync {
            entered.send(()).unwrap();
            is_released.recv().unwrap();
        }
        Fate::Pass
    });

    let first = running.submit(narrow(1, 1)).unwrap();
    is_entered.recv().unwrap();
    assert!(running.regions().is_empty(), "what is not durable is not visible");
    let queued = (2..=1000).map(|id| running.submit(narrow(id, 1)).unwrap()).collect::<Vec<_>>();
    release.send(()).unwrap();
    assert_eq!(wait(first), Ok(EditOutcome::Stored));
    is_entered.recv().unwrap();
    assert_eq!(running.regions().len(), 1);
    release.send(()).unwrap();
    for answer in queued {
        assert_eq!(wait(answer), Ok(EditOutcome::Stored));
    }
    assert_eq!(running.regions().len(), 1000);
    let ops = std::mem::take(&mut *ops.lock().unwrap());
    assert!(matches!(ops[..], [Op::Write { .. }, Op::Sync, Op::Write { .. }, Op::Sync]), "{ops:?}");
    assert!(!running.state.cluster.lock().unwrap().is_being_edited(RegionId(500)));
    fs.set_rule(|_, _| Fate::Pass);
    running.writer.stop().unwrap();
}

/// Lets each sync of `fs` wait. The receiver tells when one has begun; dropping the sender lets all of them go on.
fn hold_syncs(fs: &FaultFs) -> (Receiver<()>, Sender<()>) {
    let (entered, is_entered) = unbounded();
    let (release, is_released) = unbounded::<()>();
    fs.set_rule(move |op, _| {
        if op == Op::Sync {
            let _ = entered.send(());
            let _ = is_released.recv();
        }
        Fate::Pass
    });
    (is_entered, release)
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let (is_entered, release) = hold_syncs(&fs);
    let mut answers = vec![running.submit(narrow(1, 1)).unwrap()];
    is_entered.recv().unwrap();
    let mut id = 2;
    while let Ok(answer) = running.submit(narrow(id, 1)) {
        answers.push(answer);
        id += 1;
    }
    assert_eq!(answers.len(), QUEUE_MAX + 1);
    assert_eq!(running.submit(narrow(id, 1)).unwrap_err(), EditError::QueueFull);
    drop((release, is_entered));
    for answer in answers {
        assert_eq!(wait(answer), Ok(EditOutcome::Stored));
    }
    assert_eq!(running.edit(narrow(id, 1)), Ok(EditOutcome::Stored));
    assert_eq!(running.regions().len(), QUEUE_MAX + 2);
}

#[test]
fn a_queue_of_long_regions_is_full_before_it_has_many() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    let (is_entered, release) = hold_syncs(&fs);
    let stuck = running.submit(narrow(1, 1)).unwrap();
    is_entered.recv().unwrap();
    // All of them overlap region 1, so that the writer gets through them without the disk.
    let key = "0".repeat(1 << 20);
    let long = |id| Edit::Put(region(id, &key, "1", 1));
    let queued = (2..).map_while(|id| running.submit(long(id)).ok()).collect::<Vec<_>>();
    assert!((60..64).contains(&queued.len()), "{}", queued.len());
    assert_eq!(running.submit(long(99)).unwrap_err(), EditError::QueueFull);
    let small = running.submit(narrow(98, 1)).unwrap();
    let removal = running.submit(delete(97)).unwrap();
    drop((release, is_entered));
    assert_eq!(wait(stuck), Ok(EditOutcome::Stored));
    for answer in queued {
        assert!(matches!(wait(answer), Err(EditError::Refused(_))));
    }
    assert_eq!(wait(small), Ok(EditOutcome::Stored));
    assert_eq!(wait(removal), Ok(EditOutcome::Removed { existed: false }));
    assert!(matches!(running.edit(long(99)), Err(EditError::Refused(_))), "there is room again");
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let running = run(fs.clone(), dir.path()).unwrap();
    assert_eq!(running.edit(narrow(1, 5)), Ok(EditOutcome::Stored));
    fs.set_rule(|op, path| panic!("{op:?} of {}", path.display()));
    assert_eq!(running.edit(narrow(1, 5)), Ok(EditOutcome::Stored));
    assert!(matches!(running.edit(narrow(1, 4)), Err(EditError::Refused(_))));
    assert!(matches!(running.edit(Edit::Put(region(2, "", "", 1))), Err(EditError::Refused(_))));
    assert_eq!(running.edit(delete(7)), Ok(EditOutcome::Removed { existed: false }));
    assert!(!running.state.cluster.lock().unwrap().is_being_edited(RegionId(1)));
    fs.set_rule(|_, _| Fate::Pass);
}

#[test]
fn ten_thousand_edits_are_answered_and_stored_as_one_after_the_other() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let edits = (0..10_000).map(|_| match random(5) {
        0 => delete(1 + random(60)),
        _ => {
            let start = random(100);
            let end = start + 1 + random(4);
            Edit::Put(region(1 + random(60), &format!("{start:03}"), &format!("{end:03}"), 1 + random(4)))
        }
    });
    let edits = edits.collect::<Vec<_>>();
    let mut serial = Cluster::default();
    let expected = edits.iter().map(|edit| run_one(edit, &mut serial)).collect::<Vec<_>>();
    assert!(expected.iter().filter(|answer| answer.is_ok()).count() > 1000);

    let dir = tempfile::tempdir().unwrap();
    let running = run(OsFs, dir.path()).unwrap();
    let answers = edits.into_iter().map(|edit| running.submit(edit).unwrap()).collect::<Vec<_>>();
    let first = running.take(Kind::Timestamp, 100).unwrap();
    assert_eq!(answers.into_iter().map(wait).collect::<Vec<_>>(), expected);
    let regions = running.regions();
    assert!(serial.regions_from(RegionId(0)).eq(regions.iter().map(|region| &**region)));
    // Killed: nothing is written at the end.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let (restored, issued) = read(OsFs, killed.path()).unwrap();
    assert_eq!(restored, regions);
    assert!(issued.timestamps >= first + 99);
    running.writer.stop().unwrap();
    assert_eq!(read(OsFs, dir.path()).unwrap(), (regions, Limits { ids: 0, timestamps: first + 99 }));
}

fn run_one(edit: &Edit, cluster: &mut Cluster) -> Answer {
    match edit {
        Edit::Put(region) => match cluster.judge(region) {
            Ok(Verdict::Unchanged) => Ok(EditOutcome::Stored),
            Ok(Verdict::Changed) => {
                cluster.put((**region).clone());
                Ok(EditOutcome::Stored)
            }
            Err(refusal) => Err(EditError::Refused(refusal)),
        },
        Edit::Delete(id) => Ok(EditOutcome::Removed { existed: cluster.remove(*id) }),
    }
}
