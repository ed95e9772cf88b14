//! What the store's threads and the adapter's thread share, under one lock that nobody holds during a call.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hints::Hints;
use super::pending::Pending;

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something became due, or waits for a round, or the thread is to end.
    work: Condvar,
    /// Nothing is due and the thread is done with the last batch, or it has ended.
    rest: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pending: Pending,
    pub(super) hints: Hints,
    /// The thread has a batch that it is not done with.
    pub(super) is_busy: bool,
    phase: Phase,
}

/// Where the thread is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Works,
    /// It was told to end: nothing new is taken in.
    Ends,
    Ended,
}

impl State {
    pub(super) fn has_due(&self) -> bool {
        self.pending.has_due()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.phase != Phase::Works
    }
}

impl Shared {
    /// No panic leaves a state behind that breaks an invariant of its parts.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the store says, unless the thread ends, and wakes it where it may sleep too long.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.is_ending() {
            return;
        }
        let before = (state.has_due(), state.pending.has_waiting());
        change(&mut state);
        let after = (state.has_due(), state.pending.has_waiting());
        drop(state);
        if before != after {
            self.work.notify_one();
        }
    }

    /// Sleeps until there is work, at most for `limit`.
    pub(super) fn wait_for_work<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit {
            Some(limit) => self.work.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0,
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(super) fn note_rest(&self) {
        self.rest.notify_all();
    }

    /// Waits until everything that was due is answered and dealt with, at most for `limit`. Returns whether it is.
    pub(super) fn wait_for_rest(&self, limit: Duration) -> bool {
        let state = self.wait(limit, |state| (state.has_due() || state.is_busy) && state.phase != Phase::Ended);
        !state.has_due()
    }

    /// Tells the thread to end.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Works {
            state.phase = Phase::Ends;
            self.work.notify_one();
        }
    }

    /// Waits until the thread has ended, at most for `limit`. Returns whether it has.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.phase != Phase::Ended).phase == Phase::Ended
    }

    fn wait(&self, limit: Duration, goes_on: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.rest.wait_timeout_while(self.lock(), limit, goes_on).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Notes the thread's end when the guard goes, as it also does in a panic.
    pub(super) fn note_end(self: Arc<Self>) -> impl Drop {
        struct Guard(Arc<Shared>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.lock().phase = Phase::Ended;
                self.0.rest.notify_all();
            }
        }
        Guard(self)
    }
}
