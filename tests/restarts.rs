//! SIGTERM and kill -9 under mixed load by 32 callers, again and again on one workdir. After each start: no timestamp and no
//! id was given twice; every acknowledged change of a region is there, and no refused or unsent one; no two regions share a
//! key. A clean stop skips no value, a crash few.
//!
//! Each caller owns a part of the key space and is the only one to change the regions there, so it knows what every key
//! must find. Regions that all callers fight over come on top: of those, the newest acknowledged epoch is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use grpcio::RpcStatusCode;
use pd_lite::proto::pd::RegionMeta;

use crate::support::client::region;
use crate::support::rng::Rng;
use crate::support::{Client, Failure, Launch, Server, manifest};

const CALLERS: u64 = 32;
/// Acknowledged calls of a run before its server is stopped.
const CALLS: u64 = 3_000;
/// Regions that all callers change, in front of everyone's own part.
const SHARED: [u64; 2] = [1, 2];

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Term,
    Kill,
}

#[test]
fn restarts_under_load_lose_nothing_and_repeat_nothing() {
    cycle(0, &[End::Term, End::Kill, End::Kill, End::Term, End::Kill, End::Term, End::Term]);
}

#[test]
fn restarts_while_the_manifest_is_rewritten_lose_nothing_and_repeat_nothing() {
    // With borders of some 4,000 bytes each run writes several MiB, and a manifest is rewritten above 4.
    let manifests = cycle(4_000, &[End::Kill, End::Kill, End::Term, End::Kill, End::Kill]);
    assert!(manifests.len() >= 3, "there were rewrites: {manifests:?}");
}

/// Runs a server on one workdir under load once for each of `ends`, and checks after each. Keys are longer by `padding`
/// bytes. Returns the manifests that were current after a run.
fn cycle(padding: usize, ends: &[End]) -> BTreeSet<PathBuf> {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let mut callers: Vec<Caller> = (0..CALLERS).map(|number| Caller::new(number, padding)).collect();
    let shared = Shared::default();
    let mut given = Given::default();
    let mut manifests = BTreeSet::new();
    let mut last_end = End::Term;
    for &end in ends {
        let server = launch.start();
        let client = server.client();
        given.check_first(&client, last_end);
        check_regions(&client, &mut callers, &shared);
        run(server, &mut callers, &shared, end);
        given.collect(&mut callers);
        manifests.insert(manifest(workdir.path()));
        last_end = end;
    }
    let server = launch.start();
    let client = server.client();
    given.check_first(&client, last_end);
    check_regions(&client, &mut callers, &shared);
    server.stop();
    manifests
}

/// Lets all callers work until enough calls are acknowledged, ends the server under them and waits until all noticed.
fn run(server: Server, callers: &mut [Caller], shared: &Shared, end: End) {
    let acknowledged = AtomicU64::new(0);
    let common = server.client();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for caller in callers {
            // Half of the callers share one connection.
            let client = if caller.number % 2 == 0 { common.clone() } else { server.client() };
            let acknowledged = &acknowledged;
            threads.push(scope.spawn(move || {
                loop {
                    match caller.step(&client, shared) {
                        Ok(()) => acknowledged.fetch_add(1, Ordering::Relaxed),
                        Err(failure) => break failure.code,
                    };
                }
            }));
        }
        while acknowledged.load(Ordering::Relaxed) < CALLS && !threads.iter().all(|thread| thread.is_finished()) {
            // Each call keeps this thread waiting for as long as the server needs for one.
            common.lookup(b"").expect("the server serves until it is ended");
        }
        match end {
            End::Term => server.stop(),
            End::Kill => server.kill(),
        }
        let mut crossed = 0;
        for thread in threads {
            match thread.join().expect("the caller found nothing wrong") {
                RpcStatusCode::UNAVAILABLE => {}
                RpcStatusCode::CANCELLED if end == End::Term => crossed += 1,
                code => panic!("{code} after {end:?}"),
            }
        }
        // The gRPC core turns away a call that crosses its good-bye as CANCELLED. The server refuses calls for a moment
        // before. How many callers sleep through that moment is up to the machine; not all of them.
        assert!(crossed < CALLERS, "every caller was cancelled");
    });
}

