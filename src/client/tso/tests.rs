//! A batcher without a network: the test holds every call and ends it as it likes.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use super::*;
use crate::client::Refusal;

mod freed;
mod histories;

/// Only a batcher that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

const ADDR: &str = "test:1";

/// Keeps the calls, oldest first.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<VecDeque<Call>>>);

impl Transport for Held {
    fn ask(&self, call: Call) {
        self.0.lock().unwrap().push_back(call);
    }

    fn addr(&self) -> String {
        ADDR.into()
    }
}

impl Held {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self, at: usize) -> Call {
        self.0.lock().unwrap().remove(at).expect("a call is held")
    }

    /// Answers the oldest call; returns its count.
    fn answer(&self, first: u64) -> u64 {
        let call = self.take(0);
        let count = call.count();
        call.end(Ok(Timestamps { first, count }));
        count
    }
}

/// Answers each call at once, within it.
struct Instantly(Mutex<u64>);

impl Transport for Instantly {
    fn ask(&self, call: Call) {
        let count = call.count();
        let first = {
            let mut next = self.0.lock().unwrap();
            *next += count;
            *next - count
        };
        call.end(Ok(Timestamps { first, count }));
    }

    fn addr(&self) -> String {
        ADDR.into()
    }
}

/// Tells whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn options() -> BatcherOptions {
    BatcherOptions { timeout: HANG, calls_max: 1, queue_max: 1000, batch_max: 1000 }
}

