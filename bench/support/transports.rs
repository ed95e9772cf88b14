//! What stands in for the network under the client's own batcher, to show what the network adds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use pd_lite::client::tso::{Call, Timestamps, Transport};

use super::{Result, machine};

/// Answers each call from a counter, on a thread of its own.
#[derive(Clone)]
pub struct Counter {
    calls: Sender<(Instant, Call)>,
    /// Between a call and its answer, in nanoseconds.
    wait: Arc<AtomicU64>,
}

impl Counter {
    /// No network: the thread answers as soon as it gets the call.
    pub fn without_network() -> Self {
        let (calls, receiver): (_, Receiver<(Instant, Call)>) = mpsc::channel();
        let wait = Arc::new(AtomicU64::new(0));
        let waits = Arc::clone(&wait);
        thread::spawn(move || {
            // A sleep is to end when it is over. Without leave to say so, sleeps are longer, and corrected by whoever sets them.
            drop(end_sleeps_in_time());
            let mut first = 1;
            for (made, call) in receiver {
                // The calls of one batcher come one at a time, so that the thread can sleep for each.
                let due = made + Duration::from_nanos(waits.load(Ordering::Relaxed));
                let left = due.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    thread::sleep(left);
                }
                let count = call.count();
                call.end(Ok(Timestamps { first, count }));
                first += count;
            }
        });
        Self { calls, wait }
    }

    /// A fake round trip: a call is answered this long after it was made, or as soon as the thread wakes up after that.
    pub fn set_wait(&self, wait: Duration) {
        self.wait.store(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Takes the slack off this thread's timers: 50 µs unless it is set.
fn end_sleeps_in_time() -> Result<()> {
    let thread = machine::this_thread()?;
    let thread = thread.file_name().ok_or("a thread has a number")?;
    Ok(fs::write(std::path::Path::new("/proc").join(thread).join("timerslack_ns"), "1")?)
}

impl Transport for Counter {
    fn ask(&self, call: Call) {
        self.calls.send((Instant::now(), call)).expect("the thread lives as long as this sender");
    }

    fn addr(&self) -> String {
        "a counter".into()
    }
}
