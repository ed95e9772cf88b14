//! The router over sources inside the test: who shares a lookup, what comes of one that fails, and how fast a caller that
//! follows a changing catalog gets to the right region.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{RegionSource, Router, RouterStats};
use crate::client::Error;
use crate::core::{Cluster, Epoch, Region, RegionId, Verdict};

/// Only a router that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> Region {
    Region::new(RegionId(id), start, end, Epoch { version, conf_version: 1 }, [])
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        thread::yield_now();
    }
}

/// What a call of the source comes to.
#[derive(Clone)]
enum Outcome {
    Answers(Vec<Region>),
    Fails,
    Panics,
}

/// A source whose calls wait until the test lets them go, one at a time.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    outcomes: VecDeque<Outcome>,
    /// The keys of each call, in the order of the calls.
    calls: Vec<Vec<Vec<u8>>>,
}

impl Gate {
    fn let_go(&self, outcome: Outcome) {
        self.state.lock().unwrap().outcomes.push_back(outcome);
        self.changed.notify_all();
    }

    fn calls(&self) -> Vec<Vec<Vec<u8>>> {
        self.state.lock().unwrap().calls.clone()
    }
}

impl RegionSource for Gate {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(keys.iter().map(|key| key.to_vec()).collect());
        let (mut state, waited) =
            self.changed.wait_timeout_while(state, HANG, |state| state.outcomes.is_empty()).unwrap();
        assert!(!waited.timed_out(), "nobody lets the call go");
        let outcome = state.outcomes.pop_front().unwrap();
        drop(state);
        match outcome {
            Outcome::Answers(regions) => {
                Ok(keys.iter().map(|key| regions.iter().find(|region| region.range().contains(key)).cloned()).collect())
            }
            Outcome::Fails => Err(Error::Closed),
            Outcome::Panics => panic!("a source with a bug"),
        }
    }
}

type Found = Result<Option<(u64, u64)>, Error>;

/// Id and version of the region at `key`.
fn find(router: &Router<impl RegionSource>, key: &str) -> Found {
    Ok(router.region(key.as_bytes())?.map(|region| (region.id().0, region.epoch().version)))
}

/// Runs `work` while a lookup of `first` is under way and the others wait behind it. Returns what each key got.
fn behind(
    router: &Router<Gate>,
    first: &str,
    others: &[&str],
    work: impl FnOnce(),
) -> (thread::Result<Found>, Vec<thread::Result<Found>>) {
    let calls = router.source.calls().len();
    thread::scope(|scope| {
        let caught = |key: String| catch_unwind(AssertUnwindSafe(|| find(router, &key)));
        let key = first.to_owned();
        let leader = scope.spawn(move || caught(key));
        wait_until("a call is under way", || router.source.calls().len() > calls);
        let threads: Vec<_> = others
            .iter()
            .enumerate()
            .map(|(at, key)| {
                let key = (*key).to_owned();
                let thread = scope.spawn(move || caught(key));
                wait_until("it waits", || router.lookups().waiting() > at);
                thread
            })
            .collect();
        work();
        (leader.join().unwrap(), threads.into_iter().map(|thread| thread.join().unwrap()).collect())
    })
}

#[test]
fn misses_of_one_region_share_one_lookup() {
    let router = Router::new(Gate::default());
    let keys: Vec<String> = (0..63).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (first, others) = behind(&router, "k", &keys, || {
        router.source.let_go(Outcome::Answers(vec![region(1, b"k", b"l", 1)]));
    });
    assert!(others.into_iter().chain([first]).all(|found| found.unwrap() == Ok(Some((1, 1)))));
    assert_eq!(router.source.calls().len(), 1);
    assert_eq!(router.stats(), RouterStats { hits: 0, misses: 64, lookups: 1 });
    assert_eq!(find(&router, "kx"), Ok(Some((1, 1))));
    assert_eq!(router.stats(), RouterStats { hits: 1, misses: 64, lookups: 1 });
}

