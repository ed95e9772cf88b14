//! The two allocators: ids and timestamps, each a counter that only rises, below a limit that is durable.
//!
//! The invariants are those of each counter, in `counter.rs`; once frozen, nothing is given out.
//!
//! With less than a window left a counter asks for a refill; the writer raises both limits with one write, to two windows
//! above the last value. A window is half a second's worth at the recent rate, so a crash skips about one second's worth.
//! When the rate has fallen and more than four windows are set aside, the writer lowers the limit to two in the same way, so
//! a crash skips more only within the two seconds after the rate changed. In memory the limit is `u64::MAX` and no refill is
//! ever asked for.
//!
//! The rate is measured in samples of half a second or more while there is something to take back, and at refills.
//!
//! The writer's part: call [`Allocators::refill`] when poked, when the time that `NotBefore` named has come, and after every
//! [`Allocators::raise`] and [`Allocators::give_up_parked`]: requests may have come in while the limits were written.

use std::time::Duration;

use super::counter::Counter;

pub use super::counter::{EXCESS_WINDOWS, PARKED_MAX, WINDOW, WINDOW_MAX, WINDOW_MIN};

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
    /// The disk has no space for a higher limit, or the process no file descriptor.
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
    /// Nothing to do until the next poke.
    None,
    /// It is too early to raise or lower a limit, or to tell whether one is too high: look again after this time.
    NotBefore(Duration),
    /// Make these limits durable, then call [`Allocators::raise`]. One that is lower than before binds already.
    Write(Limits),
}

/// Both counters. `W` is what answers a parked request.
#[derive(Debug)]
pub struct Allocators<W> {
    ids: Counter<W>,
    timestamps: Counter<W>,
    /// When the writer was last told to write, or when that was done.
    last_refill: Option<Duration>,
    /// When both counters' samples of the recent rate began.
    sample_start: Option<Duration>,
    /// A limit was lowered, and the disk may hold the higher one still.
    lowering: bool,
    frozen: bool,
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
            sample_start: None,
            lowering: false,
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
    /// than a window left, has far more than that, or parks a request; it is put off to half a second after the last one
    /// unless a request is parked.
    pub fn refill(&mut self, now: Duration) -> Refill {
        if self.frozen {
            return Refill::None;
        }
        self.measure(now);
        let counters = [&self.ids, &self.timestamps];
        let parks = counters.iter().any(|counter| counter.has_parked());
        let is_due = self.lowering || counters.iter().any(|counter| counter.is_due() || counter.has_excess());
        let wait = self.last_refill.map_or(Duration::ZERO, |last| (last + WINDOW).saturating_sub(now));
        if parks || (is_due && wait.is_zero()) {
            return Refill::Write(self.begin_refill(now));
        }
        let may_have_excess = counters.iter().any(|counter| counter.may_have_excess());
        for counter in [&mut self.ids, &mut self.timestamps] {
            match counter.is_due() {
                true => counter.stop_poking(),
                false => counter.listen(),
            }
        }
        match self.sample_start {
            _ if is_due => Refill::NotBefore(wait),
            Some(start) if may_have_excess => Refill::NotBefore((start + WINDOW).saturating_sub(now)),
            _ => Refill::None,
        }
    }

    /// Fits the windows to the recent rate.
    fn measure(&mut self, now: Duration) {
        let since = |time: Option<Duration>| time.map_or(Duration::MAX, |time| now.saturating_sub(time));
        let (sample, since_refill) = (since(self.sample_start), since(self.last_refill));
        for counter in [&mut self.ids, &mut self.timestamps] {
            if sample >= WINDOW {
                counter.end_sample(sample);
            }
            if since_refill < WINDOW {
                counter.extrapolate(since_refill);
            }
        }
        if sample >= WINDOW {
            self.sample_start = Some(now);
        }
    }

    fn begin_refill(&mut self, now: Duration) -> Limits {
        let before = self.limits();
        let next = Limits { ids: self.ids.begin_refill(), timestamps: self.timestamps.begin_refill() };
        self.lowering |= next.ids < before.ids || next.timestamps < before.timestamps;
        self.last_refill = Some(now);
        next
    }

    /// Makes `limits`, which are durable now, usable. Returns the parked requests that fit, each counter's in the order they
    /// came, each with its first value.
    pub fn raise(&mut self, limits: Limits, now: Duration) -> Vec<(W, u64)> {
        self.last_refill = Some(now);
        self.lowering = false;
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
            waiters.extend(counter.give_up_parked());
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
        Limits { ids: self.ids.issued(), timestamps: self.timestamps.issued() }
    }

    /// The limits: nothing above them is given out, and what is durable is no less.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { ids: self.ids.limit(), timestamps: self.timestamps.limit() }
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        for counter in [&self.ids, &self.timestamps] {
            counter.check_invariants();
        }
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
    fn limits_that_are_lower_than_before_change_nothing() {
        let mut allocators = Allocators::durable(limits(0, 0));
        ids(&mut allocators, 1, 1).unwrap();
        allocators.raise(limits(5000, 5000), at(0));
        allocators.raise(limits(10, 0), at(1));
        assert_eq!(allocators.limits(), limits(5000, 5000));
        assert_eq!(ids(&mut allocators, 4999, 2), Ok(Take::Given { first: 2, poke: true }));
        allocators.check_invariants();
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
}
