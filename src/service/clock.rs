//! The time by which the placement driver dates what it hears.

use std::time::{Duration, Instant};

/// A clock that never goes back. The placement driver dates store heartbeats by it and tells their ages; nothing else: the
/// pace of the disk's writes is always the machine's.
pub trait Clock: Send + Sync {
    /// The time since some moment that stays the same for the clock's life.
    fn now(&self) -> Duration;
}

/// The machine's own monotonic clock, which starts with it.
pub(super) struct MachineClock {
    born: Instant,
}

impl MachineClock {
    pub(super) fn new() -> Self {
        Self { born: Instant::now() }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.born.elapsed()
    }
}