#[test]
fn misses_of_many_regions_go_together_into_the_next_lookup() {
    let router = Router::new(Gate::default());
    let regions: Vec<Region> =
        (0..9_u8).map(|number| region(u64::from(number) + 1, &[b'a' + number], &[b'b' + number], 1)).collect();
    let (first, others) = behind(&router, "a", &["b", "c", "b", "cc", "aa", "z", "d"], || {
        router.source.let_go(Outcome::Answers(regions.clone()));
        router.source.let_go(Outcome::Answers(regions.clone()));
    });
    assert_eq!(first.unwrap(), Ok(Some((1, 1))));
    let ids: Vec<u64> = others.into_iter().map(|found| found.unwrap().unwrap().map_or(0, |(id, _)| id)).collect();
    assert_eq!(ids, [2, 3, 2, 3, 1, 0, 4]);
    let keys = |keys: &[&str]| keys.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>();
    let expected = [keys(&["a"]), keys(&["b", "c", "cc", "d", "z"])];
    assert_eq!(router.source.calls(), expected, "each key once, and none that the first lookup has answered");
}

#[test]
fn a_gap_is_asked_for_each_time() {
    let router = Router::new(Gate::default());
    for _ in 0..2 {
        router.source.let_go(Outcome::Answers(vec![]));
        assert_eq!(find(&router, "a"), Ok(None));
    }
    router.source.let_go(Outcome::Answers(vec![region(1, b"", b"", 1)]));
    assert_eq!(find(&router, "a"), Ok(Some((1, 1))));
    assert_eq!((router.stats(), router.len()), (RouterStats { hits: 0, misses: 3, lookups: 3 }, 1));
}

#[test]
fn a_lookup_that_fails_fails_its_own_misses() {
    let router = Router::new(Gate::default());
    let (first, others) = behind(&router, "a", &["b", "c"], || {
        router.source.let_go(Outcome::Fails);
        router.source.let_go(Outcome::Answers(vec![region(1, b"", b"", 1)]));
    });
    assert_eq!(first.unwrap(), Err(Error::Closed));
    assert!(others.into_iter().all(|found| found.unwrap() == Ok(Some((1, 1)))));

    router.invalidate(RegionId(1), Epoch { version: 1, conf_version: 1 });
    let (first, others) = behind(&router, "a", &["b", "c"], || {
        router.source.let_go(Outcome::Answers(vec![]));
        router.source.let_go(Outcome::Fails);
    });
    assert_eq!(first.unwrap(), Ok(None));
    assert!(others.into_iter().all(|found| found.unwrap() == Err(Error::Closed)), "both took part in it");
    router.source.let_go(Outcome::Answers(vec![region(1, b"", b"", 2)]));
    assert_eq!(find(&router, "c"), Ok(Some((1, 2))));
}

#[test]
fn a_source_that_panics_leaves_nobody_waiting() {
    let router = Router::new(Gate::default());
    let (first, others) = behind(&router, "a", &["b", "c", "d"], || {
        // With "a"; with "b", "c", "d", led by "b"; with "c" and "d".
        router.source.let_go(Outcome::Panics);
        router.source.let_go(Outcome::Panics);
        router.source.let_go(Outcome::Answers(vec![region(1, b"", b"", 1)]));
    });
    let outcomes: Vec<Option<Found>> = others.into_iter().map(Result::ok).collect();
    assert!(first.is_err());
    assert_eq!(outcomes, [None, Some(Ok(Some((1, 1)))), Some(Ok(Some((1, 1))))]);
    assert_eq!(router.source.calls().last().unwrap().len(), 2);
    assert_eq!(find(&router, "e"), Ok(Some((1, 1))));
}

