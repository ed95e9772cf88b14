//! What a batcher knows: the batches that wait, the calls in flight, the highest timestamp. No clock, no lock, no thread.
//!
//! Invariants, with *in flight* meaning sent and neither answered nor given up:
//!
//! - A batch stands in the queue or is in flight, never both; callers join only the last one of the queue.
//! - `in_flight <= calls_max`; and `in_flight < calls_max` leaves the queue empty, once whoever changed either has taken
//!   [`State::next_call`] until it gave none.
//! - `queued` is the number of live callers in the queue; `queued <= queue_max`, but for callers that ask again.
//!   `slots` is the number of their slots and of those that others have left there; it is at most twice as high.
//! - `highest` never falls. A call's answer lies above `highest` as it was when the call was sent, and apart from the
//!   answers that came while it was in flight; the first that does not ends everything, for good.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::BatcherOptions;
use super::batch::{Batch, Outcome, Place, Waiters};
use crate::client::{Error, Refusal};

/// Slots of the queue for each caller that may wait in it; the others are of callers that have left.
const SLOTS_A_CALLER: usize = 2;

/// A batch that is not sent yet.
struct Queued {
    batch: Arc<Batch>,
    waiters: Waiters,
    count: u64,
}

impl Queued {
    /// Lets the batch keep its waiters itself, where callers look for theirs that find it in the queue no longer.
    fn close(self) -> Arc<Batch> {
        *self.batch.waiters() = self.waiters;
        self.batch
    }
}

struct InFlight {
    batch: Arc<Batch>,
    count: u64,
    callers: usize,
    deadline: Instant,
    /// `highest` when it was sent.
    floor: u64,
    /// What was answered while it was in flight.
    beside: Vec<RangeInclusive<u64>>,
}

/// A call to make.
pub(super) struct Next {
    pub(super) batch: Arc<Batch>,
    pub(super) count: u64,
    pub(super) deadline: Instant,
}

/// What an answer means.
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    /// All that waited, and why they wait for nothing: timestamps went back.
    pub(super) abandoned: Option<(Vec<Arc<Batch>>, Error)>,
}

/// What a look at the time brought.
#[derive(Default)]
pub(super) struct Swept {
    /// Calls that are given up; their callers have to be told.
    pub(super) given_up: Vec<Arc<Batch>>,
    /// Callers whose time is over.
    pub(super) expired: Vec<Waker>,
    /// Nobody waits and nothing is in flight.
    pub(super) idle: bool,
}

pub(super) struct State {
    options: BatcherOptions,
    queue: VecDeque<Queued>,
    /// The number of the queue's first batch, or of the next one.
    first_number: u64,
    queued: usize,
    slots: usize,
    in_flight: Vec<InFlight>,
    /// Timestamps of one call: `batch_max`, or less once a PD has refused so many.
    count_max: u64,
    highest: u64,
    poison: Option<Error>,
    tick: u64,
    /// Nobody looks at the time.
    timer_sleeps: bool,
    /// The room of an earlier batch.
    spare: Waiters,
}

impl State {
    pub(super) fn new(options: BatcherOptions) -> Self {
        Self {
            queue: VecDeque::new(),
            first_number: 0,
            queued: 0,
            slots: 0,
            in_flight: Vec::new(),
            count_max: options.batch_max,
            highest: 0,
            poison: None,
            tick: 0,
            timer_sleeps: true,
            spare: Waiters::default(),
            options,
        }
    }

