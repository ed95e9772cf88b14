//! The windows of the allocators under simulated load: how often the limits are written, who waits, what a crash skips.

use std::time::Duration;

use crate::core::allocator::{EXCESS_WINDOWS, WINDOW_MIN};
use crate::core::{Allocators, Kind, Limits, Refill, Take};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Allocators and their writer, in steps of a millisecond.
struct Simulation {
    allocators: Allocators<()>,
    ms: u64,
    /// How long a write takes.
    write_ms: u64,
    /// The limits that are being written, and when they will be durable.
    writing: Option<(Limits, u64)>,
    /// When the writer looks next; `None`: once it is poked.
    next_look: Option<u64>,
    waiting: usize,
    /// When each write began.
    writes: Vec<u64>,
    /// When each request was parked.
    parked: Vec<u64>,
    /// Timestamps that a crash at each millisecond had skipped.
    skipped: Vec<u64>,
}

impl Simulation {
    fn new(write_ms: u64) -> Self {
        Self {
            allocators: Allocators::durable(Limits { ids: 100, timestamps: 100 }),
            ms: 0,
            write_ms,
            writing: None,
            next_look: None,
            waiting: 0,
            writes: Vec::new(),
            parked: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Runs until `end_ms`: the requests of each millisecond have the counts of `load`, and are not sent while `callers`
    /// earlier ones wait.
    fn run<I: IntoIterator<Item = u64>>(&mut self, end_ms: u64, callers: usize, mut load: impl FnMut(u64) -> I) {
        while self.ms < end_ms {
            for count in load(self.ms) {
                if self.waiting < callers {
                    self.take(Kind::Timestamp, count);
                }
                self.write();
            }
            self.write();
            self.allocators.check_invariants();
            self.skipped.push(self.allocators.limits().timestamps - self.allocators.issued().timestamps);
            self.ms += 1;
        }
    }

    fn take(&mut self, kind: Kind, count: u64) {
        let poke = match self.allocators.take(kind, count, || ()).unwrap() {
            Take::Given { poke, .. } => poke,
            Take::Parked { poke } => {
                self.waiting += 1;
                self.parked.push(self.ms);
                poke
            }
        };
        if poke {
            self.next_look = Some(self.ms);
        }
    }

    fn write(&mut self) {
        if let Some((limits, _)) = self.writing.take_if(|(_, done)| *done <= self.ms) {
            self.waiting -= self.allocators.raise(limits, at(self.ms)).len();
            self.next_look = Some(self.ms);
        }
        while self.writing.is_none() && self.next_look.is_some_and(|look| look <= self.ms) {
            match self.allocators.refill(at(self.ms)) {
                Refill::None => self.next_look = None,
                Refill::NotBefore(wait) => self.next_look = Some(self.ms + u64::try_from(wait.as_millis()).unwrap()),
                Refill::Write(limits) => {
                    self.writes.push(self.ms);
                    self.writing = Some((limits, self.ms + self.write_ms));
                }
            }
        }
    }

    /// The most writes that began within a second, from `start_ms` on.
    fn writes_per_second(&self, start_ms: u64) -> usize {
        let within = |first: u64| self.writes.iter().filter(|&&ms| (first..first + 1000).contains(&ms)).count();
        self.writes.iter().copied().filter(|&ms| ms >= start_ms).map(within).max().unwrap_or(0)
    }

    /// The most that a crash had skipped, from `start_ms` on.
    fn most_skipped(&self, start_ms: usize) -> u64 {
        self.skipped[start_ms..].iter().copied().max().unwrap()
    }
}

/// Counts from 1 to 2^20, always the same ones.
fn ragged() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 44) + 1
    }
}

#[test]
fn a_steady_rate_takes_two_writes_a_second_and_never_waits() {
    for (rate, write_ms) in [(1, 0), (10, 1), (1000, 0), (1000, 20), (1000, 200), (100_000, 20)] {
        let mut simulation = Simulation::new(write_ms);
        simulation.run(10_000, usize::MAX, |_| [rate]);
        let what = format!("{rate} a ms, a write of {write_ms} ms");
        assert!(simulation.writes_per_second(1000) <= 2, "{:?} at {what}", simulation.writes);
        assert!(simulation.parked.iter().all(|&ms| ms < 1000), "{:?} at {what}", simulation.parked);
        let skipped = simulation.most_skipped(2000);
        assert!(skipped <= (rate * 1200).max(2 * WINDOW_MIN), "{skipped} skipped at {what}");
    }
}

#[test]
fn a_steep_start_takes_few_writes_and_then_two_a_second() {
    let mut count = ragged();
    for write_ms in [1, 5, 20] {
        for (callers, per_ms) in [(1, 20), (8, 20), (8, 2), (64, 100)] {
            for is_ragged in [false, true] {
                let mut simulation = Simulation::new(write_ms);
                let mut count = || if is_ragged { count() } else { 1 << 20 };
                simulation.run(6000, callers, |_| (0..per_ms).map(|_| count()).collect::<Vec<_>>());
                let what = format!("{callers} callers, {per_ms} a ms, a write of {write_ms} ms");
                assert!(simulation.writes_per_second(0) <= 5, "{:?}: {what}", simulation.writes);
                assert!(simulation.writes_per_second(1000) <= 2, "{:?}: {what}", simulation.writes);
                assert!(simulation.parked.iter().all(|&ms| ms < 1000), "{what}");
                assert!(simulation.most_skipped(2000) <= (per_ms * 1200) << 20, "{what}");
            }
        }
    }
}

