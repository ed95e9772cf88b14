//! A batch: the callers that share one call, and what became of it.
//!
//! Invariants: a caller's slot never moves; its values are the call's first one plus its offset. The outcome is set once,
//! before any caller is woken for it.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use crate::client::Error;

/// What became of a call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The first of its timestamps.
    First(u64),
    /// The sum of its callers was too much for the PD: each of them asks again, in a smaller batch.
    Again,
    Failed(Error),
}

/// What the callers of a batch share.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counts the batches of a batcher.
    pub(super) number: u64,
    outcome: OnceLock<Outcome>,
    /// Callers in the slots below have waited as long as they may.
    expired: AtomicUsize,
    /// Empty as long as the batch stands in the queue, with its waiters.
    waiters: Mutex<Waiters>,
}

/// The callers of a batch that wait, by slot.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    slots: Vec<Slot>,
    /// How many have a waker.
    live: usize,
    /// Ticks in which callers came, each with the slot behind the last of them; ascending.
    ages: VecDeque<(u64, usize)>,
}

#[derive(Debug)]
struct Slot {
    /// As that of its [`Place`].
    offset: u64,
    /// `None`: has left, or was told that its time is over.
    waker: Option<Waker>,
}

/// A caller's place in a batch.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) batch: Arc<Batch>,
    pub(super) slot: usize,
    /// Distance of its first timestamp from the call's.
    offset: u64,
}

/// How a caller's request stands.
#[derive(Debug)]
pub(super) enum Progress {
    Waits,
    /// Its first timestamp.
    Given(u64),
    /// It has to take another place.
    Again,
    /// It has waited as long as it may.
    Expired,
    Failed(Error),
}

/// Wakes a caller. One whose waker panics keeps no other from being woken, and ends no thread of the client's.
pub(super) fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        log::error!("the waker of a future for timestamps panicked; its task may wait for ever");
    }
}

impl Batch {
    pub(super) fn new(number: u64) -> Self {
        Self { number, outcome: OnceLock::new(), expired: AtomicUsize::new(0), waiters: Mutex::default() }
    }

    pub(super) fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the outcome. Nobody is woken.
    pub(super) fn set(&self, outcome: Outcome) {
        let set = self.outcome.set(outcome);
        debug_assert!(set.is_ok(), "who takes a batch from those in flight is the only one to set its outcome");
    }

    pub(super) fn has_outcome(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(super) fn take_waiters(&self) -> Waiters {
        mem::take(&mut *self.waiters())
    }

    /// Notes the outcome and wakes the callers.
    pub(super) fn finish(&self, outcome: Outcome) {
        self.set(outcome);
        self.take_waiters().wake();
    }

    /// Ends the waiting of callers that came in `tick` or earlier; they are to be woken.
    pub(super) fn expire(&self, waiters: &mut Waiters, tick: u64, woken: &mut Vec<Waker>) {
        while let Some((came, behind)) = waiters.ages.front().copied()
            && came <= tick
        {
            waiters.ages.pop_front();
            let from = self.expired.swap(behind, Ordering::Release);
            let expired = waiters.slots[from..behind].iter_mut().filter_map(|slot| slot.waker.take());
            let before = woken.len();
            woken.extend(expired);
            waiters.live -= woken.len() - before;
        }
    }

    /// Removes the slots at the end whose callers have left. Returns how many, and the offset of the first of them.
    pub(super) fn trim(&self, waiters: &mut Waiters) -> Option<(usize, u64)> {
        // A slot whose caller's time is over may be looked at yet, and another caller's there would be over as well.
        let expired = self.expired.load(Ordering::Acquire);
        let live = waiters.slots[expired..].iter().rposition(|slot| slot.waker.is_some());
        let kept = live.map_or(expired, |at| expired + at + 1);
        let offset = waiters.slots.get(kept)?.offset;
        let trimmed = waiters.slots.drain(kept..).count();
        let reaches = waiters.ages.partition_point(|(_, behind)| *behind < kept);
        waiters.ages.truncate(reaches + usize::from(live.is_some()));
        if let Some((_, behind)) = waiters.ages.back_mut() {
            *behind = kept;
        }
        Some((trimmed, offset))
    }
}

impl Waiters {
    /// Adds a caller that comes in `tick`, and whose values begin at `offset`; returns its slot.
    pub(super) fn push(&mut self, waker: &Waker, tick: u64, offset: u64) -> usize {
        let slot = self.slots.len();
        self.slots.push(Slot { offset, waker: Some(waker.clone()) });
        self.live += 1;
        match self.ages.back_mut() {
            Some((came, behind)) if *came == tick => *behind = slot + 1,
            _ => self.ages.push_back((tick, slot + 1)),
        }
        slot
    }

    /// How many callers still wait.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// How many callers have a slot, those that have left included.
    pub(super) fn callers(&self) -> usize {
        self.slots.len()
    }

    /// Takes the caller in `slot` out, if it still waits. Its waker is dropped by the one who called, without a lock: that
    /// can drop a task, and with it other callers.
    pub(super) fn leave(&mut self, slot: usize) -> Option<Waker> {
        let waker = self.slots.get_mut(slot)?.waker.take();
        self.live -= usize::from(waker.is_some());
        waker
    }

    /// Changes whom to wake for the caller in `slot`, if it still waits. Returns the waker before, as [`Waiters::leave`].
    pub(super) fn replace(&mut self, slot: usize, waker: &Waker) -> Option<Waker> {
        match self.slots.get_mut(slot).map(|slot| &mut slot.waker) {
            Some(Some(known)) if !known.will_wake(waker) => Some(mem::replace(known, waker.clone())),
            _ => None,
        }
    }

    /// Wakes all who wait. Returns itself empty, for the next batch.
    pub(super) fn wake(mut self) -> Self {
        self.slots.drain(..).filter_map(|slot| slot.waker).for_each(wake);
        self.live = 0;
        self.ages.clear();
        self
    }

    /// How many callers fit without growing.
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

impl Place {
    pub(super) fn new(batch: Arc<Batch>, slot: usize, offset: u64) -> Self {
        Self { batch, slot, offset }
    }

    pub(super) fn progress(&self) -> Progress {
        match self.batch.outcome.get() {
            // The whole call was checked to end within u64.
            Some(Outcome::First(first)) => Progress::Given(first + self.offset),
            Some(Outcome::Again) => Progress::Again,
            Some(Outcome::Failed(error)) => Progress::Failed(error.clone()),
            None if self.slot < self.batch.expired.load(Ordering::Acquire) => Progress::Expired,
            None => Progress::Waits,
        }
    }
}
