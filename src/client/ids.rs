//! Ids from ranges: fetched in one call, given out from memory.
//!
//! Invariants: what is kept was answered by a PD and was given to nobody. At most one call for a range is under way, and the
//! lock is not held meanwhile.
//!
//! Time: a caller waits for the calls of others no longer than the timeout, then makes one call of its own at most.

use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::retry::{Repeat, Span};
use super::{Error, Inner};
use crate::proto::{pd, pd_methods};

/// The ids that a client holds.
pub(super) struct IdRanges {
    /// Ids of one call; a caller that wants so many or more makes a call of its own.
    range: u64,
    /// How long a caller waits for the calls of others.
    timeout: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// First and last of the ids that are left.
    left: Option<(u64, u64)>,
    fetch_runs: bool,
    /// Calls for a range that are over.
    fetches: u64,
    /// Why the last one failed that came to an end, if it did, with how many were over before it.
    failure: Option<(u64, Error)>,
}

impl IdRanges {
    /// Fetches `range` ids at once; 0: holds none.
    pub(super) fn new(range: u64, timeout: Duration) -> Self {
        Self { range, timeout, state: Mutex::default(), changed: Condvar::new() }
    }

    /// `count` ids, from memory or through `fetch`, which gives as many as it is asked for. `late` tells why a caller gets
    /// none that has waited for the calls of others as long as it may.
    ///
    /// Ids left over when more are wanted than are left go on to be given out where the new ones follow them; else the
    /// longer of the two rests is kept, and the other is lost.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, that of `late`, and those of the call that the caller has made or waited for.
    pub(super) fn take(
        &self,
        count: u64,
        fetch: impl FnOnce(u64) -> Result<RangeInclusive<u64>, Error>,
        late: impl FnOnce(Duration) -> Error,
    ) -> Result<RangeInclusive<u64>, Error> {
        if count == 0 {
            return Err(Error::Invalid("a count of 0 asks for nothing".into()));
        }
        let mut span = None;
        let mut state = self.lock();
        loop {
            if let Some(ids) = state.take(count) {
                return Ok(ids);
            }
            if count >= self.range {
                drop(state);
                return fetch(count);
            }
            if span.is_some_and(|span: Span| span.left().is_zero()) {
                drop(state);
                return Err(late(self.timeout));
            }
            if !state.fetch_runs {
                break;
            }
            let awaited = state.fetches;
            let left = span.get_or_insert_with(|| Span::new(self.timeout)).left();
            let is_awaited = |state: &mut State| state.fetch_runs && state.fetches == awaited;
            (state, _) =
                self.changed.wait_timeout_while(state, left, is_awaited).unwrap_or_else(PoisonError::into_inner);
            // A call that panicked has left the failure of one before it.
            if let Some((number, error)) = &state.failure
                && *number >= awaited
            {
                return Err(error.clone());
            }
        }
        state.fetch_runs = true;
        let number = state.fetches;
        drop(state);
        let fetch_ends = FetchEnds(self);
        let fetched = fetch(self.range);
        let mut state = self.lock();
        let ids = fetched.inspect_err(|error| state.failure = Some((number, error.clone()))).map(|fetched| {
            state.failure = None;
            state.add(&fetched, count)
        });
        drop(state);
        drop(fetch_ends);
        ids
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the next caller fetch, also when `fetch` panics.
struct FetchEnds<'a>(&'a IdRanges);

impl Drop for FetchEnds<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.fetch_runs = false;
        state.fetches += 1;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl State {
    /// `count` of the ids that are left, if there are so many.
    fn take(&mut self, count: u64) -> Option<RangeInclusive<u64>> {
        let (first, last) = self.left?;
        let end = first.checked_add(count - 1).filter(|end| *end <= last)?;
        self.left = (end < last).then(|| (end + 1, last));
        Some(first..=end)
    }

    /// Takes in `fetched`, of which `count` ids are for the caller, and those out.
    fn add(&mut self, fetched: &RangeInclusive<u64>, count: u64) -> RangeInclusive<u64> {
        let (first, last) = (*fetched.start(), *fetched.end());
        let before = self.left.take();
        if let Some((start, end)) = before
            && end.checked_add(1) == Some(first)
        {
            self.left = Some((start, last));
            return self.take(count).expect("the new ids alone are enough");
        }
        self.left = Some((first, last));
        let ids = self.take(count).expect("as many ids were fetched, at least");
        let length = |rest: Option<(u64, u64)>| rest.map_or(0, |(first, last)| last - first);
        if length(before) > length(self.left) {
            self.left = before;
        }
        ids
    }
}

impl Inner {
    /// `count` ids, in one call.
    pub(super) fn alloc_ids(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let request = pd::AllocIDRequest { count, ..Default::default() };
        let answer = self.call(&pd_methods::ALLOC_ID, &request, Repeat::Always)?;
        range_of("ids", answer.first_id, answer.count, count).map_err(|reason| self.malformed(reason))
    }

