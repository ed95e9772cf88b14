//! How many calls are under way, for a stop that refuses new ones and waits for the others.
//!
//! Order: the stopper registers itself before it looks at the count, and a call lowers the count before it looks for a
//! stopper, each with a fence in between, so one of the two always sees the other.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;

/// The calls under way. A stream is one only while it has a request to answer.
pub(super) struct Calls {
    under_way: AtomicUsize,
    /// Set when the server stops.
    stopper: OnceLock<Thread>,
    /// Dropped when the server stops, which ends `stopping`.
    serving: Mutex<Option<oneshot::Sender<()>>>,
    stopping: Shared<oneshot::Receiver<()>>,
}

impl Default for Calls {
    fn default() -> Self {
        let (serving, stopping) = oneshot::channel();
        Self {
            under_way: AtomicUsize::new(0),
            stopper: OnceLock::new(),
            serving: Mutex::new(Some(serving)),
            stopping: stopping.shared(),
        }
    }
}

/// One call, from its handler's start until its status, or a stream's answer, has been sent.
pub(super) struct Call(Arc<Calls>);

impl Calls {
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(self))
    }

    /// From now on calls that begin are to be refused, and the current thread is unparked when the last one ends.
    pub(super) fn refuse(&self) {
        let _ = self.stopper.set(thread::current());
        fence(Ordering::SeqCst);
        drop(self.serving.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Ends when calls are refused.
    pub(super) fn refused(&self) -> impl Future + Unpin + Send + use<> {
        self.stopping.clone()
    }

    pub(super) fn are_refused(&self) -> bool {
        self.stopper.get().is_some()
    }

    pub(super) fn none_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            fence(Ordering::SeqCst);
            if let Some(stopper) = self.0.stopper.get() {
                stopper.unpark();
            }
        }
    }
}
