//! One allocator's counter: the last value given out, the durable limit above it, and the requests that wait for a higher one.
//!
//! Invariants, asserted by [`Counter::check_invariants`]:
//!
//! - `issued <= limit`; `limit` is at most what the disk holds, `issued` is the last value given out (0: none yet)
//! - `issued` never falls, and neither wraps: at the end of u64 a request is refused and nothing moves
//! - `limit` falls in memory first: the lower one binds before it is written, so a crash at any time finds `issued` below
//!   what the disk holds
//! - while requests are parked, no later request overtakes them; the first does not fit below the limit, and all of them
//!   fit into the 64 bits
//! - `WINDOW_MIN <= window <= WINDOW_MAX`

use std::collections::VecDeque;
use std::time::Duration;

use super::allocator::{AllocError, Take};

/// The smallest window, in values.
pub const WINDOW_MIN: u64 = 1024;
/// The largest window, in values, so that a few huge requests cannot make a crash skip a good part of the 64 bits.
pub const WINDOW_MAX: u64 = 1 << 40;
/// How much time a window should last at the recent rate.
pub const WINDOW: Duration = Duration::from_millis(500);
/// How many windows may be set aside above the last value before some are taken back.
pub const EXCESS_WINDOWS: u64 = 4;
/// The shortest time that a rate is taken from: what comes in less says little about half a second.
const RATE_TIME_MIN: Duration = Duration::from_millis(10);
/// Requests that may wait for a refill, per counter.
pub const PARKED_MAX: usize = 65_536;

/// A counter. `W` is what answers a parked request.
#[derive(Debug)]
pub struct Counter<W> {
    issued: u64,
    limit: u64,
    /// A request that leaves `issued` above this pokes the writer; `u64::MAX` while the writer knows already.
    poke_above: u64,
    /// Whether a request came since the start; a counter that is not in use needs no window.
    in_use: bool,
    window: u64,
    /// `issued` when the sample under way began.
    sample_issued: u64,
    /// Half a second's worth in the sample before, or at a steeper rate found since.
    last_sample: u64,
    /// `issued` at the last refill, once that had served what was parked.
    refill_issued: u64,
    parked: VecDeque<Parked<W>>,
    /// The sum of the counts in `parked`.
    parked_values: u64,
}

#[derive(Debug)]
struct Parked<W> {
    count: u64,
    waiter: W,
}

impl<W> Counter<W> {
    pub fn new(issued: u64, limit: u64) -> Self {
        let mut counter = Self {
            issued,
            limit,
            poke_above: 0,
            in_use: false,
            window: WINDOW_MIN,
            sample_issued: issued,
            last_sample: 0,
            refill_issued: issued,
            parked: VecDeque::new(),
            parked_values: 0,
        };
        counter.listen();
        counter
    }

    pub fn take(&mut self, count: u64, waiter: impl FnOnce() -> W) -> Result<Take, AllocError> {
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

    pub fn is_due(&self) -> bool {
        self.in_use && self.limit < u64::MAX && (self.limit - self.issued < self.window || !self.parked.is_empty())
    }

    /// Whether a crash would skip far more than a second's worth at the recent rate.
    pub fn has_excess(&self) -> bool {
        self.exceeds(self.window)
    }

    /// Whether it would if no more requests came.
    pub fn may_have_excess(&self) -> bool {
        self.exceeds(WINDOW_MIN)
    }

    fn exceeds(&self, window: u64) -> bool {
        self.limit < u64::MAX && self.limit - self.issued > EXCESS_WINDOWS * window
    }

    /// Pokes the writer once the next request leaves less than a window.
    pub fn listen(&mut self) {
        self.poke_above = if self.limit == u64::MAX { u64::MAX } else { self.limit.saturating_sub(self.window) };
    }

    /// Ends the sample that lasted `elapsed`, at least half a second, and fits the window to it and the one before: a pause
    /// in one of them is not a lower rate yet. What is parked belongs to the next.
    pub fn end_sample(&mut self, elapsed: Duration) {
        let sample = half_second(self.issued - self.sample_issued, elapsed);
        self.window = sample.max(self.last_sample).max(WINDOW_MIN);
        (self.last_sample, self.sample_issued) = (sample, self.issued);
    }

    /// Widens the window when requests are parked so soon after the last refill: they and what was given out since go on at
    /// that rate. The sample under way may be too long to show it, and the one after it takes back what this adds too much.
    pub fn extrapolate(&mut self, since_refill: Duration) {
        if !self.parked.is_empty() {
            let asked = self.issued - self.refill_issued + self.parked_values;
            let rate = half_second(asked, since_refill.max(RATE_TIME_MIN));
            self.window = self.window.max(rate);
            self.last_sample = self.last_sample.max(rate);
        }
    }

    /// The limit that a refill brings. One that is lower than before binds from here on.
    pub fn begin_refill(&mut self) -> u64 {
        self.poke_above = u64::MAX;
        self.refill_issued = self.issued;
        if !self.in_use {
            return self.limit;
        }
        let for_parked = self.issued.saturating_add(self.parked_values).saturating_add(self.window);
        let wanted = self.issued.saturating_add(2 * self.window).max(for_parked);
        if self.has_excess() {
            self.limit = self.limit.min(wanted);
        }
        self.limit.max(wanted)
    }

    pub fn raise(&mut self, limit: u64, served: &mut Vec<(W, u64)>) {
        self.limit = self.limit.max(limit);
        while let Some(parked) = self.parked.pop_front_if(|parked| parked.count <= self.limit - self.issued) {
            self.parked_values -= parked.count;
            let first = self.give(parked.count);
            served.push((parked.waiter, first));
        }
        self.refill_issued = self.issued;
        self.listen();
    }

    /// Forgets the parked requests. Returns their waiters.
    pub fn give_up_parked(&mut self) -> impl Iterator<Item = W> {
        self.parked_values = 0;
        self.listen();
        std::mem::take(&mut self.parked).into_iter().map(|parked| parked.waiter)
    }

    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The last value given out.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// The last value that may be given out.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Says that the writer knows what is due.
    pub fn stop_poking(&mut self) {
        self.poke_above = u64::MAX;
    }

    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        assert!(self.issued <= self.limit, "{} given out above {}", self.issued, self.limit);
        assert!((WINDOW_MIN..=WINDOW_MAX).contains(&self.window), "a window of {}", self.window);
        assert!(self.sample_issued.max(self.refill_issued) <= self.issued, "a counter fell");
        assert!(self.parked.len() <= PARKED_MAX, "{} requests are parked", self.parked.len());
        let values = self.parked.iter().map(|parked| u128::from(parked.count)).sum::<u128>();
        assert_eq!(u128::from(self.parked_values), values, "the sum of the parked requests");
        assert!(u128::from(self.issued) + values <= u128::from(u64::MAX), "a parked request can never be served");
        let first = self.parked.front();
        assert!(first.is_none_or(|first| first.count > self.limit - self.issued), "a parked request fits");
        assert!(self.in_use || first.is_none(), "a request is parked on a counter that is not in use");
    }
}

/// How much of `count` in `time` comes in half a second, at most [`WINDOW_MAX`].
fn half_second(count: u64, time: Duration) -> u64 {
    let worth = u128::from(count) * WINDOW.as_nanos() / time.as_nanos();
    u64::try_from(worth).map_or(WINDOW_MAX, |worth| worth.min(WINDOW_MAX))
}
