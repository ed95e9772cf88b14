//! A placement driver with a workdir: what is answered at once, and what waits for the disk and is told what became of it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tempfile::TempDir;

use super::*;
use crate::core::RegionId;
use crate::storage::tests::faults::{EIO, ENOSPC, Fate, FaultFs, Op};
use crate::storage::writer::QUEUE_MAX;
use crate::storage::{Opened, Snapshot, StorageError};

/// A placement driver on a workdir of its own.
pub(super) struct Running {
    pub(super) pd: Pd,
    pub(super) state: Arc<State>,
    fs: FaultFs,
    pub(super) fatal: crossbeam_channel::Receiver<StorageError>,
    dir: TempDir,
}

pub(super) fn run() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
    let state = Arc::new(State {
        cluster: Mutex::new(Cluster::default()),
        allocators: Mutex::new(Allocators::durable(Limits::default())),
    });
    let pd = Pd::durable(Arc::clone(&state), RequestLimits::default());
    let (fatal_sender, fatal) = crossbeam_channel::bounded(1);
    let opened = Opened::open(Arc::new(fs.clone()), dir.path()).unwrap();
    pd.attach(opened.start(Arc::clone(&state), fatal_sender).unwrap());
    Running { pd, state, fs, fatal, dir }
}

/// A disk whose syncs wait.
pub(super) struct Gate {
    /// A sync has begun.
    pub(super) reached: Receiver<()>,
    _release: SyncSender<()>,
}

impl Running {
    /// From now on syncs wait until the gate is dropped.
    pub(super) fn close_gate(&self) -> Gate {
        let (reached_sender, reached) = sync_channel(1);
        let (release, released) = sync_channel::<()>(0);
        self.fs.set_rule(move |op, _| {
            if op == Op::Sync {
                let _ = reached_sender.try_send(());
                let _ = released.recv();
            }
            Fate::Pass
        });
        Gate { reached, _release: release }
    }

    pub(super) fn fail_writes(&self, code: i32) {
        self.fs.set_rule(move |op, _| if matches!(op, Op::Write { .. }) { Fate::Fail(code) } else { Fate::Pass });
    }

    pub(super) fn heal(&self) {
        self.fs.set_rule(|_, _| Fate::Pass);
    }

    /// Stops it. Returns what the next start would find.
    pub(super) fn stop_and_read(self) -> Snapshot {
        self.pd.stop().unwrap();
        snapshot(&self.dir)
    }

    fn put(&self, id: u64, start: &str, end: &str, version: u64) -> Answer<pb::RegionHeartbeatResponse> {
        self.pd.region_heartbeat(&heartbeat(id, start, end, (version, 1)))
    }

    fn remove(&self, id: u64) -> Answer<pb::RemoveRegionResponse> {
        self.pd.remove_region(&removal(id))
    }
}

fn is_later<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Ok(Reply::Later(_)))
}

fn snapshot(dir: &TempDir) -> Snapshot {
    Opened::open(Arc::new(crate::storage::fs::OsFs), dir.path()).unwrap().take_snapshot()
}

#[test]
fn what_needs_no_record_is_answered_while_the_disk_is_stuck() {
    let running = run();
    wait(running.put(1, "d", "m", 5)).unwrap();
    let gate = running.close_gate();
    let stuck = running.put(2, "m", "z", 1);
    assert!(is_later(&stuck));
    gate.reached.recv().unwrap();

    assert!(now(running.put(1, "d", "m", 5)).unwrap().accepted, "unchanged");
    assert!(matches!(now(running.put(1, "d", "m", 4)), Err(Error::Stale { .. })));
    assert!(!now(running.remove(9)).unwrap().removed, "unknown");
    assert_eq!(lookup(&running.pd, b"d").unwrap().id, 1);
    assert_eq!(lookup(&running.pd, b"m"), None, "not durable, so not visible");
    let request = pb::StoreHeartbeatRequest { store_id: 1, ..Default::default() };
    assert!(now(running.pd.store_heartbeat(&request)).unwrap().accepted);
    drop(gate);
    assert!(wait(stuck).unwrap().accepted);
    assert_eq!(lookup(&running.pd, b"m").unwrap().id, 2);
}

#[test]
fn whatever_meets_an_edit_under_way_is_judged_in_its_turn() {
    let running = run();
    let gate = running.close_gate();
    let created = running.put(2, "m", "z", 3);
    gate.reached.recv().unwrap();
    let (same, stale, overlap) = (running.put(2, "m", "z", 3), running.put(2, "m", "z", 2), running.put(3, "y", "", 1));
    let (removed, gone, free) = (running.remove(2), running.remove(2), running.put(3, "y", "", 1));
    assert!(is_later(&same) && is_later(&stale) && is_later(&overlap));
    assert!(is_later(&removed) && is_later(&gone) && is_later(&free));
    drop(gate);
    assert!(wait(created).unwrap().accepted);
    assert!(wait(same).unwrap().accepted);
    assert!(matches!(wait(stale), Err(Error::Stale { region: RegionId(2), .. })));
    assert!(matches!(wait(overlap), Err(Error::Overlap { region: RegionId(3), with: RegionId(2), .. })));
    assert!(wait(removed).unwrap().removed);
    assert!(!wait(gone).unwrap().removed);
    assert!(wait(free).unwrap().accepted);
    assert!(now(running.remove(2)).is_ok(), "no edit is under way");
}

