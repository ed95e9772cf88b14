//! How a batcher's calls are made: the seam between the batcher and the network, or what stands in its place.

use std::mem;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Shared;
use super::batch::Batch;
use crate::client::Error;

/// Makes the calls of a [`Batcher`](super::Batcher).
pub trait Transport: Send + Sync + 'static {
    /// Asks for [`Call::count`] timestamps and, when the answer is there, ends `call` with it: from any thread, also before
    /// this returns. It must not wait for the answer here, on a caller's own thread. Whatever it does to get an answer
    /// (retries included) is over by [`Call::deadline`]; nobody waits any longer.
    fn ask(&self, call: Call);

    /// Names the PD in errors: its address, or addresses.
    fn addr(&self) -> String;

    /// Why a caller gets nothing that has `waited` as long as it was ready to.
    fn late(&self, waited: Duration) -> Error {
        Error::TimedOut { addr: self.addr(), waited }
    }
}

/// The timestamps `first ..= first + (count - 1)`, as a PD answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    pub first: u64,
    pub count: u64,
}

/// One call on its way. It is ended once, by [`Call::end`]; one that is dropped ends as [`Error::Closed`].
pub struct Call {
    /// Weak: a call that is never answered keeps no batcher alive.
    shared: Weak<Shared>,
    /// `None`: it has ended.
    batch: Option<Arc<Batch>>,
    count: u64,
    deadline: Instant,
}

impl Call {
    pub(super) fn new(shared: &Arc<Shared>, batch: Arc<Batch>, count: u64, deadline: Instant) -> Self {
        Self { shared: Arc::downgrade(shared), batch: Some(batch), count, deadline }
    }

    /// How many timestamps to ask for.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When the call is given up at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives the callers what the PD answered, or why it did not, and wakes them. The next call may be sent from here.
    pub fn end(mut self, answer: Result<Timestamps, Error>) {
        self.end_with(answer);
    }

    fn end_with(&mut self, answer: Result<Timestamps, Error>) {
        let Some(batch) = mem::take(&mut self.batch) else { return };
        // Whoever waits holds the batcher: without one, nobody does. The batch may have its outcome, if it was given up.
        if let Some(shared) = self.shared.upgrade() {
            shared.end(&batch, self.count, answer);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_with(Err(Error::Closed));
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Outcome;
    use super::*;

    /// It set the outcome, which a batch that was given up has already.
    #[test]
    fn a_call_that_ends_after_its_batcher_leaves_the_batch_as_it_is() {
        let batch = Arc::new(Batch::new(0));
        let call = || Call { shared: Weak::new(), batch: Some(Arc::clone(&batch)), count: 1, deadline: Instant::now() };
        call().end(Ok(Timestamps { first: 1, count: 1 }));
        drop(call());
        assert!(!batch.has_outcome());
        batch.set(Outcome::Again);
        drop(call());
    }
}
