//! The hand-over between callers and the persistence thread, in thousands of orders in which their threads may run: each
//! request is answered, what was acknowledged is on the disk, nothing is given twice, and nobody waits for ever (shuttle
//! ends a run in which every thread waits).
//!
//! `PD_LITE_ORDERS=n` tries n orders of each test.

mod memory;

use std::sync::Arc;

use futures::channel::oneshot;
use pd_lite_interleavings::core::{AllocError, Allocators, Cluster, Epoch, Kind, Limits, Region, RegionId, Take};
use pd_lite_interleavings::shuttled::{Mutex, thread};
use pd_lite_interleavings::storage::writer::Writer;
use pd_lite_interleavings::storage::{Edit, EditError, EditOutcome, Opened, State, StorageError};
use shuttle::future::block_on;

use self::memory::Memory;

fn orders() -> usize {
    std::env::var("PD_LITE_ORDERS").ok().and_then(|orders| orders.parse().ok()).unwrap_or(5000)
}

/// Runs `body` in many orders: by chance, and by chance with few switches of threads.
fn in_many_orders(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let by_chance = Arc::clone(&body);
    shuttle::check_random(move || by_chance(), orders());
    shuttle::check_pct(move || body(), orders(), 3);
}

struct Running {
    state: Arc<State>,
    writer: Writer,
    fatal: crossbeam_channel::Receiver<StorageError>,
}

fn run(disk: &Memory) -> Running {
    let mut opened = Opened::open(Arc::new(disk.clone()), "wd".as_ref()).unwrap();
    let snapshot = opened.take_snapshot();
    let state = Arc::new(State {
        cluster: Mutex::new(Cluster::restore(snapshot.regions).unwrap()),
        allocators: Mutex::new(Allocators::durable(snapshot.issued)),
    });
    let (sender, fatal) = crossbeam_channel::bounded(1);
    let writer = opened.start(Arc::clone(&state), sender).unwrap();
    Running { state, writer, fatal }
}

/// What the disk holds after the end of a process.
fn read(disk: &Memory) -> (Vec<RegionId>, Limits) {
    let snapshot = Opened::open(Arc::new(disk.clone()), "wd".as_ref()).unwrap().take_snapshot();
    (snapshot.regions.iter().map(|region| region.id()).collect(), snapshot.issued)
}

fn put(id: u64) -> Edit {
    put_version(id, 1)
}

fn put_version(id: u64, version: u64) -> Edit {
    let epoch = Epoch { version, conf_version: 1 };
    Edit::Put(Arc::new(Region::new(
        RegionId(id),
        format!("{id:03}").as_bytes(),
        format!("{id:03}~").as_bytes(),
        epoch,
        [],
    )))
}

type Answer = Result<EditOutcome, EditError>;

impl Running {
    fn edit(&self, edit: Edit) -> Answer {
        block_on(self.submit(edit)?).expect("every request is answered")
    }

    fn submit(&self, edit: Edit) -> Result<oneshot::Receiver<Answer>, EditError> {
        let id = edit.region_id();
        self.state.cluster.lock().unwrap().begin_edit(id);
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.writer.submit(edit, reply) {
            self.state.cluster.lock().unwrap().end_edit(id);
            return Err(error);
        }
        Ok(answer)
    }

    fn take(&self, kind: Kind, count: u64) -> Result<u64, AllocError> {
        let (reply, answer) = oneshot::channel();
        let taken = self.state.allocators.lock().unwrap().take(kind, count, || reply)?;
        let (Take::Given { poke, .. } | Take::Parked { poke }) = taken;
        if poke {
            self.writer.poke();
        }
        match taken {
            Take::Given { first, .. } => Ok(first),
            Take::Parked { .. } => block_on(answer).expect("every request is answered"),
        }
    }
}

const SHARED: u64 = 100;

/// A caller's number, and what it was told of its edit and of the values it asked for.
type Told = (u64, Answer, Result<u64, AllocError>);

/// Callers that change a region and take values, each in a thread of its own.
fn call(running: &Arc<Running>, callers: u64) -> Vec<thread::JoinHandle<Told>> {
    let call = |id: u64| {
        let running = Arc::clone(running);
        thread::spawn(move || {
            let taken = running.take(if id.is_multiple_of(2) { Kind::Id } else { Kind::Timestamp }, 700);
            // All of them change one region, and each such change opens a batch.
            let shared = running.submit(put_version(SHARED, id));
            let own = running.edit(put(id));
            if let Ok(shared) = shared {
                let _ = block_on(shared).expect("every request is answered");
            }
            (id, own, taken)
        })
    };
    (1..=callers).map(call).collect()
}

