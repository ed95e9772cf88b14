//! Ids from ranges: fetched in one call, given out from memory.
//!
//! Invariants: what is kept was answered by a PD and was given to nobody. At most one call is under way, and the lock is not
//! held meanwhile.

use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::retry::Repeat;
use super::{Error, Inner};
use crate::proto::{pd, pd_methods};

/// The ids that a client holds.
pub(super) struct IdRanges {
    /// Ids of one call, if the caller wants no more.
    range: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// First and last of the ids that are left.
    left: Option<(u64, u64)>,
    fetch_runs: bool,
    /// Calls made so far.
    fetches: u64,
    /// Why the last one failed, if it did.
    failure: Option<Error>,
}

impl IdRanges {
    /// Holds up to `range` ids; 0: none.
    pub(super) fn new(range: u64) -> Self {
        Self { range, state: Mutex::default(), changed: Condvar::new() }
    }

    /// `count` ids, from memory or through `fetch`, which gives as many as it is asked for.
    ///
    /// Ids left over when more are wanted than are left go on to be given out where the new ones follow them; else the
    /// longer of the two rests is kept, and the other is lost.
    ///
    /// # Errors
    ///
    /// `Invalid` for a count of 0, and those of the call that the caller has made or waited for.
    pub(super) fn take(
        &self,
        count: u64,
        fetch: impl FnOnce(u64) -> Result<RangeInclusive<u64>, Error>,
    ) -> Result<RangeInclusive<u64>, Error> {
        if count == 0 {
            return Err(Error::Invalid("a count of 0 asks for nothing".into()));
        }
        if self.range == 0 {
            return fetch(count);
        }
        let mut state = self.lock();
        loop {
            if let Some(ids) = state.take(count) {
                return Ok(ids);
            }
            if !state.fetch_runs {
                break;
            }
            let awaited = state.fetches;
            // As long as a call takes, and a call keeps its timeout.
            while state.fetch_runs && state.fetches == awaited {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
        }
        state.fetch_runs = true;
        drop(state);
        let fetch_ends = FetchEnds(self);
        let fetched = fetch(count.max(self.range));
        let mut state = self.lock();
        let ids = fetched.inspect_err(|error| state.failure = Some(error.clone())).map(|fetched| {
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
    use std::time::Duration;
    use std::{panic, thread};

    use super::*;

    /// A PD's counter; it gives out what it is asked for.
    fn counter(next: &AtomicU64, count: u64) -> Result<RangeInclusive<u64>, Error> {
        let first = next.fetch_add(count, Ordering::Relaxed);
        Ok(first..=first + (count - 1))
    }

    #[test]
    fn ids_come_from_memory_until_too_few_are_left() {
        let (ids, next) = (IdRanges::new(10), AtomicU64::new(1));
        let take = |count| ids.take(count, |count| counter(&next, count)).unwrap();
        assert_eq!((take(4), take(6)), (1..=4, 5..=10));
        assert_eq!(next.load(Ordering::Relaxed), 11, "one call");
        assert_eq!(take(8), 11..=18);
        assert_eq!(take(3), 19..=21, "the new range follows what was left");
        assert_eq!(take(25), 22..=46);
        next.store(100, Ordering::Relaxed);
        assert_eq!(take(6), 47..=52);
        assert_eq!(take(1), 53..=53);
        assert_eq!(take(9), 100..=108, "another client got ids meanwhile");
        assert_eq!(take(1), 54..=54, "the longer rest is kept");
        assert!(matches!(ids.take(0, |_| unreachable!()), Err(Error::Invalid(_))));
    }

    #[test]
    fn the_last_ids_there_are_do_not_wrap() {
        let ids = IdRanges::new(10);
        assert_eq!(ids.take(7, |_| Ok(u64::MAX - 9..=u64::MAX)).unwrap(), u64::MAX - 9..=u64::MAX - 3);
        let no_more = || Error::Invalid("no value is left".into());
        assert_eq!(ids.take(4, |_| Err(no_more())), Err(no_more()));
        assert_eq!(ids.take(3, |_| unreachable!()).unwrap(), u64::MAX - 2..=u64::MAX);
    }

    #[test]
    fn without_a_range_each_request_is_a_call() {
        let (ids, next) = (IdRanges::new(0), AtomicU64::new(1));
        for first in [1, 3, 5] {
            assert_eq!(ids.take(2, |count| counter(&next, count)).unwrap(), first..=first + 1);
        }
    }

    #[test]
    fn those_who_come_during_a_call_share_it_and_its_failure() {
        let (ids, next) = (IdRanges::new(100), AtomicU64::new(1));
        let failure = || Error::Unreachable { addrs: String::new(), waited: Duration::ZERO };
        for fails in [true, false] {
            let (started, starts) = crossbeam_channel::unbounded();
            let (release, released) = crossbeam_channel::bounded::<()>(1);
            let mut got = Vec::new();
            thread::scope(|scope| {
                let fetcher = scope.spawn(|| {
                    ids.take(1, |count| {
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
                            ids.take(1, |_| Err(Error::Closed))
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
        let (ids, next) = (IdRanges::new(10), AtomicU64::new(1));
        let fetch = || ids.take(1, |_| panic!("as a test wants"));
        assert!(panic::catch_unwind(panic::AssertUnwindSafe(fetch)).is_err());
        assert_eq!(ids.take(1, |count| counter(&next, count)).unwrap(), 1..=1);
    }
}