    /// A place for a caller of `count` timestamps. One that asks `again` is let in however full the queue is.
    pub(super) fn join(&mut self, count: u64, waker: &Waker, again: bool) -> Result<Place, Error> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        let max = self.options.queue_max;
        if (self.queued >= max || self.slots >= max.saturating_mul(SLOTS_A_CALLER)) && !again {
            return Err(Error::QueueFull { max });
        }
        let fits = |queued: &Queued| queued.count.checked_add(count).is_some_and(|sum| sum <= self.count_max);
        if !self.queue.back().is_some_and(fits) {
            let number = self.number_behind(self.queue.len());
            let waiters = std::mem::take(&mut self.spare);
            self.queue.push_back(Queued { batch: Arc::new(Batch::new(number)), waiters, count: 0 });
        }
        let open = self.queue.back_mut().expect("a batch was added where none had room");
        let offset = open.count;
        open.count += count;
        self.queued += 1;
        self.slots += 1;
        Ok(Place::new(Arc::clone(&open.batch), open.waiters.push(waker, self.tick, offset), offset))
    }

    /// Whether a batch waits that may be sent.
    pub(super) fn may_send(&self) -> bool {
        !self.queue.is_empty() && self.in_flight.len() < self.options.calls_max
    }

    /// The next call to make, if there is one. Batches whose callers have all left are not worth one.
    pub(super) fn next_call(&mut self, now: Instant) -> Option<Next> {
        while self.may_send() {
            let Queued { batch, waiters, count } = self.queue.pop_front()?;
            self.first_number += 1;
            self.queued -= waiters.live();
            self.slots -= waiters.callers();
            if waiters.live() == 0 {
                continue;
            }
            let deadline = now + self.options.timeout;
            self.in_flight.push(InFlight {
                batch: Arc::clone(&batch),
                count,
                callers: waiters.callers(),
                deadline,
                floor: self.highest,
                beside: Vec::new(),
            });
            let batch = Queued { batch, waiters, count }.close();
            return Some(Next { batch, count, deadline });
        }
        None
    }

    /// Takes in the answer to a call, its values or why there are none. `None`: the call was given up before.
    pub(super) fn settle(&mut self, batch: &Batch, answer: Result<RangeInclusive<u64>, Error>) -> Option<Settled> {
        let at = self.in_flight.iter().position(|call| call.batch.number == batch.number)?;
        let call = self.in_flight.swap_remove(at);
        let mut abandoned = None;
        let outcome = match answer {
            Ok(range) => match self.take_in(&call, &range) {
                Ok(()) => Outcome::First(*range.start()),
                Err(error) => {
                    self.first_number = self.number_behind(self.queue.len());
                    self.queued = 0;
                    self.slots = 0;
                    abandoned = Some((self.queue.drain(..).map(Queued::close).collect(), error.clone()));
                    Outcome::Failed(error)
                }
            },
            Err(Error::Refused { refusal: Refusal::InvalidArgument, .. }) if call.callers > 1 => {
                // Who asked for little must not suffer from the sum. A single caller that is refused is so rightly.
                self.count_max = self.count_max.min((call.count / 2).max(1));
                Outcome::Again
            }
            Err(error) => Outcome::Failed(error),
        };
        Some(Settled { outcome, abandoned })
    }

    /// Checks an answer's values against all others and notes them.
    fn take_in(&mut self, call: &InFlight, range: &RangeInclusive<u64>) -> Result<(), Error> {
        if let Some(error) = &self.poison {
            return Err(error.clone());
        }
        let (first, last) = (*range.start(), *range.end());
        let overlapped = call.beside.iter().find(|beside| first <= *beside.end() && *beside.start() <= last);
        let below = (first <= call.floor).then_some(call.floor).or(overlapped.map(|beside| *beside.end()));
        if let Some(highest) = below {
            let error = Error::TimestampWentBack { highest, got: first };
            self.poison = Some(error.clone());
            return Err(error);
        }
        self.highest = self.highest.max(last);
        for other in &mut self.in_flight {
            other.beside.push(range.clone());
        }
        Ok(())
    }

    /// Takes a caller out that no longer waits. The waker is for the caller to drop, without the lock.
    pub(super) fn leave(&mut self, place: &Place) -> Option<Waker> {
        match self.queued_waiters(place) {
            Some(waiters) => {
                let waker = waiters.leave(place.slot);
                self.queued -= usize::from(waker.is_some());
                self.trim();
                waker
            }
            None => place.batch.waiters().leave(place.slot),
        }
    }

    /// Takes back what callers leave at the queue's end. What they leave before others goes with its batch.
    fn trim(&mut self) {
        while let Some(mut last) = self.queue.pop_back() {
            if let Some((trimmed, offset)) = last.batch.trim(&mut last.waiters) {
                last.count = offset;
                self.slots -= trimmed;
            }
            if last.waiters.callers() > 0 {
                return self.queue.push_back(last);
            }
            // Its number is given again: nobody has a place in it.
            self.recycle(last.waiters);
        }
    }

    /// Changes whom to wake for a caller. As [`State::leave`].
    pub(super) fn replace(&mut self, place: &Place, waker: &Waker) -> Option<Waker> {
        match self.queued_waiters(place) {
            Some(waiters) => waiters.replace(place.slot, waker),
            None => place.batch.waiters().replace(place.slot, waker),
        }
    }

    /// The waiters of the place's batch while it is in the queue.
    fn queued_waiters(&mut self, place: &Place) -> Option<&mut Waiters> {
        let at = usize::try_from(place.batch.number.checked_sub(self.first_number)?).ok()?;
        self.queue.get_mut(at).map(|queued| &mut queued.waiters)
    }

    /// Gives up the calls that are overdue.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<Arc<Batch>> {
        self.in_flight.extract_if(.., |call| call.deadline <= now).map(|call| call.batch).collect()
    }

    /// Another tick is over: gives up calls, and ends the waiting of callers whose time is over.
    pub(super) fn tick(&mut self, now: Instant) -> Swept {
        let mut swept = Swept { given_up: self.give_up(now), ..Swept::default() };
        if let Some(tick) = self.tick.checked_sub(self.options.ticks_max()) {
            for call in &self.in_flight {
                call.batch.expire(&mut call.batch.waiters(), tick, &mut swept.expired);
            }
            for Queued { batch, waiters, .. } in &mut self.queue {
                let before = waiters.live();
                batch.expire(waiters, tick, &mut swept.expired);
                self.queued -= before - waiters.live();
            }
        }
        self.tick += 1;
        self.timer_sleeps = self.queue.is_empty() && self.in_flight.is_empty();
        swept.idle = self.timer_sleeps;
        swept
    }

    /// Tells, once, that somebody has to look at the time again.
    pub(super) fn needs_timer(&mut self) -> bool {
        std::mem::replace(&mut self.timer_sleeps, false)
    }

    /// As [`State::needs_timer`] found, but nobody could.
    pub(super) fn timer_failed(&mut self) {
        self.timer_sleeps = true;
    }

    /// Keeps the room of a batch that is over.
    pub(super) fn recycle(&mut self, waiters: Waiters) {
        if waiters.capacity() > self.spare.capacity() {
            self.spare = waiters;
        }
    }

    /// The number of the batch that would stand at `at` in the queue.
    fn number_behind(&self, at: usize) -> u64 {
        self.first_number + u64::try_from(at).expect("a length fits 64 bits")
    }
}
