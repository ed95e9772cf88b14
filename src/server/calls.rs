//! How many calls are under way, for a stop that waits for them.
//!
//! Order: the stopper registers itself before it looks at the count, and a call lowers the count before it looks for a
//! stopper (both sequentially consistent), so one of the two always sees the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// The calls under way.
#[derive(Default)]
pub(super) struct Calls {
    under_way: AtomicUsize,
    stopper: OnceLock<Thread>,
}

/// One call, from its handler's start until its status has been sent.
pub(super) struct Call(Arc<Calls>);

impl Calls {
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Call(Arc::clone(self))
    }

    /// From now on the current thread is unparked when the last call ends.
    pub(super) fn register_stopper(&self) {
        let _ = self.stopper.set(thread::current());
    }

    pub(super) fn none_under_way(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(stopper) = self.0.stopper.get()
        {
            stopper.unpark();
        }
    }
}
