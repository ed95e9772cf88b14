//! Histories of concurrent calls of a placement driver, in memory and on a disk that may fail, checked for linearizability:
//! changes and lookups of regions are those of one list, and values those of one counter. After the end, or a crash, the
//! workdir is read and must go on where the history ended.

mod checker;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::core::KeyRange;
use crate::storage::Opened;
use crate::storage::tests::disk;
use crate::storage::tests::every_operation::scratch;
use crate::storage::tests::faults::{EIO, ENOSPC, Fate, FaultFs};
use crate::storage::tests::rng::Rng;

use checker::{Event, Object, is_linearizable};

const CALLERS: u64 = 3;
const CALLS: u64 = 6;
const KEYS: [&str; 5] = ["", "d", "m", "s", ""];

/// The catalog by its rules: by id, the indexes of its borders in `KEYS` and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Regions(BTreeMap<u64, (usize, usize, u64)>);

#[derive(Clone, Debug)]
enum RegionCall {
    Put { id: u64, start: usize, end: usize, version: u64 },
    Remove(u64),
    Lookup(usize),
}

impl Regions {
    fn answer(&mut self, call: &RegionCall) -> String {
        match *call {
            RegionCall::Put { id, start, end, version } => {
                if self.0.get(&id).is_some_and(|&(_, _, current)| version < current) {
                    return "stale".into();
                }
                let range =
                    |start: usize, end: usize| KeyRange { start: KEYS[start].as_bytes(), end: KEYS[end].as_bytes() };
                let mut others = self.0.iter().filter(|&(&other, _)| other != id);
                if others
                    .any(|(_, &(other_start, other_end, _))| range(start, end).overlaps(&range(other_start, other_end)))
                {
                    return "overlap".into();
                }
                self.0.insert(id, (start, end, version));
                "accepted".into()
            }
            RegionCall::Remove(id) => format!("removed {}", self.0.remove(&id).is_some()),
            RegionCall::Lookup(key) => {
                let found = self.0.iter().find(|(_, (start, end, _))| *start <= key && key < *end);
                found.map_or("nothing".into(), |(&id, &(start, end, version))| {
                    region_text(id, KEYS[start], KEYS[end], version)
                })
            }
        }
    }
}

fn region_text(id: u64, start: &str, end: &str, version: u64) -> String {
    format!("{id} [{start},{end}) {version}")
}

impl Object for Regions {
    type Call = RegionCall;
    fn step(&self, call: &RegionCall, answer: Option<&String>) -> Option<Self> {
        let mut next = self.clone();
        let right = next.answer(call);
        answer.is_none_or(|answer| *answer == right).then_some(next)
    }
}

/// A counter by its rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counter {
    last: u64,
    /// Whether it goes on without a gap.
    is_exact: bool,
}

impl Object for Counter {
    type Call = u64;
    fn step(&self, count: &u64, answer: Option<&String>) -> Option<Self> {
        // One that nobody was told of may have been given out.
        let Some(answer) = answer else { return Some(Self { last: self.last + count, is_exact: false }) };
        let first: u64 = answer.parse().unwrap();
        let is_next = if self.is_exact { first == self.last + 1 } else { first > self.last };
        is_next.then(|| Self { last: first + count - 1, ..*self })
    }
}

/// What is called and told, each with its moments.
#[derive(Default)]
struct History {
    regions: Vec<Event<RegionCall>>,
    ids: Vec<Event<u64>>,
    timestamps: Vec<Event<u64>>,
}

/// The moments of a history.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    /// Calls, and records it unless the call changed nothing for sure.
    fn record<C>(&self, events: &mut Vec<Event<C>>, call: C, run: impl FnOnce(&C) -> Result<String, Error>) {
        let called = self.0.fetch_add(1, Ordering::SeqCst);
        let answer = run(&call);
        let answered = self.0.fetch_add(1, Ordering::SeqCst);
        let answer = match answer {
            Ok(text) => Some(text),
            Err(Error::Stale { .. }) => Some("stale".into()),
            Err(Error::Overlap { .. }) => Some("overlap".into()),
            Err(Error::OutcomeUnknown) => None,
            Err(Error::NoSpace | Error::Stopped | Error::Overloaded) => return,
            Err(error) => panic!("{error:?}"),
        };
        events.push(Event { call, called, answered, answer });
    }
}

