//! The two allocators: ids and timestamps, each a counter that only rises, below a limit that is durable.
//!
//! Invariants, asserted by [`Allocators::check_invariants`], for each counter:
//!
//! - `issued <= limit`; `limit` is at most what the disk holds, `issued` is the last value given out (0: none yet)
//! - neither ever falls, and neither wraps: at the end of u64 a request is refused and nothing moves
//! - while requests are parked, no later request overtakes them
//!
//! With less than a window left a counter asks for a refill; the writer raises both limits with one write, to two windows
//! above the last value. A window is half a second's worth at the recent rate, so a crash skips about one second's worth at
//! most. In memory the limit is `u64::MAX` and no refill is ever asked for.
//!
//! The writer's part: call [`Allocators::refill`] when poked, when the time that `NotBefore` named has come, and after every
//! [`Allocators::raise`]: requests may have come in while the limits were written.

use std::collections::VecDeque;
use std::time::Duration;

/// The smallest window, in values.
pub const WINDOW_MIN: u64 = 1024;
/// The largest window, in values, so that a few huge requests cannot make a crash skip a good part of the 64 bits.
pub const WINDOW_MAX: u64 = 1 << 40;
/// How much time a window should last at the recent rate.
pub const WINDOW: Duration = Duration::from_millis(500);
/// Requests that may wait for a refill, per counter.
pub const PARKED_MAX: usize = 65_536;

/// Which of the two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Id,
    Timestamp,
}

/// A value for each counter: the last one given out, or the last one that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub ids: u64,
    pub timestamps: u64,
}

/// Why an allocation was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// Fewer values are left in the 64 bits than were asked for.
    Exhausted { left: u64 },
    /// Too many requests wait for a refill already.
    TooManyWaiting,
    /// The disk has no space for a higher limit.
    NoSpace,
    /// The server stops, or its disk has failed.
    Stopped,
}

/// The answer to [`Allocators::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum Take {
    /// The values `first ..= first + count - 1`. With `poke`, the writer wants to be told that a refill is due.
    Given { first: u64, poke: bool },
    /// The waiter is kept, and answered by a later refill.
    Parked { poke: bool },
}

/// What the writer has to do for the allocators now.
#[derive(Debug, PartialEq, Eq)]
pub enum Refill {
    /// Nothing is low.
    None,
    /// Something is low, but the last refill is too fresh: look again after this time.
    NotBefore(Duration),
    /// Make these limits durable, then call [`Allocators::raise`].
    Write(Limits),
}

/// Both counters. `W` is what answers a parked request.
#[derive(Debug)]
pub struct Allocators<W> {
    ids: Counter<W>,
    timestamps: Counter<W>,
    /// When the writer was last told to write, or when that was done.
    last_refill: Option<Duration>,
    frozen: bool,
}

/// One of the two counters.
#[derive(Debug)]
struct Counter<W> {
    issued: u64,
    limit: u64,
    /// A request that leaves `issued` above this pokes the writer; `u64::MAX` while the writer knows already.
    poke_above: u64,
    /// Whether a request came since the start; a counter that is not in use needs no window.
    in_use: bool,
    window: u64,
    /// Since when, and from which value on, the recent rate is measured.
    sample_start: Duration,
    sample_issued: u64,
    parked: VecDeque<Parked<W>>,
    /// The sum of the counts in `parked`.
    parked_values: u64,
}

#[derive(Debug)]
struct Parked<W> {
    count: u64,
    waiter: W,
}

impl<W> Allocators<W> {
    /// Allocators without a disk behind them: the first values given are `issued + 1`, and no refill is ever asked for.
    #[must_use]
    pub fn unbounded(issued: Limits) -> Self {
        Self::new(issued, Limits { ids: u64::MAX, timestamps: u64::MAX })
    }

    /// Allocators that may give nothing until the first refill.
    #[must_use]
    pub fn durable(issued: Limits) -> Self {
        Self::new(issued, issued)
    }

    fn new(issued: Limits, limits: Limits) -> Self {
        Self {
            ids: Counter::new(issued.ids, limits.ids),
            timestamps: Counter::new(issued.timestamps, limits.timestamps),
            last_refill: None,
            frozen: false,
        }
    }