/// What became of one region of one caller.
#[derive(Clone, Default)]
struct Known {
    /// The last acknowledged state; `None`: not there.
    acknowledged: Option<RegionMeta>,
    /// What a call that got no answer tried to make of it.
    in_doubt: Option<Option<RegionMeta>>,
}

struct Caller {
    number: u64,
    padding: usize,
    rng: Rng,
    /// The caller's own regions by the index of their part; part n begins at `part_key(n)`.
    regions: BTreeMap<u64, Known>,
    ids: Vec<(u64, u64)>,
    timestamps: Vec<(u64, u64)>,
}

/// Regions of one caller. Part n may be one region or, after a merge, part of the one before it.
const PARTS: u64 = 6;

impl Caller {
    fn new(number: u64, padding: usize) -> Self {
        let rng = Rng::new(number + 1);
        Self { number, padding, rng, regions: BTreeMap::new(), ids: Vec::new(), timestamps: Vec::new() }
    }

    fn part_key(&self, part: u64) -> Vec<u8> {
        format!("c{:02}/{part}{}", self.number, "-".repeat(self.padding)).into_bytes()
    }

    fn id(&self, part: u64) -> u64 {
        1_000 * (self.number + 1) + part
    }

    /// One call. `Err`: the call failed, as it may when the server ends.
    fn step(&mut self, client: &Client, shared: &Shared) -> Result<(), Failure> {
        match self.rng.below(10) {
            0..=2 => {
                let count = 1 + self.rng.below(50);
                let first = client.tso(count)?;
                self.timestamps.push((first, count));
            }
            3 => {
                let count = 1 + self.rng.below(10);
                let first = client.alloc_id(count)?;
                self.ids.push((first, count));
            }
            4 => {
                let (store, leaders) = (1 + self.rng.below(3), self.rng.below(9));
                client.store(store, PARTS, leaders)?;
            }
            5 => {
                let part = self.rng.below(PARTS);
                let found = client.lookup(&self.part_key(part))?;
                let expected = self.regions.get(&part).and_then(|known| known.acknowledged.clone());
                assert_eq!(found, expected, "caller {} reads what it wrote", self.number);
            }
            6 => shared.heartbeat(client, &mut self.rng)?,
            _ => self.change(client)?,
        }
        Ok(())
    }

    /// Changes one of the caller's own regions: new, newer, unchanged, shrunk, grown or removed.
    fn change(&mut self, client: &Client) -> Result<(), Failure> {
        let part = self.rng.below(PARTS);
        let known = self.regions.entry(part).or_default().clone();
        let next = match known.acknowledged {
            Some(_) if self.rng.below(5) == 0 => None,
            Some(mut region) => {
                region.epoch_version += self.rng.below(3);
                let start = region.start_key.clone();
                match self.rng.below(3) {
                    0 => region.end_key = [&start[..], b"/m"].concat(),
                    1 => region.end_key = self.part_key(part + 1),
                    _ => {}
                }
                Some(region)
            }
            None => Some(region(self.id(part), &self.part_key(part), &self.part_key(part + 1), self.rng.below(9))),
        };
        let answer = match &next {
            Some(region) => client.put(region),
            None => client.remove(self.id(part)).map(|existed| assert!(existed, "an acknowledged region is there")),
        };
        let known = self.regions.get_mut(&part).expect("entered above");
        match &answer {
            Ok(()) => known.acknowledged = next,
            Err(_) => known.in_doubt = Some(next),
        }
        answer
    }
}

/// The regions that all callers change: only their epochs rise, each time to a number no one used before.
#[derive(Default)]
struct Shared {
    version: AtomicU64,
    /// The newest acknowledged version of each.
    acknowledged: Mutex<BTreeMap<u64, u64>>,
}

