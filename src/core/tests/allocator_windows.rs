//! The windows of the allocators under simulated load: how often the limits are written, who waits, what a crash skips.

use std::time::Duration;

use crate::core::allocator::WINDOW_MIN;
use crate::core::{Allocators, Kind, Limits, Refill, Take};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limits(ids: u64, timestamps: u64) -> Limits {
    Limits { ids, timestamps }
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
