//! Timestamps in batches: callers in any number of threads and tasks share calls.
//!
//! While fewer calls than allowed are in flight, a caller sends its own request, on its own thread: a lone one pays one
//! round trip. What comes meanwhile gathers in a batch, which is sent by whoever takes in the answer before it, ahead of
//! waking anybody. A caller joins only a batch that is not sent yet: its timestamp is above every one that any caller of any
//! client had got before it asked. A caller's timestamps are consecutive; a request is never split.
//!
//! A batch costs a few allocations, a caller none: a place is the batch, a slot in its list of wakers and an offset.
//!
//! Time: a blocking caller looks at the clock itself. A future is told by the batcher's timer thread that its time is over,
//! up to two ticks (a quarter of the timeout, at most half a second) late. Each caller's time runs from when it asked,
//! whatever batch it is in; but that of a future which asks again, for its batch was too much for the PD, starts over. A call
//! gets the whole timeout from when it is sent, which no caller in it outlives.
//!
//! Locks: `Shared::state`, then a batch's waiters. Neither is held while a call is made, a waker is woken or one is dropped.
//!
//! Threads: the timer, started by the first caller. It ends with the batcher.

mod batch;
mod blocking;
mod future;
mod grpc;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod timer;
mod transport;

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, Instant};

use self::batch::{Batch, Outcome, Place};
use self::state::{Next, State};
use super::ids::range_of;
use super::retry::TIMEOUT_MAX;
use super::{ClientOptions, Error};

pub use self::future::{TsBatchFuture, TsFuture};
pub(super) use self::grpc::GrpcTransport;
pub use self::transport::{Call, Timestamps, Transport};

/// The longest time between two looks at the clock.
const TICK_MAX: Duration = Duration::from_millis(250);
/// Looks at the clock within one timeout, at least.
const TICKS_A_TIMEOUT: u32 = 8;

/// How a [`Batcher`] batches: the members of [`ClientOptions`] that concern it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatcherOptions {
    /// How long a caller waits, and how long a call may take.
    pub timeout: Duration,
    /// Calls in flight, at least 1.
    pub calls_max: usize,
    /// Callers that wait for a call to be sent. Those that have left the queue before others keep a place in it until their
    /// batch goes; all together are at most twice as many.
    pub queue_max: usize,
    /// Timestamps of one call; a caller that wants more gets a call of its own.
    pub batch_max: u64,
}

/// Shares calls between its callers. Cloning it is cheap, and the clones share everything.
#[derive(Clone)]
pub struct Batcher {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    transport: Box<dyn Transport>,
    options: BatcherOptions,
    timer: Mutex<Option<Thread>>,
}

thread_local! {
    /// The batcher that makes a call on this thread right now, and whether one of its calls has ended there meanwhile.
    static ASKING: Cell<(*const Shared, bool)> = const { Cell::new((ptr::null(), false)) };
}

impl BatcherOptions {
    /// The time between two looks at the clock.
    fn tick(&self) -> Duration {
        (self.timeout / TICKS_A_TIMEOUT).clamp(Duration::from_millis(1), TICK_MAX)
    }