    /// Takes `count` (at least 1) values, or parks the waiter that `waiter` builds.
    ///
    /// # Errors
    ///
    /// `Stopped` after [`Allocators::freeze`], `Exhausted` when the values do not exist (those that parked requests will get
    /// are counted as given), `TooManyWaiting`.
    ///
    /// # Panics
    ///
    /// When `count` is 0.
    pub fn take(&mut self, kind: Kind, count: u64, waiter: impl FnOnce() -> W) -> Result<Take, AllocError> {
        assert!(count > 0, "a request for no value has no first value");
        if self.frozen {
            return Err(AllocError::Stopped);
        }
        match kind {
            Kind::Id => self.ids.take(count, waiter),
            Kind::Timestamp => self.timestamps.take(count, waiter),
        }
    }

    /// Tells the writer what to do at `now` (time since the process started). A refill is due when a counter in use has less
    /// than a window left or parks a request; it is put off to half a second after the last one unless a request is parked.
    pub fn refill(&mut self, now: Duration) -> Refill {
        let counters = [&mut self.ids, &mut self.timestamps];
        if self.frozen || !counters.iter().any(|counter| counter.is_due()) {
            return Refill::None;
        }
        let parks = counters.iter().any(|counter| !counter.parked.is_empty());
        let wait = self.last_refill.map_or(Duration::ZERO, |last| (last + WINDOW).saturating_sub(now));
        for counter in counters {
            counter.poke_above = u64::MAX;
            if wait.is_zero() || parks {
                counter.measure(now);
            }
        }
        if !wait.is_zero() && !parks {
            return Refill::NotBefore(wait);
        }
        self.last_refill = Some(now);
        Refill::Write(Limits { ids: self.ids.next_limit(), timestamps: self.timestamps.next_limit() })
    }

    /// Makes `limits`, which are durable now, usable. Returns the parked requests that fit, each counter's in the order they
    /// came, each with its first value.
    pub fn raise(&mut self, limits: Limits, now: Duration) -> Vec<(W, u64)> {
        self.last_refill = Some(now);
        let mut served = Vec::new();
        self.ids.raise(limits.ids, &mut served);
        self.timestamps.raise(limits.timestamps, &mut served);
        served
    }

    /// Gives up the parked requests: the disk has no space for a higher limit. What is left below the limit stays usable,
    /// and the next request that does not fit parks and asks again.
    pub fn give_up_parked(&mut self) -> Vec<W> {
        let mut waiters = Vec::new();
        for counter in [&mut self.ids, &mut self.timestamps] {
            waiters.extend(counter.parked.drain(..).map(|parked| parked.waiter));
            counter.parked_values = 0;
            counter.listen();
        }
        waiters
    }

    /// Gives out nothing from now on (every later `take` is `Stopped`). Returns the parked requests.
    pub fn freeze(&mut self) -> Vec<W> {
        self.frozen = true;
        self.give_up_parked()
    }

    /// The last values given out.
    #[must_use]
    pub fn issued(&self) -> Limits {
        Limits { ids: self.ids.issued, timestamps: self.timestamps.issued }
    }

    /// What is durable: nothing above it is given out.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { ids: self.ids.limit, timestamps: self.timestamps.limit }
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        for counter in [&self.ids, &self.timestamps] {
            assert!(counter.issued <= counter.limit, "{} given out above {}", counter.issued, counter.limit);
            assert!((WINDOW_MIN..=WINDOW_MAX).contains(&counter.window), "a window of {}", counter.window);
            assert!(counter.sample_issued <= counter.issued, "a counter fell");
            assert!(counter.parked.len() <= PARKED_MAX, "{} requests are parked", counter.parked.len());
            let values = counter.parked.iter().map(|parked| u128::from(parked.count)).sum::<u128>();
            assert_eq!(u128::from(counter.parked_values), values, "the sum of the parked requests");
            assert!(
                u128::from(counter.issued) + values <= u128::from(u64::MAX),
                "a parked request can never be served"
            );
            let first = counter.parked.front();
            assert!(first.is_none_or(|first| first.count > counter.limit - counter.issued), "a parked request fits");
            assert!(counter.in_use || first.is_none(), "a request is parked on a counter that is not in use");
        }
    }
}

impl<W> Counter<W> {
    fn new(issued: u64, limit: u64) -> Self {
        let mut counter = Self {
            issued,
            limit,
            poke_above: 0,
            in_use: false,
            window: WINDOW_MIN,
            sample_start: Duration::ZERO,
            sample_issued: issued,
            parked: VecDeque::new(),
            parked_values: 0,
        };
        counter.listen();
        counter
    }

