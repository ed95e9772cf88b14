//! Random histories of a batcher, against what holds in all of them.

use proptest::prelude::*;

use super::*;

/// A step of a random history; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Ask(u64),
    Poll(usize),
    Leave(usize),
    Answer(usize),
    Fail(usize),
    Refuse(usize),
    /// The time of all calls in flight is over.
    GiveUp,
    /// A call that was given up is answered yet.
    AnswerLate(usize),
    /// The time of all callers is over.
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![4 => 1_u64..4, 1 => 1_u64..20].prop_map(Step::Ask),
        3 => (0_usize..64).prop_map(Step::Poll),
        2 => (0_usize..64).prop_map(Step::Leave),
        4 => (0_usize..8).prop_map(Step::Answer),
        1 => (0_usize..8).prop_map(Step::Fail),
        1 => (0_usize..8).prop_map(Step::Refuse),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Expire),
        1 => (0_usize..8).prop_map(Step::AnswerLate),
    ]
}

/// A caller of a history: its future, whom it told to wake it, and the highest timestamp given to anyone before it asked.
struct Caller {
    future: TsBatchFuture,
    flag: Arc<Flag>,
    count: u64,
    floor: u64,
    /// Its time may be over.
    may_be_late: bool,
}

struct History {
    batcher: Batcher,
    held: Held,
    given_up: Vec<Call>,
    calls_max: usize,
    next: u64,
    callers: Vec<Caller>,
    given: Vec<RangeInclusive<u64>>,
}

impl History {
    /// Polls a caller, as one that was woken or for nothing; takes it out when it is done.
    fn poll(&mut self, at: usize) {
        let caller = &mut self.callers[at];
        caller.flag = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&caller.flag));
        let Poll::Ready(result) = Pin::new(&mut caller.future).poll(&mut Context::from_waker(&waker)) else { return };
        let caller = self.callers.swap_remove(at);
        match result {
            Ok(range) => {
                assert!(*range.start() > caller.floor, "above all that was given before it asked");
                assert_eq!(range.end() - range.start() + 1, caller.count);
                self.given.push(range);
            }
            Err(Error::TimedOut { .. }) => assert!(caller.may_be_late, "its time has only begun"),
            Err(_) => {}
        }
    }

    fn answer(&mut self, call: Call) {
        let (first, count) = (self.next, call.count());
        self.next += count + 1;
        call.end(Ok(Timestamps { first, count }));
    }

    fn step(&mut self, step: Step) {
        let calls = self.held.len();
        let expires = matches!(step, Step::Expire);
        match step {
            Step::Ask(count) => {
                let floor = self.given.iter().map(|range| *range.end()).max().unwrap_or(0);
                let future = self.batcher.get_batch_async(count);
                self.callers.push(Caller { future, flag: Arc::default(), count, floor, may_be_late: false });
                self.poll(self.callers.len() - 1);
            }
            Step::Poll(at) if !self.callers.is_empty() => self.poll(at % self.callers.len()),
            Step::Leave(at) if !self.callers.is_empty() => drop(self.callers.swap_remove(at % self.callers.len())),
            Step::Answer(at) if calls > 0 => {
                let call = self.held.take(at % calls);
                self.answer(call);
            }
            Step::Fail(at) if calls > 0 => drop(self.held.take(at % calls)),
            Step::Refuse(at) if calls > 0 => {
                let refused = Error::Refused { refusal: Refusal::InvalidArgument, message: String::new() };
                self.held.take(at % calls).end(Err(refused));
            }
            Step::GiveUp => {
                self.given_up.extend(self.held.0.lock().unwrap().drain(..));
                self.callers.iter_mut().for_each(|caller| caller.may_be_late = true);
                give_up_all(&self.batcher);
            }
            Step::AnswerLate(at) if !self.given_up.is_empty() => {
                let call = self.given_up.swap_remove(at % self.given_up.len());
                self.answer(call);
            }
            Step::Expire => {
                self.callers.iter_mut().for_each(|caller| caller.may_be_late = true);
                let shared = &self.batcher.shared;
                for _ in 0..=shared.options.ticks_max() {
                    let expired = shared.state().tick(Instant::now()).expired;
                    expired.into_iter().for_each(Waker::wake);
                }
            }
            _ => {}
        }
        // As an executor does: whoever is woken is polled.
        while let Some(at) = self.callers.iter().position(|caller| caller.flag.0.load(Ordering::Relaxed)) {
            self.poll(at);
        }
        assert!(self.held.len() <= self.calls_max);
        if expires {
            assert!(self.callers.is_empty(), "all were told that their time is over");
        }
        let free = self.held.len() < self.calls_max;
        assert!(!free || !self.batcher.shared.state().may_send(), "nothing waits while a call could be made");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn in_any_history_timestamps_are_unique_rising_and_nobody_is_forgotten(
        steps in prop::collection::vec(step(), 1..60),
        calls_max in 1_usize..4,
        batch_max in 1_u64..12,
    ) {
        let (batcher, held) = held(BatcherOptions { calls_max, batch_max, queue_max: 20, ..options() });
        let mut history = History {
            batcher,
            held,
            given_up: Vec::new(),
            calls_max,
            next: 1,
            callers: Vec::new(),
            given: Vec::new(),
        };
        for step in steps {
            history.step(step);
        }
        while history.held.len() > 0 {
            history.step(Step::Answer(0));
        }
        assert!(history.callers.is_empty(), "{} callers wait for nothing", history.callers.len());
        history.given.sort_by_key(|range| *range.start());
        assert!(history.given.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }
}