impl Shared {
    fn heartbeat(&self, client: &Client, rng: &mut Rng) -> Result<(), Failure> {
        let id = SHARED[usize::from(rng.below(2) == 0)];
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        match client.put(&shared_region(id, version)) {
            Ok(()) => {
                let mut acknowledged = self.acknowledged.lock().unwrap();
                let newest = acknowledged.entry(id).or_default();
                *newest = version.max(*newest);
                Ok(())
            }
            // A newer one was faster.
            Err(failure) if failure.code == RpcStatusCode::FAILED_PRECONDITION => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

fn shared_region(id: u64, version: u64) -> RegionMeta {
    region(id, format!("a{id}").as_bytes(), format!("a{}", id + 1).as_bytes(), version)
}

/// Checks everything that is known about regions after a start, and settles what was in doubt.
fn check_regions(client: &Client, callers: &mut [Caller], shared: &Shared) {
    let mut all = BTreeMap::new();
    for caller in callers {
        for part in 0..PARTS {
            let found = client.lookup(&caller.part_key(part)).unwrap();
            let known = caller.regions.entry(part).or_default();
            let possible = found == known.acknowledged || known.in_doubt.as_ref() == Some(&found);
            assert!(possible, "found {found:?}, acknowledged {:?}", known.acknowledged);
            *known = Known { acknowledged: found.clone(), in_doubt: None };
            all.extend(found.map(|region| (region.start_key.clone(), region)));
        }
    }
    for (&id, &version) in &*shared.acknowledged.lock().unwrap() {
        let found = client.lookup(format!("a{id}").as_bytes()).unwrap().expect("an acknowledged region is there");
        assert!(found.epoch_version >= version, "region {id}: {} < {version}", found.epoch_version);
        assert_eq!(found, shared_region(id, found.epoch_version), "stored whole");
        all.insert(found.start_key.clone(), found);
    }
    let mut end = Vec::new();
    for (start, region) in all {
        assert!(end <= start, "an overlap at {region:?}");
        end = region.end_key;
    }
}

/// All values given so far, of both kinds.
#[derive(Default)]
struct Given {
    ids: Sequence,
    timestamps: Sequence,
}

/// One sequence of values over all runs.
#[derive(Default)]
struct Sequence {
    /// The last value given in any run.
    last: u64,
    /// Values of the last run.
    in_run: u64,
}

impl Given {
    /// The first values after a restart; they count as given.
    fn check_first(&mut self, client: &Client, end: End) {
        self.ids.check_first(client.alloc_id(1).unwrap(), end);
        self.timestamps.check_first(client.tso(1).unwrap(), end);
    }

    /// Checks the values of one run.
    fn collect(&mut self, callers: &mut [Caller]) {
        let take = |ranges: fn(&mut Caller) -> &mut Vec<(u64, u64)>, callers: &mut [Caller]| {
            callers.iter_mut().map(|caller| std::mem::take(ranges(caller))).collect::<Vec<_>>()
        };
        self.ids.collect(take(|caller| &mut caller.ids, callers));
        self.timestamps.collect(take(|caller| &mut caller.timestamps, callers));
    }
}

impl Sequence {
    fn check_first(&mut self, first: u64, end: End) {
        assert!(first > self.last, "{first} was given before: {} was the last", self.last);
        let skipped = first - self.last - 1;
        match end {
            End::Term => assert_eq!(skipped, 0, "a clean stop skips nothing"),
            // Two windows at most, and a window is half a second's worth or 1,024. No rate is taken from less than 10 ms, a
            // fiftieth of that.
            End::Kill => {
                let most = 2 * (50 * self.in_run).max(1024);
                assert!(skipped <= most, "skipped {skipped} after {}", self.in_run);
            }
        }
        self.last = first;
    }

    fn collect(&mut self, by_caller: Vec<Vec<(u64, u64)>>) {
        for ranges in &by_caller {
            assert!(ranges.is_sorted(), "a caller's values rise");
        }
        let mut ranges = by_caller.concat();
        ranges.sort_unstable();
        self.in_run = 0;
        for (first, count) in ranges {
            assert!(first > self.last, "{first} was given twice: {} was given before", self.last);
            self.last = first + count - 1;
            self.in_run += count;
        }
    }
}
