//! What stands in for the network under the client's own batcher, to show what the network adds.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use pd_lite::client::tso::{Call, Timestamps, Transport};

/// Answers each call from a counter, on a thread of its own.
pub struct Counter {
    calls: Sender<(Instant, Call)>,
}

impl Counter {
    /// No network: the thread answers as soon as it gets the call.
    pub fn without_network() -> Self {
        Self::start(|_| {})
    }

    /// A fake round trip: a call is answered `length` after it was made. The calls of one batcher come one at a time, so the
    /// thread can sleep for each.
    pub fn with_round_trip(length: Duration) -> Self {
        Self::start(move |made: Instant| thread::sleep((made + length).saturating_duration_since(Instant::now())))
    }

    fn start(wait: impl Fn(Instant) + Send + 'static) -> Self {
        let (calls, receiver): (_, Receiver<(Instant, Call)>) = mpsc::channel();
        thread::spawn(move || {
            let mut first = 1;
            for (made, call) in receiver {
                wait(made);
                let count = call.count();
                call.end(Ok(Timestamps { first, count }));
                first += count;
            }
        });
        Self { calls }
    }
}

impl Transport for Counter {
    fn ask(&self, call: Call) {
        self.calls.send((Instant::now(), call)).expect("the thread lives as long as this sender");
    }

    fn addr(&self) -> String {
        "a counter".into()
    }
}
