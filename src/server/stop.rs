//! The end of a server: no new calls, a bounded wait for those under way, then none.
//!
//! New calls are UNAVAILABLE from the first moment: for a short while because their handlers say so, then because the port
//! is closed. The while is for clients with calls one after the other: gRPC turns away a call that crosses its good-bye on
//! a connection as CANCELLED, and by then they know.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::calls::Calls;

/// How long the handlers refuse calls before gRPC does.
const REFUSAL: Duration = Duration::from_millis(100);
/// How long clients without calls get to close their connections by themselves; a frozen one would never do it.
const LINGER: Duration = Duration::from_millis(250);
/// How long gRPC gets to take its connections down once everything is cancelled.
const TAKE_DOWN: Duration = Duration::from_secs(1);

/// Stops `grpc`. Returns whether all calls ended within `grace`.
pub(super) fn stop(mut grpc: grpcio::Server, calls: &Arc<Calls>, grace: Duration) -> bool {
    let mut deadline = Instant::now() + grace;
    calls.refuse();
    thread::sleep(REFUSAL.min(grace));
    // Closes the port at once; completes when the last connection is gone.
    let mut down = pin!(grpc.shutdown());
    let mut is_down = wait(down.as_mut(), deadline, || calls.none_under_way());
    let ended = is_down || calls.none_under_way();
    if ended && !is_down {
        deadline = deadline.min(Instant::now() + LINGER);
        is_down = wait(down.as_mut(), deadline, || false);
    }
    if !is_down {
        grpc.cancel_all_calls();
        is_down = wait(down, Instant::now() + TAKE_DOWN, || false);
    }
    if !is_down {
        // A call that its placement driver never answers holds its connection, and gRPC aborts the process when a server
        // is destroyed before its last connection. So this one is never destroyed: the process is about to end, or, where it was
        // embedded, keeps what it holds.
        std::mem::forget(grpc);
    }
    ended
}

/// Drives `future` until it ends (true), `deadline` passes or `enough` holds (false).
fn wait<T>(mut future: Pin<&mut impl Future<Output = T>>, deadline: Instant, enough: impl Fn() -> bool) -> bool {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if enough() || left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