    /// Why a caller gets no ids that has `waited` for the calls of others.
    pub(super) fn late(&self, waited: Duration) -> Error {
        Error::TimedOut { addr: self.connections.current().addr().to_owned(), waited }
    }
}

/// The values of an answer to a request for `asked` values, or what is wrong with it.
pub(super) fn range_of(what: &str, first: u64, count: u64, asked: u64) -> Result<RangeInclusive<u64>, String> {
    if count != asked {
        return Err(format!("{count} {what} for {asked} asked for"));
    }
    match first.checked_add(count - 1) {
        Some(last) if first > 0 => Ok(first..=last),
        Some(_) => Err(format!("{what} from 0 on")),
        None => Err(format!("{count} {what} from {first} on, beyond u64")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::{panic, thread};

    use super::*;

    /// A PD's counter; it gives out what it is asked for.
    fn counter(next: &AtomicU64, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let first = next.fetch_add(count, Ordering::Relaxed);
        Ok(first..=first + (count - 1))
    }

    fn ranges(range: u64) -> IdRanges {
        IdRanges::new(range, Duration::from_secs(60))
    }

    fn late(waited: Duration) -> Error {
        Error::TimedOut { addr: "test:1".into(), waited }
    }

    fn take(
        ids: &IdRanges,
        count: u64,
        fetch: impl FnOnce(u64) -> Result<RangeInclusive<u64>, Error>,
    ) -> Result<RangeInclusive<u64>, Error> {
        ids.take(count, fetch, late)
    }

    #[test]
    fn ids_come_from_memory_until_too_few_are_left() {
        let (ids, next) = (ranges(10), AtomicU64::new(1));
        let take = |count| take(&ids, count, |count| counter(&next, count)).unwrap();
        assert_eq!((take(4), take(6)), (1..=4, 5..=10));
        assert_eq!(next.load(Ordering::Relaxed), 11, "one call");
        assert_eq!(take(8), 11..=18);
        assert_eq!(take(3), 19..=21, "the new range follows what was left");
        assert_eq!(take(25), 31..=55, "more than a range is a call of its own");
        next.store(100, Ordering::Relaxed);
        assert_eq!(take(6), 22..=27);
        assert_eq!(take(1), 28..=28);
        assert_eq!(take(9), 100..=108, "another client got ids meanwhile");
        assert_eq!(take(1), 29..=29, "the longer rest is kept");
        assert!(matches!(ids.take(0, |_| unreachable!(), late), Err(Error::Invalid(_))));
    }

    #[test]
    fn the_last_ids_there_are_do_not_wrap() {
        let ids = ranges(10);
        assert_eq!(take(&ids, 7, |_| Ok(u64::MAX - 9..=u64::MAX)).unwrap(), u64::MAX - 9..=u64::MAX - 3);
        let no_more = || Error::Invalid("no value is left".into());
        assert_eq!(take(&ids, 4, |_| Err(no_more())), Err(no_more()));
        assert_eq!(take(&ids, 3, |_| unreachable!()).unwrap(), u64::MAX - 2..=u64::MAX);
    }

    #[test]
    fn without_a_range_each_request_is_a_call() {
        let (ids, next) = (ranges(0), AtomicU64::new(1));
        for first in [1, 3, 5] {
            assert_eq!(take(&ids, 2, |count| counter(&next, count)).unwrap(), first..=first + 1);
        }
    }

    #[test]
    fn those_who_come_during_a_call_share_it_and_its_failure() {
        let (ids, next) = (ranges(100), AtomicU64::new(1));
        let failure = || Error::Unreachable { addrs: String::new(), waited: Duration::ZERO };
        for fails in [true, false] {
            let (started, starts) = crossbeam_channel::unbounded();
            let (release, released) = crossbeam_channel::bounded::<()>(1);
            let mut got = Vec::new();
            thread::scope(|scope| {
                let fetcher = scope.spawn(|| {
                    take(&ids, 1, |count| {
                        started.send(()).unwrap();
                        released.recv().unwrap();
                        if fails { Err(failure()) } else { counter(&next, count) }
                    })
                });
                starts.recv().unwrap();
                let (enter, entered) = crossbeam_channel::unbounded();
                let waiters: Vec<_> = (0..8)
                    .map(|_| {
                        let (ids, enter) = (&ids, enter.clone());
                        scope.spawn(move || {
                            enter.send(()).unwrap();
                            take(ids, 1, |_| Err(Error::Closed))
                        })
                    })
                    .collect();
                (0..8).for_each(|_| entered.recv().unwrap());
                // A waiter that is not there yet when the call ends makes one of its own where this one failed.
                release.send(()).unwrap();
                for caller in std::iter::once(fetcher).chain(waiters) {
                    match caller.join().unwrap() {
                        Ok(range) => got.push(*range.start()),
                        Err(error) => assert!(fails && (error == failure() || error == Error::Closed), "{error}"),
                    }
                }
            });
            if !fails {
                got.sort_unstable();
                assert_eq!(got, (1..=9).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_call_that_panics_leaves_the_next_one_free() {
        let (ids, next) = (ranges(10), AtomicU64::new(1));
        let fetch = || take(&ids, 1, |_| panic!("as a test wants"));
        assert!(panic::catch_unwind(panic::AssertUnwindSafe(fetch)).is_err());
        assert_eq!(take(&ids, 1, |count| counter(&next, count)).unwrap(), 1..=1);
    }
    /// A waiter took it for that of the call it had waited for.
    #[test]
    fn a_call_that_panics_does_not_fail_its_waiters_with_an_older_failure() {
        let (ids, next) = (ranges(10), AtomicU64::new(1));
        assert_eq!(take(&ids, 1, |_| Err(Error::Closed)), Err(Error::Closed));
        let (started, starts) = crossbeam_channel::bounded(1);
        let (release, released) = crossbeam_channel::bounded::<()>(1);
        thread::scope(|scope| {
            let fetch = || {
                take(&ids, 1, |_| {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    panic!("as a test wants")
                })
            };
            let fetcher = scope.spawn(move || panic::catch_unwind(panic::AssertUnwindSafe(fetch)).is_err());
            starts.recv().unwrap();
            let (enter, entered) = crossbeam_channel::bounded(1);
            let (ids, next) = (&ids, &next);
            let waiter = scope.spawn(move || {
                enter.send(()).unwrap();
                take(ids, 1, |count| counter(next, count))
            });
            entered.recv().unwrap();
            // It most likely waits by then. If it does not, it gets its id as well.
            (0..1000).for_each(|_| thread::yield_now());
            release.send(()).unwrap();
            assert!(fetcher.join().unwrap());
            assert_eq!(waiter.join().unwrap(), Ok(1..=1));
        });
    }

    #[test]
    fn nobody_waits_for_a_call_that_cannot_be_enough() {
        let (ids, next) = (ranges(10), AtomicU64::new(1));
        let first = take(&ids, 1, |count| {
            assert_eq!(take(&ids, 10, |count| counter(&next, count)), Ok(1..=10), "as many as a range has");
            counter(&next, count)
        });
        assert_eq!(first, Ok(11..=11));
    }

    #[test]
    fn nobody_waits_for_the_calls_of_others_beyond_the_timeout() {
        let timeout = Duration::from_millis(20);
        let (ids, next) = (IdRanges::new(10, timeout), AtomicU64::new(1));
        let first = take(&ids, 1, |count| {
            assert_eq!(take(&ids, 2, |_| unreachable!()), Err(late(timeout)));
            counter(&next, count)
        });
        assert_eq!(first, Ok(1..=1));
        assert_eq!(take(&ids, 2, |_| unreachable!()), Ok(2..=3));
    }
}
