//! The adapter's thread: it tells the PD what is pending, one batch after the other.
//!
//! Loop: wait until something is due; take a batch of it; make the call, with nothing locked; take in the answers. After a
//! call that failed it pauses, and then everything without an answer is sent again, whatever became of it. Batches of states
//! get shorter while the PD is slow, down to one state, which steps back when even that gets no answer. When something waits
//! for a round, it also wakes to begin that. With nothing to do it sleeps without a limit. It ends when it is told to,
//! at the latest after the call that is under way.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::options::{Action, AdapterOptions, ErrorCallback};
use super::pending::{Answer, Batch, BatchLimits, Numbers, Pending, Put};
use super::rounds::Rounds;
use super::shared::Shared;
use crate::client::{Client, Error, Refusal};
use crate::core::RegionId;

/// What a batch may have: as many removals as the client has under way at once, and about a message of states.
const BATCH_MAX: BatchLimits = BatchLimits { removals: 128, regions: 512, bytes: 48 << 10 };

/// A batch of states that takes longer is followed by a shorter one: newer states, and the adapter's end, wait for it.
const BATCH_TIME_GOAL: Duration = Duration::from_millis(500);

/// The pause after a call that failed. Most failures have waited for the client's timeout already.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    client: Client,
    shared: Arc<Shared>,
    rounds: Rounds,
    on_error: ErrorCallback,
    batch_regions_max: usize,
    /// Nothing is sent before this.
    pause_until: Option<Instant>,
    /// The ways in which calls of a kind have failed since one of that kind succeeded.
    failures_told: HashSet<(Action, Discriminant<Error>)>,
    /// The kinds of calls of which a refusal was told in this round.
    refusals_told: HashSet<Action>,
}

/// What a batch is told of, each the first of its kind.
#[derive(Default)]
struct Errors {
    /// Of what the PD has refused and nobody was told of.
    refusal: Option<Error>,
    /// Why a part of the batch has no answer.
    failure: Option<Error>,
}

impl Worker {
    pub(super) fn new(client: Client, shared: Arc<Shared>, options: &AdapterOptions) -> Self {
        Self {
            client,
            shared,
            rounds: Rounds::new(options.round),
            on_error: Arc::clone(&options.on_error),
            batch_regions_max: BATCH_MAX.regions,
            pause_until: None,
            failures_told: HashSet::new(),
            refusals_told: HashSet::new(),
        }
    }

    pub(super) fn run(mut self) {
        let _ended = Arc::clone(&self.shared).note_end();
        while let Some(batch) = self.wait_for_batch() {
            match batch {
                Batch::Removals(ids) => self.remove_regions(&ids),
                Batch::Puts(puts) => self.report_regions(&puts),
                Batch::Store(numbers) => self.report_store(&numbers),
            }
        }
    }

    /// What is to be sent next, once there is something. `None`: the adapter ends.
    fn wait_for_batch(&mut self) -> Option<Batch> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.is_busy = false;
        if !state.has_due() {
            shared.note_rest();
        }
        loop {
            if state.is_ending() {
                return None;
            }
            let now = Instant::now();
            self.pause_until = self.pause_until.filter(|until| *until > now);
            if self.pause_until.is_none() {
                let limits = BatchLimits { regions: self.batch_regions_max, ..BATCH_MAX };
                if let Some(batch) = state.pending.next_batch(limits) {
                    state.is_busy = true;
                    return Some(batch);
                }
            }
            let round_due = self.rounds.due(now, state.pending.has_waiting());
            if round_due.is_some_and(|due| due <= now) {
                state.pending.begin_round();
                self.rounds.begin(now);
                self.refusals_told.clear();
                continue;
            }
            let wake = [self.pause_until, round_due].into_iter().flatten().min();
            state = shared.wait_for_work(state, wake.map(|wake| wake - now));
        }
    }

    fn remove_regions(&mut self, ids: &[RegionId]) {
        let answers = self.client.remove_regions(ids).into_iter().map(|answer| answer.map(drop));
        let action = Action::RemoveRegion;
        let errors = self.settle(action, answers, |pending, at, answer| pending.settle_removal(ids[at], answer));
        self.tell(action, errors);
    }

    fn report_regions(&mut self, puts: &[Put]) {
        let regions: Vec<_> = puts.iter().map(|put| Arc::clone(&put.region)).collect();
        let begun = Instant::now();
        let answers = self.client.region_heartbeats(&regions);
        let action = Action::RegionHeartbeat;
        let errors = self.settle(action, answers, |pending, at, answer| pending.settle_put(&puts[at], answer));
        self.batch_regions_max = match &errors.failure {
            // There is no PD to be slow.
            Some(Error::Unreachable { .. }) => self.batch_regions_max,
            Some(_) => (self.batch_regions_max / 4).max(1),
            None if begun.elapsed() > BATCH_TIME_GOAL => (self.batch_regions_max / 2).max(1),
            None => (self.batch_regions_max * 2).min(BATCH_MAX.regions),
        };
        if let (Some(_), [put]) = (&errors.failure, puts) {
            self.shared.lock().pending.postpone(put);
        }
        self.tell(action, errors);
    }

    fn report_store(&mut self, numbers: &Numbers) {
        let answer = self.client.store_heartbeat(numbers.store, numbers.stats).map(|hints| {
            let mut state = self.shared.lock();
            hints.into_iter().for_each(|hint| state.hints.push(hint));
        });
        let action = Action::StoreHeartbeat;
        let errors = self.settle(action, [answer], |pending, _, answer| pending.settle_store(numbers, answer));
        self.tell(action, errors);
    }

    /// Hands each answer to `settle_one`, with its place in the batch; that says whether somebody is to be told of it. What has
    /// got none stays due.
    fn settle(
        &self,
        action: Action,
        answers: impl IntoIterator<Item = Result<(), Error>>,
        mut settle_one: impl FnMut(&mut Pending, usize, Answer) -> bool,
    ) -> Errors {
        let mut errors = Errors::default();
        let mut state = self.shared.lock();
        for (at, result) in answers.into_iter().enumerate() {
            let answer = match &result {
                Ok(()) => Answer::Accepted,
                Err(Error::Refused { refusal: Refusal::FailedPrecondition, .. }) => Answer::Blocked,
                Err(Error::Refused { .. } | Error::Invalid(_)) => {
                    Answer::Refused { may_tell: errors.refusal.is_none() && !self.refusals_told.contains(&action) }
                }
                Err(_) => {
                    errors.failure = errors.failure.or(result.err());
                    continue;
                }
            };
            if settle_one(&mut state.pending, at, answer) {
                errors.refusal = result.err();
            }
        }
        errors
    }

    /// Tells of what is new among the errors of a batch, and pauses when the call failed.
    fn tell(&mut self, action: Action, errors: Errors) {
        if let Some(refusal) = errors.refusal {
            self.refusals_told.insert(action);
            self.call_back(action, &refusal);
        }
        match errors.failure {
            None => self.failures_told.retain(|(told, _)| *told != action),
            Some(failure) => {
                self.pause_until = Some(Instant::now() + RETRY_PAUSE);
                if self.failures_told.insert((action, discriminant(&failure))) {
                    self.call_back(action, &failure);
                }
            }
        }
    }

    /// A panic of the callback's is its own: the panic hook tells of it, and the PD is still told everything.
    fn call_back(&self, action: Action, error: &Error) {
        drop(catch_unwind(AssertUnwindSafe(|| (self.on_error)(action, error))));
    }
}
