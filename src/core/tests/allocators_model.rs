//! The allocators against two plain queues: whatever moment refills come at, values are given in the order of the requests,
//! each once, below what is durable.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use crate::core::allocator::{EXCESS_WINDOWS, WINDOW, WINDOW_MAX, WINDOW_MIN};
use crate::core::{AllocError, Allocators, Kind, Limits, Refill, Take};

#[derive(Clone, Debug)]
enum Step {
    Take(Kind, u64),
    /// So many milliseconds pass, then the writer looks.
    Refill(u64),
    /// The refill that the writer was told to write is durable.
    Raise,
    /// The write met a full disk.
    GiveUp,
    /// A crash: the next start goes on behind the durable limits, those of a write under way (`true`) or those before.
    Crash(bool),
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => 1..4_u64,
        10 => 1..3000_u64,
        2 => 1..(1_u64 << 20),
        1 => (0..64_u32, 0..3_u64).prop_map(|(shift, below)| (u64::MAX >> shift).saturating_sub(below).max(1)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![2 => Just(Kind::Timestamp), 1 => Just(Kind::Id)];
    prop_oneof![
        60 => (kind, count()).prop_map(|(kind, count)| Step::Take(kind, count)),
        20 => prop_oneof![0..5_u64, 0..2000_u64].prop_map(Step::Refill),
        15 => Just(Step::Raise),
        2 => Just(Step::GiveUp),
        1 => any::<bool>().prop_map(Step::Crash),
    ]
}

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 1 => 0..u64::MAX, 2 => (0..5000_u64).prop_map(|below| u64::MAX - below)]
}

/// One counter: requests are answered in order, as far as the limit allows.
#[derive(Default)]
struct Counter {
    issued: u128,
    limit: u128,
    /// Waiter and count.
    queue: VecDeque<(u32, u64)>,
}

impl Counter {
    fn queued(&self) -> u128 {
        self.queue.iter().map(|&(_, count)| u128::from(count)).sum()
    }

    fn serve(&mut self) -> Vec<(u32, u64)> {
        let mut served = Vec::new();
        while let Some(&(waiter, count)) = self.queue.front()
            && self.issued + u128::from(count) <= self.limit
        {
            self.queue.pop_front();
            served.push((waiter, u64::try_from(self.issued + 1).unwrap()));
            self.issued += u128::from(count);
        }
        served
    }
}

struct Harness {
    allocators: Allocators<u32>,
    /// Ids, timestamps.
    model: [Counter; 2],
    used: [bool; 2],
    /// Whether the writer was poked, or told a time, and has not looked since.
    writer_knows: bool,
    writing: Option<Limits>,
    durable: Limits,
    /// When the last refill began or was done.
    last_refill: Option<Duration>,
    now: Duration,
    next_waiter: u32,
}

impl Harness {
    fn new(issued: Limits) -> Self {
        let counter = |issued| Counter { issued: u128::from(issued), limit: u128::from(issued), ..Counter::default() };
        Self {
            allocators: Allocators::durable(issued),
            model: [counter(issued.ids), counter(issued.timestamps)],
            used: [false; 2],
            writer_knows: false,
            writing: None,
            durable: issued,
            last_refill: None,
            now: Duration::ZERO,
            next_waiter: 0,
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Take(kind, count) => self.take(kind, count),
            Step::Refill(millis) => {
                self.now += Duration::from_millis(millis);
                self.refill();
            }
            Step::Raise => self.raise(),
            Step::GiveUp => {
                let expected: Vec<_> = self.model.iter_mut().flat_map(|counter| counter.queue.drain(..)).collect();
                assert!(
                    self.allocators.give_up_parked().into_iter().eq(expected.into_iter().map(|(waiter, _)| waiter))
                );
                (self.writing, self.writer_knows) = (None, true);
                self.refill();
            }
            Step::Crash(written) => *self = Self::new(self.writing.filter(|_| written).unwrap_or(self.durable)),
        }
    }