    fn take(&mut self, count: u64, waiter: impl FnOnce() -> W) -> Result<Take, AllocError> {
        let left = u64::MAX - self.issued - self.parked_values;
        if count > left {
            return Err(AllocError::Exhausted { left });
        }
        if self.parked.is_empty() && count <= self.limit - self.issued {
            self.in_use = true;
            let poke = self.issued + count > self.poke_above;
            if poke {
                self.poke_above = u64::MAX;
            }
            return Ok(Take::Given { first: self.give(count), poke });
        }
        if self.parked.len() >= PARKED_MAX {
            return Err(AllocError::TooManyWaiting);
        }
        self.in_use = true;
        self.parked.push_back(Parked { count, waiter: waiter() });
        self.parked_values += count;
        Ok(Take::Parked { poke: self.parked.len() == 1 })
    }

    /// Gives out `count` values, which are below the limit. Returns the first.
    fn give(&mut self, count: u64) -> u64 {
        let first = self.issued + 1;
        self.issued += count;
        first
    }

    fn is_due(&self) -> bool {
        self.in_use && self.limit < u64::MAX && (self.limit - self.issued < self.window || !self.parked.is_empty())
    }

    /// Pokes the writer again, once the next request leaves less than a window.
    fn listen(&mut self) {
        self.poke_above = if self.limit == u64::MAX { u64::MAX } else { self.limit.saturating_sub(self.window) };
    }

    /// Fits the window to the recent rate: the values given out in the last half second or more. A burst within less time
    /// only widens it, as if it were all that comes in half a second.
    fn measure(&mut self, now: Duration) {
        let given = self.issued - self.sample_issued;
        let elapsed = now.saturating_sub(self.sample_start);
        if elapsed < WINDOW {
            self.window = self.window.max(given.min(WINDOW_MAX));
            return;
        }
        let half_second = u128::from(given) * WINDOW.as_nanos() / elapsed.as_nanos();
        self.window = u64::try_from(half_second).unwrap_or(WINDOW_MAX).clamp(WINDOW_MIN, WINDOW_MAX);
        (self.sample_start, self.sample_issued) = (now, self.issued);
    }

    /// The limit that a refill raises to.
    fn next_limit(&self) -> u64 {
        if !self.in_use {
            return self.limit;
        }
        let for_parked = self.issued.saturating_add(self.parked_values).saturating_add(self.window);
        self.limit.max(self.issued.saturating_add(2 * self.window)).max(for_parked)
    }

