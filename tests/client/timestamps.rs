//! Timestamps of the real PD under many callers: unique, rising, above all that was returned before, also when it is killed
//! and comes back.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::LocalPool;
use futures::future::join_all;
use pd_lite::client::{Client, ClientOptions, Error, Refusal};

use super::{HANG, hasty, patient};
use crate::support::relay::Relay;
use crate::support::{Launch, rng::Rng};

const THREADS: usize = 64;

/// Timestamps as they come in, each checked against all that were returned before it was asked for.
#[derive(Default)]
struct Order {
    highest: AtomicU64,
}

impl Order {
    /// `count` timestamps by `get`.
    fn check(&self, count: u64, get: impl FnOnce() -> Result<std::ops::RangeInclusive<u64>, Error>) -> Vec<u64> {
        let floor = self.highest.load(Ordering::SeqCst);
        let range = get().unwrap();
        assert!(*range.start() > floor, "{range:?} after {floor}");
        assert_eq!(range.end() - range.start() + 1, count);
        self.highest.fetch_max(*range.end(), Ordering::SeqCst);
        range.collect()
    }
}

fn assert_unique(mut all: Vec<u64>) {
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "no timestamp twice");
}

/// Asks from many threads until `enough` says so, and checks every timestamp. Returns how many there were.
fn ask_from_threads(client: &Client, enough: impl Fn(usize) -> bool + Sync) -> usize {
    let order = Order::default();
    let all: Vec<u64> = thread::scope(|scope| {
        let ask = |seed: usize| {
            let mut rng = Rng::new(u64::try_from(seed).unwrap());
            let mut got = Vec::new();
            let mut asked = 0;
            while !enough(asked) {
                let count = if rng.below(4) == 0 { 1 + rng.below(20) } else { 1 };
                got.extend(order.check(count, || client.get_ts_batch(count)));
                asked += 1;
            }
            got
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || ask(seed))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = all.len();
    assert_unique(all);
    count
}

#[test]
fn threads_get_unique_timestamps_above_all_that_were_returned_before() {
    let server = Launch::in_memory().start();
    for calls_max in [1, 4] {
        let options = ClientOptions { tso_calls_max: calls_max, timeout: HANG, ..ClientOptions::new(server.addr()) };
        let client = Client::new(options).unwrap();
        ask_from_threads(&client, |asked| asked >= 100);
    }
    server.stop();
}

#[test]
fn tasks_of_one_thread_get_unique_rising_timestamps() {
    let server = Launch::in_memory().start();
    let client = patient(server.addr());
    let tasks = (0..1000).map(|task| {
        let client = client.clone();
        async move {
            let mut got = Vec::new();
            for _ in 0..20 {
                got.push(client.get_ts_async().await.unwrap());
                got.extend(client.get_ts_batch_async(1 + task % 3).await.unwrap());
            }
            assert!(got.is_sorted());
            got
        }
    });
    let all = LocalPool::new().run_until(join_all(tasks));
    assert_unique(all.concat());
    server.stop();
}

#[test]
fn a_pd_without_the_stream_gives_timestamps_too() {
    let server = Launch::in_memory().start();
    let go_pd = Relay::go_pd(server.addr());
    let client = patient(go_pd.addr());
    let got = ask_from_threads(&client, |asked| asked >= 20);
    assert!(got >= 20 * THREADS);
    drop(go_pd);
    server.stop();
}

#[test]
fn a_pd_that_is_killed_and_comes_back_gives_no_timestamp_twice_and_loses_nobody() {
    let workdir = tempfile::tempdir().unwrap();
    let mut server = Launch::durable(workdir.path()).on("127.79.1.1:0").start();
    let addr = server.addr().to_owned();
    let client = patient(&addr);
    let over = AtomicBool::new(false);
    let server = thread::scope(|scope| {
        let threads = scope.spawn(|| ask_from_threads(&client, |_| over.load(Ordering::Relaxed)));
        for _ in 0..5 {
            for _ in 0..50 {
                client.get_ts().unwrap();
            }
            server.kill();
            server = Launch::durable(workdir.path()).on(&addr).start();
        }
        client.get_ts().unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(threads.join().unwrap() > 0);
        server
    });
    server.stop();
}

#[test]
fn a_pd_that_begins_again_ends_the_clients_timestamps() {
    let server = Launch::in_memory().on("127.79.1.2:0").start();
    let addr = server.addr().to_owned();
    let client = patient(&addr);
    let highest = *client.get_ts_batch(1000).unwrap().end();
    server.kill();
    let server = Launch::in_memory().on(&addr).start();
    let went_back = Err(Error::TimestampWentBack { highest, got: 1 });
    assert_eq!(client.get_ts(), went_back);
    assert_eq!(client.clone().get_ts(), went_back, "for good");
    assert_eq!(pollster::block_on(client.get_ts_async()), went_back);
    assert_eq!(client.alloc_id(1), Ok(1..=1), "the rest goes on");
    assert_eq!(patient(&addr).get_ts(), Ok(2), "another client knows nothing of it");
    server.stop();
}

#[test]
fn callers_whose_sum_is_above_the_pds_limit_all_get_their_timestamps() {
    let server = Launch::in_memory().args(["--max-count", "10"]).start();
    let client = patient(server.addr());
    let order = Order::default();
    let all: Vec<u64> = thread::scope(|scope| {
        let ask = || (0..50).flat_map(|_| order.check(4, || client.get_ts_batch(4))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_unique(all);
    let refused = |error| matches!(error, Error::Refused { refusal: Refusal::InvalidArgument, .. });
    assert!(refused(client.get_ts_batch(11).unwrap_err()), "a lone one is refused rightly");
    assert!(refused(pollster::block_on(client.get_ts_batch_async(11)).unwrap_err()));
    client.get_ts_batch(10).unwrap();
    server.stop();
}

#[test]
fn the_last_timestamps_there_are_do_not_wrap() {
    let server = Launch::in_memory().args(["--ts-start", &(u64::MAX - 2).to_string()]).start();
    let (patient, hasty) = (patient(server.addr()), hasty(server.addr(), Duration::from_millis(300)));
    // Exhaustion may pass, so a client tries until its time is over.
    let refused = |result| match result {
        Err(Error::Refused { refusal, .. }) => assert_eq!(refusal, Refusal::ResourceExhausted),
        Err(Error::TimedOut { .. } | Error::Unreachable { .. }) => {}
        other => panic!("{other:?}"),
    };
    assert_eq!(patient.get_ts_batch(2), Ok(u64::MAX - 2..=u64::MAX - 1));
    refused(hasty.get_ts_batch(2));
    assert_eq!(patient.get_ts_batch(1), Ok(u64::MAX..=u64::MAX));
    refused(hasty.get_ts_batch(1));
    server.stop();
}

#[test]
fn ids_from_ranges_are_unique_and_cost_few_calls() {
    let server = Launch::in_memory().start();
    let relay = Relay::go_pd(server.addr());
    let client =
        Client::new(ClientOptions { id_range: 1000, timeout: HANG, ..ClientOptions::new(relay.addr()) }).unwrap();
    let all: Vec<u64> = thread::scope(|scope| {
        let take = || (0..100).flat_map(|round| client.alloc_id(1 + round % 2).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.len(), 3000);
    assert_unique(all);
    assert_eq!(relay.calls("/pb.PD/AllocID"), 3, "nobody else takes ids, so no id is lost");
    assert_eq!(client.alloc_id(5000).unwrap(), 3001..=8000);
    assert!(matches!(client.alloc_id(0), Err(Error::Invalid(_))));
    drop(relay);
    server.stop();
}

/// The stream held a dropped client's connection and poll thread for good: gRPC cancels no call whose queue has ended.
#[test]
fn a_dropped_client_leaves_nothing_open() {
    let pd = Launch::in_memory().start();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", pd.pid())).unwrap().count();
    // The server opens some of its own for its first clients.
    patient(pd.addr()).get_ts().unwrap();
    let kept = patient(pd.addr());
    kept.get_ts().unwrap();
    let before = descriptors();
    let clients: Vec<Client> = (0..20).map(|_| patient(pd.addr())).collect();
    for client in &clients {
        client.get_ts().unwrap();
    }
    assert!(descriptors() >= before + 20);
    drop(clients);
    let begun = Instant::now();
    while descriptors() > before {
        assert!(begun.elapsed() < HANG, "connections of dropped clients stay open");
        thread::yield_now();
    }
}
