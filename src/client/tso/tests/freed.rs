//! What frees calls and places: calls that end together, callers that leave, wakers that panic.

use super::*;

/// Keeps the calls, but ends all that it holds within the next one, once it is told to.
#[derive(Clone, Default)]
struct EndsAll {
    held: Held,
    is_told: Arc<AtomicBool>,
}

impl Transport for EndsAll {
    fn ask(&self, call: Call) {
        self.held.ask(call);
        if self.is_told.swap(false, Ordering::Relaxed) {
            let calls = std::mem::take(&mut *self.held.0.lock().unwrap());
            drop(calls);
        }
    }

    fn addr(&self) -> String {
        ADDR.into()
    }
}

/// One of them was.
#[test]
fn calls_that_are_given_up_together_are_all_followed() {
    let (batcher, held) = held(BatcherOptions { calls_max: 3, batch_max: 1, ..options() });
    let mut futures: Vec<_> = (0..7).map(|_| asked(&batcher, 1)).collect();
    let overdue: Vec<_> = held.0.lock().unwrap().drain(..).collect();
    give_up_all(&batcher);
    assert_eq!(held.len(), 3);
    assert!(futures[..3].iter_mut().map(failed).all(|error| matches!(error, Error::TimedOut { .. })));
    drop(overdue);
    assert_eq!(held.len(), 3, "they have ended before");
}

/// One of them was.
#[test]
fn calls_that_end_together_within_another_are_all_followed() {
    let transport = EndsAll::default();
    let batcher = Batcher::new(transport.clone(), BatcherOptions { calls_max: 2, batch_max: 1, ..options() });
    let _futures: Vec<_> = (0..6).map(|_| asked(&batcher, 1)).collect();
    transport.is_told.store(true, Ordering::Relaxed);
    // The third call is made, within which it ends, and the second.
    transport.held.answer(1);
    assert_eq!(transport.held.len(), 2);
}

/// Wakes well, but panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as a test wants");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_caller_from_being_woken() {
    let (batcher, held) = held(options());
    let _in_flight = asked(&batcher, 1);
    let flag = Arc::new(Flag::default());
    let wakers = [Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&flag))];
    let mut futures = wakers.each_ref().map(|waker| {
        let mut future = batcher.get_async();
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(waker)).is_pending());
        future
    });
    held.answer(1);
    held.answer(2);
    assert!(flag.0.load(Ordering::Relaxed));
    assert_eq!(futures.each_mut().map(poll), [Poll::Ready(Ok(2)), Poll::Ready(Ok(3))]);
}

/// Each left its slot and its count in the batch.
#[test]
fn callers_that_leave_the_end_of_a_batch_leave_nothing_in_it() {
    let (batcher, held) = held(BatcherOptions { queue_max: 4, batch_max: 10, ..options() });
    let _in_flight = asked(&batcher, 1);
    let mut first = asked(&batcher, 2);
    for count in [3, 10, u64::MAX] {
        for _ in 0..100 {
            drop([asked(&batcher, count), asked(&batcher, count)]);
        }
    }
    let mut last = asked(&batcher, 8);
    held.answer(1);
    assert_eq!(held.answer(11), 10, "one batch, of the two that wait");
    assert_eq!((given(&mut first), given(&mut last)), (11..=12, 13..=20));
    assert_eq!(held.len(), 0);
}

/// Places that are left before others cannot be taken back; they were without a bound.
#[test]
fn places_left_in_the_queue_are_bounded_as_well() {
    let (batcher, held) = held(BatcherOptions { queue_max: 4, ..options() });
    let _in_flight = asked(&batcher, 1);
    let mut waits = asked(&batcher, 1);
    for _ in 1..8 {
        drop(std::mem::replace(&mut waits, asked(&batcher, 1)));
    }
    assert_eq!(failed(&mut batcher.get_batch_async(1)), Error::QueueFull { max: 4 });
    held.answer(1);
    assert_eq!(held.answer(10), 8);
    assert_eq!(given(&mut waits), 17..=17);
    let _next = asked(&batcher, 1);
    assert_eq!(held.len(), 1, "all is free again");
}
