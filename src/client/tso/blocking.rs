//! A caller that waits on its own thread, parked.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::Shared;
use super::batch::Progress;
use crate::client::Error;

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// One for all calls of a thread. A wake that comes after its call has ended is one for nothing, as every user of
    /// `park` has to expect.
    static WAKER: Waker = Waker::from(Arc::new(Unparker(thread::current())));
}

/// The first of `count` timestamps.
pub(super) fn get(shared: &Arc<Shared>, count: u64) -> Result<u64, Error> {
    let begun = Instant::now();
    // Once the thread's own values are gone, a caller makes do with a waker of its own.
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::from(Arc::new(Unparker(thread::current()))));
    let mut place = shared.enter(count, &waker, false, || begun)?;
    let deadline = begun + shared.options.timeout;
    loop {
        match place.progress() {
            Progress::Given(first) => return Ok(first),
            Progress::Failed(error) => return Err(error),
            Progress::Again => place = shared.enter(count, &waker, true, Instant::now)?,
            Progress::Expired => return Err(shared.late()),
            Progress::Waits => {
                let now = Instant::now();
                if now < deadline {
                    thread::park_timeout(deadline - now);
                } else {
                    let mut state = shared.state();
                    let waker = state.leave(&place);
                    let given_up = state.give_up(now);
                    drop(state);
                    drop(waker);
                    shared.give_up(given_up);
                    return Err(shared.late());
                }
            }
        }
    }
}