#[test]
fn a_lookup_does_not_bring_back_what_was_invalidated_meanwhile() {
    let router = Router::new(Gate::default());
    let old = || Outcome::Answers(vec![region(1, b"", b"m", 1), region(2, b"m", b"", 1)]);
    let (first, others) = behind(&router, "a", &[], || {
        router.invalidate(RegionId(1), Epoch { version: 1, conf_version: 1 });
        router.invalidate(RegionId(1), Epoch { version: 0, conf_version: 9 });
        router.source.let_go(old());
    });
    assert_eq!((first.unwrap(), others.len()), (Ok(Some((1, 1))), 0), "it began before");
    assert_eq!(router.len(), 0);

    // What waits behind such a lookup is answered by the next one.
    let (_, others) = behind(&router, "a", &["b"], || {
        router.invalidate(RegionId(1), Epoch { version: 1, conf_version: 1 });
        router.source.let_go(old());
        router.source.let_go(Outcome::Answers(vec![region(1, b"", b"m", 2)]));
    });
    assert_eq!(others.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Ok(Some((1, 2)))]);

    // A newer epoch than the one that was refused comes in, and so does the old one with a lookup that was sent later.
    for (refused, len) in [(2, 1), (3, 0)] {
        router.invalidate(RegionId(1), Epoch { version: 9, conf_version: 1 });
        let (first, _) = behind(&router, "a", &[], || {
            router.invalidate(RegionId(1), Epoch { version: refused, conf_version: 1 });
            router.source.let_go(Outcome::Answers(vec![region(1, b"", b"m", 3)]));
        });
        assert_eq!((first.unwrap(), router.len()), (Ok(Some((1, 3))), len));
    }
    router.source.let_go(Outcome::Answers(vec![region(1, b"", b"m", 3)]));
    assert_eq!((find(&router, "a"), router.len()), (Ok(Some((1, 3))), 1));
}

#[test]
fn a_lookup_has_no_more_keys_than_the_limit() {
    let router = Router::new(Gate::default());
    let keys: Vec<String> = (0..super::lookups::KEYS_MAX + 9).map(|number| format!("b{number:05}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (_, others) = behind(&router, "a", &keys, || {
        (0..3).for_each(|_| router.source.let_go(Outcome::Answers(vec![])));
    });
    assert!(others.into_iter().all(|found| found.unwrap() == Ok(None)));
    assert_eq!(router.source.calls().iter().map(Vec::len).collect::<Vec<_>>(), [1, super::lookups::KEYS_MAX, 9]);
}

#[test]
fn a_long_key_goes_alone() {
    let router = Router::new(Gate::default());
    let long = "l".repeat(20_000);
    let (_, others) = behind(&router, "a", &["b", "c", &long, "d"], || {
        (0..4).for_each(|_| router.source.let_go(Outcome::Answers(vec![])));
    });
    assert!(others.into_iter().all(|found| found.unwrap() == Ok(None)));
    assert_eq!(router.source.calls().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1, 1]);
}

struct Odd(fn() -> Vec<Option<Region>>);

impl RegionSource for Odd {
    fn regions_by_keys(&self, _: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        Ok((self.0)())
    }
}

#[test]
fn answers_that_do_not_fit_the_keys_are_malformed() {
    let odd: [fn() -> Vec<Option<Region>>; 4] = [
        Vec::new,
        || vec![None, None],
        || vec![Some(region(1, b"b", b"", 1))],
        || vec![Some(region(1, b"b", b"a", 1))],
    ];
    for answers in odd {
        let router = Router::new(Odd(answers));
        assert!(matches!(find(&router, "a"), Err(Error::Malformed { .. })), "{:?}", answers());
        assert!(router.is_empty());
    }
}

/// A catalog that changes under the router.
struct Catalog(Mutex<Cluster>);

impl Catalog {
    fn at(&self, key: &[u8]) -> Option<Region> {
        self.0.lock().unwrap().region_by_key(key).cloned()
    }

    fn put(&self, region: Region) {
        let mut cluster = self.0.lock().unwrap();
        assert!(matches!(cluster.judge(&region), Ok(Verdict::Changed)));
        cluster.put(region);
    }