fn held(options: BatcherOptions) -> (Batcher, Held) {
    let held = Held::default();
    (Batcher::new(held.clone(), options), held)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The time of all calls in flight is over.
fn give_up_all(batcher: &Batcher) {
    let given_up = batcher.shared.state().give_up(Instant::now() + 2 * HANG);
    batcher.shared.give_up(given_up);
}

/// A future that has asked and waits.
fn asked(batcher: &Batcher, count: u64) -> TsBatchFuture {
    let mut future = batcher.get_batch_async(count);
    assert!(poll(&mut future).is_pending());
    future
}

fn given(future: &mut TsBatchFuture) -> RangeInclusive<u64> {
    match poll(future) {
        Poll::Ready(Ok(range)) => range,
        other => panic!("no timestamps: {other:?}"),
    }
}

fn failed(future: &mut TsBatchFuture) -> Error {
    match poll(future) {
        Poll::Ready(Err(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn callers_share_the_call_after_the_one_in_flight() {
    let (batcher, held) = held(options());
    let mut lone = asked(&batcher, 1);
    let mut others = [asked(&batcher, 3), asked(&batcher, 1), asked(&batcher, 2)];
    assert_eq!(held.len(), 1, "one call in flight");
    assert_eq!(held.answer(10), 1, "nobody joins a call that was sent");
    assert_eq!(given(&mut lone), 10..=10);
    assert_eq!(held.answer(20), 6);
    assert_eq!(others.each_mut().map(given), [20..=22, 23..=23, 24..=25]);
    assert_eq!(held.len(), 0);
}

#[test]
fn a_request_is_never_split_and_one_above_the_batch_goes_alone() {
    let (batcher, held) = held(BatcherOptions { batch_max: 10, ..options() });
    let mut futures = [1, 6, 5, 4, 25, 1, u64::MAX, 1].map(|count| asked(&batcher, count));
    let counts: Vec<u64> = (0_u64..6).map(|call| held.answer(if call < 5 { 100 * (call + 1) } else { 1 })).collect();
    assert_eq!(counts, [1, 6, 9, 25, 1, u64::MAX]);
    assert_eq!(given(&mut futures[2]), 300..=304);
    assert_eq!(given(&mut futures[3]), 305..=308);
    assert_eq!(given(&mut futures[4]), 400..=424);
    let went_back = Error::TimestampWentBack { highest: 500, got: 1 };
    assert_eq!([failed(&mut futures[6]), failed(&mut futures[7])], [went_back.clone(), went_back]);
}

#[test]
fn more_calls_at_once_are_told_apart() {
    let (batcher, held) = held(BatcherOptions { calls_max: 2, ..options() });
    let mut futures = [1, 2, 3].map(|count| asked(&batcher, count));
    assert_eq!(held.len(), 2);
    let second = held.take(1);
    second.end(Ok(Timestamps { first: 10, count: 2 }));
    assert_eq!(held.answer(9), 1, "below, but sent before the other was answered");
    assert_eq!(held.answer(12), 3);
    assert_eq!(futures.each_mut().map(given), [9..=9, 10..=11, 12..=14]);

    let mut futures = [5, 5].map(|count| asked(&batcher, count));
    assert_eq!((held.answer(20), held.answer(24)), (5, 5));
    assert_eq!(given(&mut futures[0]), 20..=24);
    assert_eq!(failed(&mut futures[1]), Error::TimestampWentBack { highest: 24, got: 24 });
}

#[test]
fn a_timestamp_that_goes_back_ends_everything() {
    let (batcher, held) = held(options());
    let mut first = asked(&batcher, 2);
    held.answer(10);
    assert_eq!(given(&mut first), 10..=11);
    let mut waiting = [asked(&batcher, 1), asked(&batcher, 1)];
    held.answer(11);
    let went_back = Error::TimestampWentBack { highest: 11, got: 11 };
    assert_eq!(waiting.each_mut().map(failed), [went_back.clone(), went_back.clone()]);
    assert_eq!(batcher.get(), Err(went_back));
    assert_eq!(held.len(), 0, "nothing is sent any more");
}

/// Polls a future, with another waker, when it is woken itself.
struct Repoll {
    future: Mutex<Option<TsBatchFuture>>,
    flag: Arc<Flag>,
}

impl Wake for Repoll {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self.flag));
        let mut future = self.future.lock().unwrap();
        let polled = Pin::new(future.as_mut().unwrap()).poll(&mut Context::from_waker(&waker));
        self.flag.0.fetch_or(polled.is_ready(), Ordering::Relaxed);
    }
}

/// A batch had left the queue, and its waiters were not yet where a caller looks for them then.
#[test]
fn who_is_polled_while_timestamps_go_back_is_woken_as_it_said_last() {
    let (batcher, held) = held(options());
    let _before = asked(&batcher, 1);
    held.answer(10);
    let repoll = Arc::new(Repoll { future: Mutex::default(), flag: Arc::default() });
    let mut in_flight = batcher.get_async();
    let waker = Waker::from(Arc::clone(&repoll));
    assert!(Pin::new(&mut in_flight).poll(&mut Context::from_waker(&waker)).is_pending());
    *repoll.future.lock().unwrap() = Some(asked(&batcher, 1));
    held.answer(10);
    assert!(repoll.flag.0.load(Ordering::Relaxed), "told, or woken by the waker it gave while the first was told");
}

#[test]
fn an_answer_that_makes_no_sense_is_no_timestamp() {
    let (batcher, held) = held(options());
    for (first, count) in [(0, 2), (5, 1), (5, 3), (u64::MAX, 2)] {
        let mut future = asked(&batcher, 2);
        held.take(0).end(Ok(Timestamps { first, count }));
        assert!(matches!(failed(&mut future), Error::Malformed { addr, .. } if addr == ADDR));
    }
    let mut future = asked(&batcher, 2);
    held.answer(u64::MAX - 1);
    assert_eq!(given(&mut future), u64::MAX - 1..=u64::MAX);
}

#[test]
fn a_count_of_zero_is_invalid() {
    let (batcher, held) = held(options());
    assert!(matches!(batcher.get_batch(0), Err(Error::Invalid(_))));
    assert!(matches!(failed(&mut batcher.get_batch_async(0)), Error::Invalid(_)));
    assert_eq!(held.len(), 0);
}

#[test]
fn a_full_queue_refuses_until_somebody_leaves_it() {
    let (batcher, held) = held(BatcherOptions { queue_max: 2, ..options() });
    let _in_flight = asked(&batcher, 1);
    let (first, mut second) = (asked(&batcher, 3), asked(&batcher, 4));
    assert_eq!(failed(&mut batcher.get_batch_async(1)), Error::QueueFull { max: 2 });
    assert_eq!(batcher.get(), Err(Error::QueueFull { max: 2 }));
    drop(first);
    let mut third = asked(&batcher, 5);
    held.answer(1);
    held.answer(10);
    assert_eq!((given(&mut second), given(&mut third)), (13..=16, 17..=21));
    drop(asked(&batcher, 1));
    assert_eq!(held.len(), 1);
}

#[test]
fn a_batch_that_all_have_left_is_not_sent() {
    let (batcher, held) = held(options());
    let mut first = asked(&batcher, 1);
    drop([asked(&batcher, 1), asked(&batcher, 1)]);
    held.answer(7);
    assert_eq!(given(&mut first), 7..=7);
    assert_eq!(held.len(), 0);
    let mut next = asked(&batcher, 1);
    assert_eq!(held.answer(8), 1);
    assert_eq!(given(&mut next), 8..=8);
}

#[test]
fn who_asks_for_little_does_not_suffer_from_the_sum() {
    let (batcher, held) = held(options());
    let refuse = |call: Call| {
        let message = "too many".into();
        call.end(Err(Error::Refused { refusal: Refusal::InvalidArgument, message }));
    };
    let mut first = asked(&batcher, 1);
    let mut others: Vec<_> = [4, 4, 4, 30].map(|count| asked(&batcher, count)).into();
    held.answer(1);
    // A PD with a limit of 8.
    let (mut counts, mut results) = (Vec::new(), Vec::new());
    while held.len() > 0 {
        let call = held.take(0);
        let count = call.count();
        counts.push(count);
        if count > 8 {
            refuse(call);
        } else {
            call.end(Ok(Timestamps { first: 100 * u64::try_from(counts.len()).unwrap(), count }));
        }
        // Polled as if woken: those that have to, ask again.
        others.retain_mut(|future| match poll(future) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
    }
    assert_eq!(given(&mut first), 1..=1);
    assert_eq!(counts, [42, 4, 8, 30], "the sum, what fits half of it, and the one that is refused rightly");
    assert_eq!(results[..3], [Ok(200..=203), Ok(300..=303), Ok(304..=307)]);
    assert!(matches!(results[3..], [Err(Error::Refused { refusal: Refusal::InvalidArgument, .. })]));
}

#[test]
fn an_answer_within_the_call_is_one_too() {
    let batcher = Batcher::new(Instantly(Mutex::new(1)), options());
    assert_eq!(batcher.get_batch(5), Ok(1..=5));
    let all: Vec<u64> = thread::scope(|scope| {
        let get = || (0..1000).map(|_| batcher.get().unwrap()).collect::<Vec<_>>();
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (6..8006).collect::<Vec<_>>());
}

#[test]
fn a_call_that_is_dropped_fails_and_frees_its_place() {
    let (batcher, held) = held(options());
    let (mut first, mut second) = (asked(&batcher, 1), asked(&batcher, 1));
    drop(held.take(0));
    assert_eq!(failed(&mut first), Error::Closed);
    held.answer(1);
    assert_eq!(given(&mut second), 1..=1);
}

#[test]
fn nobody_waits_beyond_the_timeout_for_a_call_that_is_never_answered() {
    let timeout = Duration::from_millis(20);
    let (batcher, held) = held(BatcherOptions { timeout, ..options() });
    let late = Error::TimedOut { addr: ADDR.into(), waited: timeout };
    let mut futures = [asked(&batcher, 1), asked(&batcher, 1), asked(&batcher, 1)];
    assert_eq!(batcher.get(), Err(late.clone()));
    let results = futures.each_mut().map(pollster::block_on);
    assert_eq!(results, [Err(late.clone()), Err(late.clone()), Err(late.clone())]);
    // What is answered now is nobody's, and the next caller gets a call of its own.
    held.0.lock().unwrap().drain(..).for_each(|call| {
        let count = call.count();
        call.end(Ok(Timestamps { first: 1, count }));
    });
    let (batcher, answers) = (batcher.clone(), held.clone());
    let caller = thread::spawn(move || {
        loop {
            match batcher.get() {
                Err(error) => assert_eq!(error, late),
                Ok(timestamp) => return timestamp,
            }
        }
    });
    while !caller.is_finished() {
        let call = answers.0.lock().unwrap().pop_front();
        if let Some(call) = call {
            call.end(Ok(Timestamps { first: 5, count: 1 }));
        }
        thread::yield_now();
    }
    assert_eq!(caller.join().unwrap(), 5);
}

#[test]
fn a_batcher_that_is_gone_leaves_no_call_and_no_thread_behind() {
    let (batcher, held) = held(options());
    let future = asked(&batcher, 1);
    let weak = Arc::downgrade(&batcher.shared);
    drop(batcher);
    assert!(weak.upgrade().is_some(), "a future keeps it");
    drop(future);
    let begun = Instant::now();
    while weak.strong_count() > 0 {
        assert!(begun.elapsed() < HANG, "the timer keeps it for one look at most");
        thread::yield_now();
    }
    held.answer(1);
}