#[test]
fn an_overlap_that_the_writer_finds_names_both_ranges() {
    let running = run();
    wait(running.put(1, "d", "m", 5)).unwrap();
    let overlap = Error::Overlap {
        region: RegionId(2),
        range: "[a,e)".into(),
        with: RegionId(1),
        with_range: Some("[d,m)".into()),
    };
    assert_eq!(wait(running.put(2, "a", "e", 1)), Err(overlap));
}

#[test]
fn allocations_wait_for_their_first_window_in_the_order_they_came() {
    let running = run();
    let gate = running.close_gate();
    let parked = [running.pd.tso(&timestamps(2)), running.pd.tso(&timestamps(3))];
    assert!(parked.iter().all(is_later));
    drop(gate);
    let [first, second] = parked.map(|answer| wait(answer).unwrap());
    assert_eq!((first.timestamp, first.count, second.timestamp, second.count), (1, 2, 3, 3));
    assert_eq!(now(running.pd.tso(&timestamps(0))).unwrap().timestamp, 6, "below the limit");
}

#[test]
fn a_full_queue_refuses_and_leaves_no_trace() {
    let running = run();
    wait(running.put(1, "", "", 1)).unwrap();
    let gate = running.close_gate();
    let stuck = running.put(1, "", "", 2);
    gate.reached.recv().unwrap();
    // All of them overlap region 1, so that the writer gets through them without the disk.
    let mut queued = Vec::new();
    let refused = (2..)
        .find_map(|id| match running.put(id, "k", "", 1) {
            Ok(reply) => {
                queued.push(Ok(reply));
                None
            }
            Err(error) => Some((id, error)),
        })
        .unwrap();
    assert_eq!(queued.len(), QUEUE_MAX);
    assert_eq!(refused.1, Error::Overloaded);
    assert!(!running.state.cluster.lock().unwrap().is_being_edited(RegionId(refused.0)));
    drop(gate);
    assert!(wait(stuck).unwrap().accepted);
    for answer in queued {
        assert!(matches!(wait(answer), Err(Error::Overlap { .. })));
    }
    assert!(matches!(wait(running.put(refused.0, "k", "", 1)), Err(Error::Overlap { .. })), "there is room again");
}

#[test]
fn a_full_disk_refuses_changes_until_it_has_space_again() {
    let running = run();
    wait(running.put(1, "d", "m", 1)).unwrap();
    running.fail_writes(ENOSPC);
    assert_eq!(wait(running.put(1, "d", "m", 2)), Err(Error::NoSpace));
    assert_eq!(wait(running.remove(1)), Err(Error::NoSpace));
    assert_eq!(wait(running.pd.alloc_id(&ids(1))), Err(Error::NoSpace));
    assert_eq!(lookup(&running.pd, b"d").unwrap().epoch_version, 1);
    running.heal();
    assert!(wait(running.put(1, "d", "m", 2)).unwrap().accepted);
    assert_eq!(wait(running.pd.alloc_id(&ids(1))).unwrap().first_id, 1);
}

#[test]
fn a_failed_disk_leaves_one_outcome_unknown_and_stops_the_rest() {
    let running = run();
    wait(running.put(1, "d", "m", 1)).unwrap();
    running.fail_writes(EIO);
    assert_eq!(wait(running.put(2, "m", "", 1)), Err(Error::OutcomeUnknown));
    assert!(running.fatal.recv().is_ok());
    assert_eq!(wait(running.put(3, "x", "", 1)), Err(Error::Stopped));
    assert_eq!(wait(running.remove(1)), Err(Error::Stopped));
    assert_eq!(wait(running.pd.tso(&timestamps(1))), Err(Error::Stopped));
    assert_eq!(lookup(&running.pd, b"d").unwrap().id, 1);
    assert!(running.pd.stop().is_err());
}

#[test]
fn nothing_changes_before_the_writer_is_attached() {
    let pd = Pd::durable(state(Limits::default()), RequestLimits::default());
    assert_eq!(now(pd.region_heartbeat(&heartbeat(1, "", "", (1, 1)))), Err(Error::NotReady));
    assert_eq!(now(pd.remove_region(&removal(1))), Err(Error::NotReady));
    assert_eq!(now(pd.tso(&timestamps(1))), Err(Error::NotReady));
    assert_eq!(lookup(&pd, b""), None);
    pd.stop().unwrap();
}

#[test]
fn a_stop_answers_what_is_queued_and_leaves_the_exact_values() {
    let Running { pd, dir, .. } = run();
    let queued = [1, 2].map(|id| pd.region_heartbeat(&heartbeat(id, &id.to_string(), &(id + 1).to_string(), (1, 1))));
    let parked = pd.alloc_id(&ids(7));
    assert_eq!(wait(parked).unwrap().first_id, 1);
    pd.stop().unwrap();
    for answer in queued {
        assert!(wait(answer).unwrap().accepted);
    }
    assert_eq!(now(pd.alloc_id(&ids(1))).map(drop), Err(Error::Stopped));
    let found = snapshot(&dir);
    assert_eq!(found.issued, Limits { ids: 7, timestamps: 0 });
    assert_eq!(found.regions.iter().map(|region| region.id().0).collect::<Vec<_>>(), [1, 2]);
}
