//! The thread that looks at the clock for those who cannot: futures, and calls that never get an answer.
//!
//! Loop: a tick is over, ends what is overdue, sends what waited for a call that it has given up; while nobody waits, it is
//! parked. End: it finds its batcher gone, of which it is woken.

use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{Shared, batch};

/// Makes the timer look at the clock again. Where no thread can be started, the next caller tries again.
pub(super) fn rouse(shared: &Arc<Shared>) {
    let mut timer = shared.timer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(timer) = &*timer {
        return timer.unpark();
    }
    let weak = Arc::downgrade(shared);
    let tick = shared.options.tick();
    match thread::Builder::new().name("pd-tso-timer".into()).spawn(move || run(&weak, tick)) {
        Ok(started) => *timer = Some(started.thread().clone()),
        Err(_) => shared.state().timer_failed(),
    }
}

fn run(batcher: &Weak<Shared>, tick: Duration) {
    loop {
        let until = Instant::now() + tick;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if batcher.strong_count() == 0 {
                return;
            }
            thread::park_timeout(left);
        }
        let Some(shared) = batcher.upgrade() else { return };
        let is_idle = shared.tick();
        drop(shared);
        if is_idle {
            // Whoever comes next, or the batcher's end, leaves a token that ends this at once.
            thread::park();
        }
    }
}

impl Shared {
    /// One look at the clock. Returns whether there is nothing to look after.
    fn tick(self: &Arc<Self>) -> bool {
        let swept = self.state().tick(Instant::now());
        for waker in swept.expired {
            batch::wake(waker);
        }
        self.give_up(swept.given_up);
        swept.idle
    }
}