    /// Whole ticks after which a timeout is over.
    fn ticks_max(&self) -> u64 {
        let ticks = self.timeout.as_nanos().div_ceil(self.tick().as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl From<&ClientOptions> for BatcherOptions {
    fn from(options: &ClientOptions) -> Self {
        Self {
            timeout: options.timeout,
            calls_max: options.tso_calls_max,
            queue_max: options.tso_queue_max,
            batch_max: options.tso_batch_max,
        }
    }
}

impl Batcher {
    /// A batcher that makes its calls through `transport`.
    #[must_use]
    pub fn new(transport: impl Transport, options: BatcherOptions) -> Self {
        let options = BatcherOptions {
            timeout: options.timeout.min(TIMEOUT_MAX),
            calls_max: options.calls_max.max(1),
            ..options
        };
        let shared = Shared {
            state: Mutex::new(State::new(options.clone())),
            transport: Box::new(transport),
            options,
            timer: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The next timestamp: above every one that was returned before this call began. Waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::TimestampWentBack`], [`Error::QueueFull`], and what the transport's calls can end with.
    pub fn get(&self) -> Result<u64, Error> {
        blocking::get(&self.shared, 1)
    }

    /// The next `count` timestamps, consecutive ones. Waits for them.
    ///
    /// # Errors
    ///
    /// Those of [`Batcher::get`], and [`Error::Invalid`] for a count of 0.
    pub fn get_batch(&self, count: u64) -> Result<RangeInclusive<u64>, Error> {
        check_count(count)?;
        blocking::get(&self.shared, count).map(|first| range(first, count))
    }

    /// [`Batcher::get`] as a future, for any executor.
    pub fn get_async(&self) -> TsFuture {
        TsFuture::new(&self.shared)
    }

    /// [`Batcher::get_batch`] as a future, for any executor.
    pub fn get_batch_async(&self, count: u64) -> TsBatchFuture {
        TsBatchFuture::new(&self.shared, count)
    }
}

/// # Errors
///
/// [`Error::Invalid`] for 0.
pub(crate) fn check_count(count: u64) -> Result<(), Error> {
    if count == 0 { Err(Error::Invalid("a count of 0 asks for nothing".into())) } else { Ok(()) }
}

/// `count` values from `first` on. Every call's values were checked to end within u64.
pub(crate) fn range(first: u64, count: u64) -> RangeInclusive<u64> {
    first..=first + (count - 1)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a caller that begins at `now` (looked up when it is needed), and makes the calls that can be made.
    fn enter(
        self: &Arc<Self>,
        count: u64,
        waker: &Waker,
        again: bool,
        now: impl FnOnce() -> Instant,
    ) -> Result<Place, Error> {
        let mut state = self.state();
        let place = state.join(count, waker, again)?;
        let next = if state.may_send() { state.next_call(now()) } else { None };
        let needs_timer = state.needs_timer();
        drop(state);
        if needs_timer {
            timer::rouse(self);
        }
        if let Some(next) = next {
            self.ask(next);
        }
        Ok(place)
    }

    /// Makes the next calls that can be made. On a thread that is making one for this batcher, it does so afterwards.
    fn ask_next(self: &Arc<Self>) {
        let (asking, _) = ASKING.get();
        if ptr::eq(asking, Arc::as_ptr(self)) {
            ASKING.set((asking, true));
        } else {
            while let Some(next) = self.next_call() {
                self.ask(next);
            }
        }
    }

    fn next_call(&self) -> Option<Next> {
        let mut state = self.state();
        if state.may_send() { state.next_call(Instant::now()) } else { None }
    }

    /// Makes a call, and then those that wait for calls that have ended within it.
    fn ask(self: &Arc<Self>, next: Next) {
        /// Puts back what was there, also when the transport panics.
        struct Restore((*const Shared, bool));
        impl Drop for Restore {
            fn drop(&mut self) {
                ASKING.set(self.0);
            }
        }
        let asking = Arc::as_ptr(self);
        let _restore = Restore(ASKING.replace((asking, false)));
        let mut next = Some(next);
        let mut has_ended = false;
        while let Some(Next { batch, count, deadline }) = next {
            self.transport.ask(Call::new(self, batch, count, deadline));
            // Several may have ended: it goes on until no call can be made.
            has_ended |= ASKING.get().1;
            next = if has_ended { self.next_call() } else { None };
        }
    }

    /// Takes in the answer to a call for `count` timestamps.
    fn end(self: &Arc<Self>, batch: &Batch, count: u64, answer: Result<Timestamps, Error>) {
        let answer = answer.and_then(|answer| {
            range_of("timestamps", answer.first, answer.count, count)
                .map_err(|reason| Error::Malformed { addr: self.transport.addr(), reason })
        });
        let Some(settled) = self.state().settle(batch, answer) else { return };
        batch.set(settled.outcome);
        self.ask_next();
        let room = batch.take_waiters().wake();
        if let Some((batches, error)) = settled.abandoned {
            for batch in batches {
                batch.finish(Outcome::Failed(error.clone()));
            }
        }
        self.state().recycle(room);
    }

    /// Ends calls that got no answer in time, and sends the next ones.
    fn give_up(self: &Arc<Self>, batches: Vec<Arc<Batch>>) {
        if batches.is_empty() {
            return;
        }
        let late = self.late();
        self.ask_next();
        for batch in batches {
            batch.finish(Outcome::Failed(late.clone()));
        }
    }

    /// Why a caller gets nothing whose time is over.
    fn late(&self) -> Error {
        self.transport.late(self.options.timeout)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The timer then finds that there is nothing to look after.
        if let Some(timer) = self.timer.get_mut().unwrap_or_else(PoisonError::into_inner) {
            timer.unpark();
        }
    }
}
