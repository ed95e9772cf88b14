//! The two allocators: ids and timestamps, each a counter that only rises, below a limit that is durable.
//!
//! Invariants, asserted by [`Allocators::check_invariants`], for each counter:
//!
//! - `issued <= limit`; `limit` is at most what the disk holds, `issued` is the last value given out (0: none yet)
//! - neither ever falls, and neither wraps: at the end of u64 a request is refused and nothing moves
//! - while requests are parked, no later request overtakes them
//!
//! With less than a window left a counter asks for a refill; the writer raises both limits with one write. A window is half
//! a second's worth at the recent rate, so a crash skips about one second's worth at most. In memory the limit is
//! `u64::MAX` and no refill is ever asked for.

use std::collections::VecDeque;
use std::time::Duration;

/// The smallest window, in values.
pub const WINDOW_MIN: u64 = 1024;
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
pub struct Allocators<W> {
    _waiter: std::marker::PhantomData<W>,
}

impl<W> Allocators<W> {
    /// Allocators without a disk behind them: the first values given are `issued + 1`, and no refill is ever asked for.
    pub fn unbounded(_issued: Limits) -> Self {
        unimplemented!()
    }
    /// Allocators that may give nothing until the first refill.
    pub fn durable(_issued: Limits) -> Self {
        unimplemented!()
    }
    /// Takes `count` (at least 1) values, or parks the waiter that `waiter` builds.
    pub fn take(&mut self, _kind: Kind, _count: u64, _waiter: impl FnOnce() -> W) -> Result<Take, AllocError> {
        unimplemented!()
    }
    /// Tells the writer what to do at `now` (time since the process started). A refill is due when a counter in use has less
    /// than a window left or parks a request; it is put off to half a second after the last one unless a request is parked.
    pub fn refill(&mut self, _now: Duration) -> Refill {
        unimplemented!()
    }
    /// Makes `limits`, which are durable now, usable. Returns the parked requests that fit, in the order they came, each with
    /// its first value.
    pub fn raise(&mut self, _limits: Limits, _now: Duration) -> Vec<(W, u64)> {
        unimplemented!()
    }
    /// Gives up the parked requests: the disk has no space for a higher limit. What is left below the limit stays usable,
    /// and the next request that does not fit parks and asks again.
    pub fn give_up_parked(&mut self) -> Vec<W> {
        unimplemented!()
    }
    /// Gives out nothing from now on (every later `take` is `Stopped`). Returns the parked requests.
    pub fn freeze(&mut self) -> Vec<W> {
        unimplemented!()
    }
    /// Asserts every invariant of this file.
    pub fn check_invariants(&self) {
        unimplemented!()
    }
    /// The last values given out.
    pub fn issued(&self) -> Limits {
        unimplemented!()
    }
    /// What is durable: nothing above it is given out.
    pub fn limits(&self) -> Limits {
        unimplemented!()
    }
}