#[test]
fn rare_ragged_counts_and_spikes_take_two_writes_a_second_and_a_surprise_one_more() {
    let mut count = ragged();
    let mut simulation = Simulation::new(5);
    simulation.run(20_000, 8, |ms| (ms % 20 == 0).then(&mut count));
    assert!(simulation.writes_per_second(1000) <= 2, "{:?}", simulation.writes);
    for period in [300, 700, 1000, 1300, 2000, 3000] {
        let mut simulation = Simulation::new(5);
        simulation.run(30_000, 8, |ms| [1].into_iter().chain((ms % period == 0).then_some(1 << 20)));
        // A spike that comes when what the last one set aside was taken back cannot wait.
        let most = if period <= 1000 { 2 } else { 3 };
        assert!(simulation.writes_per_second(1000) <= most, "every {period} ms: {:?}", simulation.writes);
        assert!(simulation.writes.len() <= 60, "every {period} ms: {:?}", simulation.writes);
    }
}

#[test]
fn a_rate_that_falls_leaves_little_set_aside_two_seconds_later() {
    let excess = |rate: u64| EXCESS_WINDOWS * (500 * rate).max(WINDOW_MIN);
    for (high, low) in [(1_000_000, 0), (1000, 0), (1_000_000, 1), (1 << 30, 1000), (100, 10)] {
        for write_ms in [1, 20] {
            let mut simulation = Simulation::new(write_ms);
            simulation.run(2300, 8, |_| [high]);
            simulation.run(12_000, 8, |_| (low > 0).then_some(low));
            let skipped = simulation.most_skipped(4300);
            assert!(skipped <= excess(low), "{skipped} skipped after {high} and then {low} a ms");
            assert!(simulation.writes_per_second(1000) <= 2, "{high}, {low}: {:?}", simulation.writes);
            simulation.run(20_000, 8, |_| None);
            assert!(simulation.most_skipped(14_000) <= excess(0));
            assert_eq!(simulation.next_look, None, "an idle writer sleeps");
        }
    }
}

#[test]
fn a_burst_that_ends_within_its_ramp_is_taken_back() {
    for burst_ms in [1, 2, 10, 50, 300, 700] {
        let mut simulation = Simulation::new(2);
        simulation.run(burst_ms, 8, |_| [1 << 20; 20]);
        simulation.run(burst_ms + 6000, 8, |_| None);
        let skipped = simulation.most_skipped(usize::try_from(burst_ms).unwrap() + 2000);
        assert!(skipped <= EXCESS_WINDOWS * WINDOW_MIN, "{skipped} skipped after {burst_ms} ms");
        assert_eq!(simulation.next_look, None, "an idle writer sleeps");
    }
}

#[test]
fn a_lower_limit_is_written_again_when_the_disk_was_full() {
    let mut simulation = Simulation::new(0);
    simulation.run(2000, 8, |_| [1000]);
    let refused = loop {
        match simulation.allocators.refill(at(simulation.ms)) {
            Refill::Write(lower) if lower.timestamps < simulation.allocators.issued().timestamps + 3000 => {
                break lower;
            }
            Refill::Write(limits) => drop(simulation.allocators.raise(limits, at(simulation.ms))),
            Refill::NotBefore(_) => {}
            Refill::None => panic!("much is set aside"),
        }
        simulation.ms += 100;
    };
    let now = simulation.ms;
    assert_eq!(simulation.allocators.limits(), refused, "the lower limit binds before it is durable");
    assert!(simulation.allocators.give_up_parked().is_empty());
    assert_eq!(simulation.allocators.refill(at(now)), Refill::NotBefore(at(500)));
    assert_eq!(simulation.allocators.refill(at(now + 500)), Refill::Write(refused));
    simulation.allocators.raise(refused, at(now + 500));
    assert_eq!(simulation.allocators.refill(at(now + 500)), Refill::None);
}

#[test]
fn a_rate_that_rises_at_any_moment_of_a_sample_takes_few_writes_and_then_two_a_second() {
    for rise_ms in (3000..3600).step_by(30) {
        for write_ms in [1, 20] {
            let mut simulation = Simulation::new(write_ms);
            simulation.run(rise_ms, 8, |_| [100]);
            simulation.run(rise_ms + 5000, 8, |_| [1 << 20; 20]);
            let what = format!("from {rise_ms} ms on, a write of {write_ms} ms: {:?}", simulation.writes);
            assert!(simulation.writes_per_second(1000) <= 5, "{what}");
            assert!(simulation.writes_per_second(rise_ms + 1000) <= 2, "{what}");
        }
    }
}