    fn raise(&mut self, limit: u64, served: &mut Vec<(W, u64)>) {
        self.limit = self.limit.max(limit);
        while let Some(parked) = self.parked.pop_front_if(|parked| parked.count <= self.limit - self.issued) {
            self.parked_values -= parked.count;
            let first = self.give(parked.count);
            served.push((parked.waiter, first));
        }
        self.listen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn limits(ids: u64, timestamps: u64) -> Limits {
        Limits { ids, timestamps }
    }

    fn ids(allocators: &mut Allocators<u32>, count: u64, waiter: u32) -> Result<Take, AllocError> {
        allocators.take(Kind::Id, count, || waiter)
    }

    #[test]
    fn in_memory_the_first_value_follows_the_last_and_nothing_is_asked_for() {
        let mut allocators = Allocators::unbounded(limits(9, 0));
        assert_eq!(ids(&mut allocators, 5, 0), Ok(Take::Given { first: 10, poke: false }));
        assert_eq!(allocators.take(Kind::Timestamp, 1, || 0), Ok(Take::Given { first: 1, poke: false }));
        assert_eq!(allocators.refill(at(0)), Refill::None);
        assert_eq!(allocators.issued(), limits(14, 1));
    }

    #[test]
    fn the_last_value_is_given_once_and_the_counter_never_wraps() {
        let mut allocators = Allocators::unbounded(limits(u64::MAX - 3, 0));
        assert_eq!(ids(&mut allocators, 4, 0), Err(AllocError::Exhausted { left: 3 }));
        assert_eq!(ids(&mut allocators, u64::MAX, 0), Err(AllocError::Exhausted { left: 3 }));
        assert_eq!(ids(&mut allocators, 3, 0), Ok(Take::Given { first: u64::MAX - 2, poke: false }));
        assert_eq!(ids(&mut allocators, 1, 0), Err(AllocError::Exhausted { left: 0 }));
        assert_eq!(allocators.issued().ids, u64::MAX);
        assert_eq!(allocators.take(Kind::Timestamp, u64::MAX, || 0), Ok(Take::Given { first: 1, poke: false }));
        allocators.check_invariants();
    }

    #[test]
    fn a_counter_takes_its_first_window_at_its_first_call() {
        let mut allocators = Allocators::durable(limits(10, 20));
        assert_eq!(allocators.refill(at(0)), Refill::None);
        assert_eq!(ids(&mut allocators, 1, 7), Ok(Take::Parked { poke: true }));
        assert_eq!(allocators.refill(at(0)), Refill::Write(limits(10 + 2048, 20)));
        assert_eq!(allocators.raise(limits(10 + 2048, 20), at(1)), [(7, 11)]);
        assert_eq!(allocators.refill(at(1)), Refill::None);
        assert_eq!(ids(&mut allocators, 1023, 0), Ok(Take::Given { first: 12, poke: false }));
        assert_eq!(ids(&mut allocators, 1, 0), Ok(Take::Given { first: 1035, poke: true }));
        assert_eq!(ids(&mut allocators, 1, 0), Ok(Take::Given { first: 1036, poke: false }));
        assert_eq!(allocators.refill(at(1)), Refill::NotBefore(WINDOW));
        assert!(matches!(allocators.refill(at(501)), Refill::Write(_)));
    }

    #[test]
    fn a_later_request_never_overtakes_a_parked_one() {
        let mut allocators = Allocators::durable(limits(0, 0));
        assert_eq!(ids(&mut allocators, 5000, 1), Ok(Take::Parked { poke: true }));
        assert_eq!(allocators.refill(at(0)), Refill::Write(limits(6024, 0)));
        assert_eq!(ids(&mut allocators, 2000, 2), Ok(Take::Parked { poke: false }));
        assert_eq!(ids(&mut allocators, 1, 3), Ok(Take::Parked { poke: false }));
        assert_eq!(allocators.raise(limits(6024, 0), at(1)), [(1, 1)]);
        assert_eq!(ids(&mut allocators, 1, 4), Ok(Take::Parked { poke: false }));
        let Refill::Write(next) = allocators.refill(at(2)) else { panic!("parked requests make a refill due") };
        assert_eq!(allocators.raise(next, at(3)), [(2, 5001), (3, 7001), (4, 7002)]);
        allocators.check_invariants();
    }

    #[test]
    fn a_request_is_refused_when_those_parked_before_it_leave_too_little() {
        let mut allocators = Allocators::durable(limits(u64::MAX - 10, 0));
        assert_eq!(ids(&mut allocators, 8, 1), Ok(Take::Parked { poke: true }));
        assert_eq!(ids(&mut allocators, 3, 2), Err(AllocError::Exhausted { left: 2 }));
        assert_eq!(ids(&mut allocators, 2, 3), Ok(Take::Parked { poke: false }));
        assert_eq!(allocators.refill(at(0)), Refill::Write(limits(u64::MAX, 0)));
        assert_eq!(allocators.raise(limits(u64::MAX, 0), at(0)), [(1, u64::MAX - 9), (3, u64::MAX - 1)]);
        assert_eq!(ids(&mut allocators, 1, 4), Err(AllocError::Exhausted { left: 0 }));
        assert_eq!(allocators.refill(at(9000)), Refill::None);
    }

    #[test]
    fn too_many_waiting_requests_are_refused() {
        let mut allocators = Allocators::durable(limits(0, 0));
        (0..PARKED_MAX).for_each(|_| assert!(ids(&mut allocators, 1, 0).is_ok()));
        assert_eq!(ids(&mut allocators, 1, 0), Err(AllocError::TooManyWaiting));
        assert_eq!(allocators.take(Kind::Timestamp, 1, || 0), Ok(Take::Parked { poke: true }));
        assert_eq!(allocators.give_up_parked().len(), PARKED_MAX + 1);
        assert_eq!(ids(&mut allocators, 1, 0), Ok(Take::Parked { poke: true }));
        allocators.check_invariants();
    }

    #[test]
    fn a_full_disk_is_tried_again_half_a_second_later() {
        let mut allocators = Allocators::durable(limits(0, 0));
        ids(&mut allocators, 1, 1).unwrap();
        let Refill::Write(first) = allocators.refill(at(0)) else { panic!("the first window") };
        allocators.raise(first, at(0));
        ids(&mut allocators, 1500, 2).unwrap();
        assert!(matches!(allocators.refill(at(600)), Refill::Write(_)));
        assert!(allocators.give_up_parked().is_empty());
        assert_eq!(ids(&mut allocators, 1, 3), Ok(Take::Given { first: 1502, poke: true }));
        assert_eq!(allocators.refill(at(700)), Refill::NotBefore(at(400)));
        assert_eq!(ids(&mut allocators, 1000, 4), Ok(Take::Parked { poke: true }));
        assert!(matches!(allocators.refill(at(700)), Refill::Write(_)));
    }

    #[test]
    fn nothing_is_given_out_once_frozen() {
        let mut allocators = Allocators::durable(limits(0, 0));
        ids(&mut allocators, 1, 1).unwrap();
        assert_eq!(allocators.freeze(), [1]);
        assert_eq!(ids(&mut allocators, 1, 2), Err(AllocError::Stopped));
        assert_eq!(allocators.refill(at(0)), Refill::None);
        assert_eq!(allocators.issued(), limits(0, 0));
    }

    /// Ten seconds in steps of a millisecond: `rate(ms)` timestamps and one id a step, a writer that takes `write_ms`.
    /// Returns, for the last eight seconds, the writes, the parked requests, and the most values that a crash had skipped.
    fn simulate(rate: impl Fn(u64) -> u64, write_ms: u64) -> (usize, usize, u64) {
        let mut allocators = Allocators::durable(limits(100, 100));
        let mut in_flight = None;
        let mut next_look = at(0);
        let (mut writes, mut parked, mut skipped_max) = (0, 0, 0);
        for ms in 0..10_000 {
            let counted = ms >= 2000;
            for (kind, count) in [(Kind::Timestamp, rate(ms)), (Kind::Id, 1)] {
                match allocators.take(kind, count, || ()).unwrap() {
                    Take::Given { poke, .. } => next_look = if poke { at(ms) } else { next_look },
                    Take::Parked { poke } => {
                        next_look = if poke { at(ms) } else { next_look };
                        parked += usize::from(counted);
                    }
                }
            }
            if let Some((limits, done)) = in_flight.take_if(|(_, done)| *done <= ms) {
                allocators.raise(limits, at(done));
                next_look = at(ms);
            }
            if in_flight.is_none() && next_look <= at(ms) {
                match allocators.refill(at(ms)) {
                    Refill::None => next_look = Duration::MAX,
                    Refill::NotBefore(wait) => next_look = at(ms) + wait,
                    Refill::Write(limits) => {
                        writes += usize::from(counted);
                        in_flight = Some((limits, ms + write_ms));
                    }
                }
            }
            allocators.check_invariants();
            if counted {
                skipped_max = skipped_max.max(allocators.limits().timestamps - allocators.issued().timestamps);
            }
        }
        (writes, parked, skipped_max)
    }

    #[test]
    fn a_steady_rate_takes_two_writes_a_second_and_never_waits() {
        for (rate, write_ms) in [(1, 0), (10, 1), (1000, 0), (1000, 20), (1000, 200), (100_000, 20)] {
            let (writes, parked, skipped) = simulate(|_| rate, write_ms);
            assert!(writes <= 17, "{writes} writes in 8 s at {rate} a ms, a write of {write_ms} ms");
            assert_eq!(parked, 0, "at {rate} a ms, a write of {write_ms} ms");
            assert!(skipped <= (rate * 1200).max(2 * WINDOW_MIN), "{skipped} skipped at {rate} a ms");
        }
    }

    #[test]
    fn a_rate_that_falls_leaves_no_large_window_for_long() {
        let mut allocators: Allocators<()> = Allocators::durable(limits(0, 0));
        let refill = |allocators: &mut Allocators<()>, ms| match allocators.refill(at(ms)) {
            Refill::Write(limits) => drop(allocators.raise(limits, at(ms))),
            Refill::None | Refill::NotBefore(_) => (),
        };
        for ms in 0..3000 {
            allocators.take(Kind::Timestamp, 1000, || ()).unwrap();
            refill(&mut allocators, ms);
        }
        // What was reserved at the high rate is used up first; then the windows are small again.
        for s in 3..3000 {
            allocators.take(Kind::Timestamp, 1000, || ()).unwrap();
            refill(&mut allocators, s * 1000);
        }
        assert!(allocators.limits().timestamps - allocators.issued().timestamps <= 4 * WINDOW_MIN);
    }
}
