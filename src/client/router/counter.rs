//! A counter that many threads raise at once, each on a cache line of its own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More threads than these share lines, which costs time and nothing else.
const LINES: usize = 16;

/// A sum.
#[derive(Debug, Default)]
pub(super) struct Counter {
    lines: [Line; LINES],
}

/// Two lines in fact: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Counter {
    pub(super) fn raise(&self) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LINES;
        }
        // A thread that ends has no number any more.
        let own = OWN.try_with(|own| *own).unwrap_or_default();
        self.lines[own].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.lines.iter().map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_thread_counts() {
        let counter = Counter::default();
        thread::scope(|scope| {
            (0..2 * LINES).for_each(|_| drop(scope.spawn(|| (0..1000).for_each(|_| counter.raise()))));
        });
        assert_eq!(counter.sum(), 1000 * u64::try_from(2 * LINES).unwrap());
    }
}