impl History {
    /// One call, by chance.
    fn step(&mut self, pd: &Pd, clock: &Clock, rng: &mut Rng) {
        let below = |rng: &mut Rng, bound: usize| usize::try_from(rng.below(u64::try_from(bound).unwrap())).unwrap();
        match rng.below(8) {
            0..3 => {
                let start = below(rng, KEYS.len() - 1);
                let end = start + 1 + below(rng, KEYS.len() - 1 - start);
                let call = RegionCall::Put { id: 1 + rng.below(3), start, end, version: 1 + rng.below(3) };
                clock.record(&mut self.regions, call, |call| self::call(pd, call));
            }
            3 => clock.record(&mut self.regions, RegionCall::Remove(1 + rng.below(3)), |call| self::call(pd, call)),
            4..6 => clock
                .record(&mut self.regions, RegionCall::Lookup(below(rng, KEYS.len() - 1)), |call| self::call(pd, call)),
            6 => clock.record(&mut self.ids, 1 + rng.below(900), |count| {
                wait(pd.alloc_id(&ids(*count))).map(|answer| answer.first_id.to_string())
            }),
            _ => clock.record(&mut self.timestamps, 1 + rng.below(900), |count| {
                wait(pd.tso(&timestamps(*count))).map(|answer| answer.timestamp.to_string())
            }),
        }
    }

    fn append(&mut self, other: Self) {
        self.regions.extend(other.regions);
        self.ids.extend(other.ids);
        self.timestamps.extend(other.timestamps);
    }

    fn check(&self, is_exact: bool, context: &str) {
        let counter = Counter { last: 0, is_exact };
        assert!(is_linearizable(&Regions::default(), &self.regions), "{context}: {:#?}", self.regions);
        assert!(is_linearizable(&counter, &self.ids), "{context}: {:#?}", self.ids);
        assert!(is_linearizable(&counter, &self.timestamps), "{context}: {:#?}", self.timestamps);
    }
}

fn call(pd: &Pd, call: &RegionCall) -> Result<String, Error> {
    match *call {
        RegionCall::Put { id, start, end, version } => {
            let request = heartbeat(id, KEYS[start], KEYS[end], (version, 1));
            wait(pd.region_heartbeat(&request)).map(|_| "accepted".into())
        }
        RegionCall::Remove(id) => {
            wait(pd.remove_region(&removal(id))).map(|answer| format!("removed {}", answer.removed))
        }
        RegionCall::Lookup(key) => Ok(lookup(pd, KEYS[key].as_bytes()).map_or("nothing".into(), |region| {
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            region_text(region.id, &text(&region.start_key), &text(&region.end_key), region.epoch_version)
        })),
    }
}

/// Calls from several threads at once.
fn record(pd: &Pd, clock: &Clock, seed: u64) -> History {
    let barrier = Barrier::new(usize::try_from(CALLERS).unwrap());
    let mut history = History::default();
    thread::scope(|scope| {
        let callers = (0..CALLERS).map(|caller| {
            let barrier = &barrier;
            scope.spawn(move || {
                let (mut rng, mut history) = (Rng::new(seed * CALLERS + caller), History::default());
                barrier.wait();
                (0..CALLS).for_each(|_| history.step(pd, clock, &mut rng));
                history
            })
        });
        callers.collect::<Vec<_>>().into_iter().for_each(|caller| history.append(caller.join().unwrap()));
    });
    history
}

/// What a caller finds who comes when all others are done.
fn record_lookups(pd: &Pd, clock: &Clock, history: &mut History) {
    for key in 0..KEYS.len() - 1 {
        clock.record(&mut history.regions, RegionCall::Lookup(key), |call| self::call(pd, call));
    }
}