    /// Splits the region at `key` there, when it does not begin there; else merges the one behind into it. How far a merge
    /// raises the version is up to the store.
    fn change(&self, key: &[u8], rise: u64, new_id: u64) {
        let Some(whole) = self.at(key) else { return };
        let (id, version) = (whole.id().0, whole.epoch().version);
        if whole.start_key() != key {
            self.put(region(id, whole.start_key(), key, version + 1));
            self.put(region(new_id, key, whole.end_key(), version + 1));
        } else if let Some(next) = self.at(whole.end_key()).filter(|next| next.id() != whole.id()) {
            self.0.lock().unwrap().remove(next.id());
            self.put(region(id, key, next.end_key(), version + rise));
        }
    }
}

impl RegionSource for Catalog {
    fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
        Ok(keys.iter().map(|key| self.at(key)).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        rng_seed: prop::test_runner::RngSeed::Fixed(12),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_caller_that_heeds_the_stores_gets_to_the_region_at_the_second_try(
        steps in prop::collection::vec((1..40_u8, 1..4_u64, 0..41_u8), 1..200),
    ) {
        let router = Router::new(Catalog(Mutex::default()));
        router.source.put(region(1, b"", b"", 1));
        for (at, (border, rise, key)) in (2..).zip(steps) {
            router.source.change(&[border], rise, at);
            let right = router.source.at(&[key]);
            let first = router.region(&[key]).unwrap();
            if let Some(wrong) = first.filter(|first| Some(&**first) != right.as_ref()) {
                router.invalidate(wrong.id(), wrong.epoch());
                let second = router.region(&[key]).unwrap();
                prop_assert_eq!(second.as_deref(), right.as_ref());
            }
        }
    }
}

#[test]
fn threads_share_a_router_while_regions_come_and_go() {
    const THREADS: u8 = 8;
    let router = Router::new(Catalog(Mutex::default()));
    router.source.put(region(1, b"", b"", 1));
    let start = Barrier::new(usize::from(THREADS) + 1);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (router, start) = (&router, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..2000_u64 {
                    let key = [u8::try_from(round * 7 % 40).unwrap() + thread];
                    let found = router.region(&key).unwrap().expect("there is no gap");
                    assert!(found.range().contains(&key));
                    if round % 3 == 0 {
                        router.invalidate(found.id(), found.epoch());
                    }
                }
            });
        }
        start.wait();
        // Splits alone leave no gap but for an instant, in which the catalog is locked here.
        for id in 2..40_u8 {
            let mut cluster = router.source.0.lock().unwrap();
            let whole = cluster.region_by_key(&[id]).cloned().unwrap();
            let version = whole.epoch().version + 1;
            cluster.put(region(whole.id().0, whole.start_key(), &[id], version));
            cluster.put(region(u64::from(id), &[id], whole.end_key(), version));
        }
    });
    let stats = router.stats();
    assert_eq!(stats.hits + stats.misses, u64::from(THREADS) * 2000);
    assert!(stats.lookups <= stats.misses);
}

/// A key that is too long for a message, in a call with others, is its own caller's mistake alone.
#[test]
fn a_key_that_is_too_long_fails_nobody_else() {
    struct Short(Gate);
    impl RegionSource for Short {
        fn regions_by_keys(&self, keys: &[&[u8]]) -> Result<Vec<Option<Region>>, Error> {
            if keys.iter().any(|key| key.len() > 3) {
                return Err(Error::Invalid("too long".into()));
            }
            self.0.regions_by_keys(keys)
        }
    }
    let router = Router::new(Short(Gate::default()));
    let gate = &router.source.0;
    thread::scope(|scope| {
        let first = scope.spawn(|| router.region(b"z"));
        wait_until("the first call", || gate.calls().len() == 1);
        let others = [&b"a"[..], b"long"].map(|key| scope.spawn(|| router.region(key)));
        wait_until("both wait", || router.lookups().waiting() == 2);
        for _ in 0..2 {
            gate.let_go(Outcome::Answers(vec![region(1, b"", b"m", 1)]));
        }
        assert_eq!(first.join().unwrap(), Ok(None));
        let [short, long] = others.map(|other| other.join().unwrap());
        assert_eq!(short.unwrap().unwrap().id(), RegionId(1));
        assert_eq!(long, Err(Error::Invalid("too long".into())));
    });
}
