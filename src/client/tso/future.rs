//! Timestamps as futures. They need no executor of a certain kind, and no thread of their own: whoever takes in a call's
//! answer wakes them.

use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::batch::{Place, Progress};
use super::{Shared, check_count, range};
use crate::client::Error;

/// The next timestamp, once it is there. It asks when it is polled first, and is above every timestamp that was returned
/// before that. Dropping it gives up its place.
#[must_use = "it asks for a timestamp when it is polled first"]
pub struct TsFuture {
    request: Request,
}

/// The next timestamps, consecutive ones. As [`TsFuture`].
#[must_use = "it asks for timestamps when it is polled first"]
pub struct TsBatchFuture {
    request: Request,
}

struct Request {
    shared: Arc<Shared>,
    count: u64,
    /// `None`: not asked yet, or over.
    place: Option<Place>,
}

impl TsFuture {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { request: Request::new(shared, 1) }
    }
}

impl TsBatchFuture {
    pub(super) fn new(shared: &Arc<Shared>, count: u64) -> Self {
        Self { request: Request::new(shared, count) }
    }
}

impl Future for TsFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.request.poll(context.waker())
    }
}

impl Future for TsBatchFuture {
    type Output = Result<RangeInclusive<u64>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let count = self.request.count;
        check_count(count)?;
        self.request.poll(context.waker()).map_ok(|first| range(first, count))
    }
}

impl Request {
    fn new(shared: &Arc<Shared>, count: u64) -> Self {
        Self { shared: Arc::clone(shared), count, place: None }
    }

    fn poll(&mut self, waker: &Waker) -> Poll<Result<u64, Error>> {
        let mut is_known = false;
        let mut again = false;
        loop {
            let Some(place) = &self.place else {
                self.place = Some(self.shared.enter(self.count, waker, again, Instant::now)?);
                is_known = true;
                continue;
            };
            let result = match place.progress() {
                Progress::Waits if is_known => return Poll::Pending,
                Progress::Waits => {
                    // What came between the two looks is seen by the second one.
                    let before = self.shared.state().replace(place, waker);
                    drop(before);
                    is_known = true;
                    continue;
                }
                Progress::Again => {
                    self.place = None;
                    again = true;
                    continue;
                }
                Progress::Given(first) => Ok(first),
                Progress::Failed(error) => Err(error),
                Progress::Expired => Err(self.shared.late()),
            };
            self.place = None;
            return Poll::Ready(result);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(place) = self.place.take()
            && !place.batch.has_outcome()
        {
            let waker = self.shared.state().leave(&place);
            drop(waker);
        }
    }
}

impl fmt::Debug for TsFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for TsBatchFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsBatchFuture").field("count", &self.request.count).finish_non_exhaustive()
    }
}