#[test]
fn in_memory_every_history_is_one_of_a_list_and_two_counters() {
    for seed in 0..3000 {
        let (pd, clock) = (in_memory(), Clock::default());
        let mut history = record(&pd, &clock, seed);
        record_lookups(&pd, &clock, &mut history);
        history.check(true, &format!("seed {seed}"));
    }
}

/// A durable placement driver on what is in `fs`.
fn durable(fs: &FaultFs, dir: &std::path::Path) -> Pd {
    let mut opened = Opened::open(Arc::new(fs.clone()), dir).unwrap();
    let snapshot = opened.take_snapshot();
    let state = Arc::new(State {
        cluster: Mutex::new(Cluster::restore(snapshot.regions).unwrap()),
        allocators: Mutex::new(Allocators::durable(snapshot.issued)),
    });
    let pd = Pd::durable(Arc::clone(&state), RequestLimits::default());
    pd.attach(opened.start(state, crossbeam_channel::bounded(1).0).unwrap());
    pd
}

#[test]
fn on_a_disk_every_history_goes_on_after_a_crash() {
    let (mut unknown, mut refused) = (0, 0);
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let dir = scratch();
        let fs = FaultFs::new(dir.path(), |_, _| Fate::Pass);
        let (pd, clock) = (durable(&fs, dir.path()), Clock::default());
        // The disk fails for good, or has no space once, or does nothing of the kind.
        let (kind, at) = (rng.below(3), rng.below(40));
        let mut number = 0;
        fs.set_rule(move |op, _| {
            number += 1;
            match kind {
                0 if number > at => Fate::Fail(EIO),
                1 if number > at && number < at + 9 && op.is_change() => Fate::Fail(ENOSPC),
                _ => Fate::Pass,
            }
        });
        let mut history = record(&pd, &clock, seed);
        unknown += history.regions.iter().filter(|event| event.answer.is_none()).count();
        let count = history.regions.len() + history.ids.len() + history.timestamps.len();
        refused += usize::try_from(CALLERS * CALLS).unwrap() - count;
        // The power goes: what is left in one of the ways it may go is served by another process.
        let mut cuts = fs.power_cuts(seed);
        let left = scratch();
        let files = cuts.swap_remove(usize::try_from(rng.below(u64::try_from(cuts.len()).unwrap())).unwrap());
        disk::restore(&files, left.path());
        drop(pd);
        let pd = durable(&FaultFs::new(left.path(), |_, _| Fate::Pass), left.path());
        record_lookups(&pd, &clock, &mut history);
        for _ in 0..4 {
            history.step(&pd, &clock, &mut rng);
        }
        history.check(false, &format!("seed {seed}"));
        pd.stop().unwrap();
    }
    assert!(unknown > 20 && refused > 200, "{unknown} unknown, {refused} refused");
}

#[test]
fn a_history_that_no_list_allows_is_found() {
    let put = |id, start, end| RegionCall::Put { id, start, end, version: 1 };
    let event = |call, called, answer: &str| Event { call, called, answered: called + 1, answer: Some(answer.into()) };
    let is_allowed = |events: &[Event<RegionCall>]| is_linearizable(&Regions::default(), events);
    let there = event(put(1, 0, 2), 0, "accepted");
    assert!(is_allowed(&[there.clone(), event(RegionCall::Lookup(1), 2, "1 [,m) 1")]));
    assert!(!is_allowed(&[there.clone(), event(RegionCall::Lookup(1), 2, "nothing")]), "acknowledged and not there");
    assert!(!is_allowed(&[there.clone(), event(put(2, 1, 3), 2, "accepted")]), "an overlap");
    assert!(!is_allowed(&[there.clone(), event(RegionCall::Remove(1), 2, "removed false")]));
    let counter = Counter { last: 0, is_exact: true };
    let taken = |first: &str, called| Event { call: 5, called, answered: called + 1, answer: Some(first.into()) };
    assert!(is_linearizable(&counter, &[taken("1", 0), taken("6", 2)]));
    assert!(!is_linearizable(&counter, &[taken("1", 0), taken("5", 2)]), "5 is given twice");
    assert!(!is_linearizable(&counter, &[taken("6", 0), taken("1", 2)]), "the later one is below the earlier one");
}