    fn take(&mut self, kind: Kind, count: u64) {
        let at = usize::from(kind == Kind::Timestamp);
        let model = &mut self.model[at];
        self.next_waiter += 1;
        let taken = self.allocators.take(kind, count, || self.next_waiter);
        let left = u128::from(u64::MAX) - model.issued - model.queued();
        if u128::from(count) > left {
            assert_eq!(taken, Err(AllocError::Exhausted { left: u64::try_from(left).unwrap() }));
            return;
        }
        self.used[at] = true;
        model.queue.push_back((self.next_waiter, count));
        let served = model.serve();
        match taken.unwrap() {
            Take::Given { first, poke } => {
                assert_eq!(served, [(self.next_waiter, first)]);
                self.writer_knows |= poke;
            }
            Take::Parked { poke } => {
                assert_eq!(served, []);
                self.writer_knows |= poke;
            }
        }
    }

    /// The writer looks, unless it is writing.
    fn refill(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let parks = self.model.iter().any(|counter| !counter.queue.is_empty());
        if !self.writer_knows {
            self.check_nothing_to_do();
        }
        match self.allocators.refill(self.now) {
            Refill::None => {
                self.check_nothing_to_do();
                self.writer_knows = false;
            }
            Refill::NotBefore(wait) => {
                assert!(!parks && !wait.is_zero() && wait <= WINDOW);
                self.writer_knows = true;
            }
            Refill::Write(limits) => {
                let spaced = self.last_refill.is_none_or(|last| self.now >= last + WINDOW);
                assert!(parks || spaced, "a write too soon");
                self.last_refill = Some(self.now);
                for ((counter, used), limit) in
                    self.model.iter_mut().zip(self.used).zip([limits.ids, limits.timestamps])
                {
                    let needed = (counter.issued + counter.queued() + u128::from(used) * u128::from(WINDOW_MIN))
                        .min(u128::from(u64::MAX));
                    let most = counter.issued + counter.queued() + 2 * u128::from(WINDOW_MAX);
                    assert!(u128::from(limit) >= needed, "{limit} does not reach {needed}");
                    assert!(u128::from(limit) <= most.max(counter.limit), "{limit} is more than {most}");
                    // A lower limit binds at once.
                    counter.limit = counter.limit.min(u128::from(limit));
                }
                self.writing = Some(limits);
            }
        }
    }

    /// Nothing is low, nothing waits, and a crash skips little: the writer need not know.
    fn check_nothing_to_do(&self) {
        for (counter, used) in self.model.iter().zip(self.used) {
            assert!(counter.queue.is_empty(), "a request waits and the writer does not look");
            let left = counter.limit - counter.issued;
            let enough = u128::from(WINDOW_MIN)..=u128::from(EXCESS_WINDOWS * WINDOW_MIN);
            let is_fine = enough.contains(&left) || counter.limit == u128::from(u64::MAX);
            assert!(!used || is_fine, "{left} values are left and the writer does not look");
        }
    }

    fn raise(&mut self) {
        let Some(limits) = self.writing.take() else { return };
        (self.durable, self.last_refill) = (limits, Some(self.now));
        for (counter, limit) in self.model.iter_mut().zip([limits.ids, limits.timestamps]) {
            counter.limit = counter.limit.max(u128::from(limit));
        }
        let expected: Vec<_> = self.model.iter_mut().flat_map(Counter::serve).collect();
        assert_eq!(self.allocators.raise(limits, self.now), expected);
        self.writer_knows = true;
        self.refill();
    }

    fn check(&self) {
        self.allocators.check_invariants();
        let (issued, limits) = (self.allocators.issued(), self.allocators.limits());
        for (counter, (issued, limit)) in
            self.model.iter().zip([(issued.ids, limits.ids), (issued.timestamps, limits.timestamps)])
        {
            assert_eq!((counter.issued, counter.limit), (u128::from(issued), u128::from(limit)));
        }
        for on_disk in [Some(self.durable), self.writing].into_iter().flatten() {
            assert!(
                issued.ids <= on_disk.ids && issued.timestamps <= on_disk.timestamps,
                "given out twice after a crash"
            );
        }
    }

    /// A writer whose disk works answers everyone.
    fn drain(&mut self) {
        while self.model.iter().any(|counter| !counter.queue.is_empty()) {
            self.refill();
            assert!(self.writing.is_some(), "requests are parked and nothing is written");
            self.raise();
        }
        assert!(self.allocators.freeze().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: prop::test_runner::RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_allocators_agree_with_two_plain_queues_at_every_step(
        issued in (start(), start()),
        steps in prop::collection::vec(step(), 200..300),
    ) {
        let mut harness = Harness::new(Limits { ids: issued.0, timestamps: issued.1 });
        for step in steps {
            harness.take_step(step);
            harness.check();
        }
        harness.drain();
    }
}