/// What all callers were told is true of the disk.
fn check(disk: &Memory, running: &Running, told: &[Told]) {
    let (regions, issued) = read(disk);
    for (id, answer, _) in told {
        let is_there = regions.contains(&RegionId(*id));
        match answer {
            Ok(outcome) => assert!(*outcome == EditOutcome::Stored && is_there, "{id} was acknowledged"),
            Err(EditError::Stopped | EditError::QueueFull | EditError::NoSpace) => {
                assert!(!is_there, "{id} was refused")
            }
            Err(EditError::Unknown) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(!running.state.cluster.lock().unwrap().is_being_edited(RegionId(*id)));
    }
    for (kind, limit) in [(0, issued.ids), (1, issued.timestamps)] {
        let mut firsts: Vec<_> =
            told.iter().filter(|(id, ..)| id % 2 == kind).filter_map(|(_, _, taken)| taken.as_ref().ok()).collect();
        firsts.sort();
        assert!(firsts.windows(2).all(|pair| pair[0] + 700 <= *pair[1]), "{firsts:?}");
        assert!(firsts.last().is_none_or(|last| *last + 699 <= limit), "{firsts:?} above {limit}");
    }
    running.state.cluster.lock().unwrap().check_invariants();
    running.state.allocators.lock().unwrap().check_invariants();
}

#[test]
fn a_stop_answers_whatever_was_queued_before_it_and_refuses_the_rest() {
    in_many_orders(|| {
        let disk = Memory::default();
        let running = Arc::new(run(&disk));
        let callers = call(&running, 3);
        let stops = Arc::clone(&running);
        let stopper = thread::spawn(move || stops.writer.stop());
        let told: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        stopper.join().unwrap().unwrap();
        assert_eq!(running.edit(put(9)), Err(EditError::Stopped));
        assert_eq!(running.take(Kind::Id, 1), Err(AllocError::Stopped));
        assert!(told.iter().all(|(_, answer, _)| matches!(answer, Ok(_) | Err(EditError::Stopped))), "{told:?}");
        check(&disk, &running, &told);
        let issued = running.state.allocators.lock().unwrap().issued();
        assert_eq!(read(&disk).1, issued, "a clean stop writes exact values");
        assert!(running.fatal.is_empty());
    });
}

#[test]
fn two_stops_and_a_drop_end_one_thread_once() {
    in_many_orders(|| {
        let disk = Memory::default();
        let running = Arc::new(run(&disk));
        let callers = call(&running, 1);
        let stops = (0..2).map(|_| Arc::clone(&running)).map(|running| thread::spawn(move || running.writer.stop()));
        stops.collect::<Vec<_>>().into_iter().for_each(|stop| stop.join().unwrap().unwrap());
        let told: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        check(&disk, &running, &told);
    });
}

/// Without a stop at the end a poke that is lost leaves its caller waiting for ever.
#[test]
fn no_poke_is_lost() {
    in_many_orders(|| {
        let disk = Memory::default();
        let running = Arc::new(run(&disk));
        // Three small ones together need more than a window, and the large one more than is left when nothing is due.
        let takers = [900, 901, 902, 5000].map(|count| {
            let running = Arc::clone(&running);
            thread::spawn(move || {
                let take = || running.take(Kind::Timestamp, count).unwrap();
                [(); 2].map(|()| take()).map(|first| (first, first + count - 1))
            })
        });
        let mut taken = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect::<Vec<_>>();
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0].1 < pair[1].0), "{taken:?}");
        let limit = read_limit(&disk);
        assert!(taken.last().unwrap().1 <= limit, "{taken:?} above {limit}");
        running.writer.stop().unwrap();
    });
}

/// The timestamps that the checkpoint on the disk allows, under a process that holds the lock.
fn read_limit(disk: &Memory) -> u64 {
    let bytes = disk.content("wd/PD_STATE.json").unwrap();
    pd_lite_interleavings::storage::state::Checkpoint::decode(&bytes).unwrap().limits.timestamps
}

#[test]
fn after_a_failure_of_the_disk_everybody_is_told_and_nobody_waits() {
    in_many_orders(|| {
        let disk = Memory::default();
        let running = Arc::new(run(&disk));
        disk.fail_sync(1 + shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..8));
        let callers = call(&running, 3);
        let told: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let stopped = running.writer.stop();
        if disk.has_failed() {
            assert!(stopped.is_err() && !running.fatal.is_empty(), "the error is told");
            assert_eq!(running.edit(put(9)), Err(EditError::Stopped));
        } else {
            stopped.unwrap();
        }
        check(&disk, &running, &told);
    });
}

#[test]
fn without_space_everybody_is_told_and_served_again_when_there_is_some() {
    in_many_orders(|| {
        let disk = Memory::default();
        let running = Arc::new(run(&disk));
        disk.set_full(true);
        let callers = call(&running, 3);
        let frees = disk.clone();
        thread::spawn(move || frees.set_full(false)).join().unwrap();
        let told: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        assert_eq!(running.edit(put(8)), Ok(EditOutcome::Stored));
        assert!(running.take(Kind::Id, 1).is_ok());
        running.writer.stop().unwrap();
        assert!(running.fatal.is_empty());
        check(&disk, &running, &told);
    });
}
