//! One call: connect, send, wait for the answer, and again where that is safe, until the client's timeout is over.

use std::thread;
use std::time::{Duration, Instant};

use grpcio::{CallOption, Method};

use super::{Error, Inner};

/// The first pause before a call is made again; each further one is twice as long ...
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// ... up to this.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Whatever became of it: twice is as good as once.
    Always,
    /// Only when it is certain that it changed nothing.
    UnlessSent,
}

impl Repeat {
    fn allows(self, error: &Error) -> bool {
        error.retryable() && (self == Self::Always || !error.outcome_unknown())
    }
}

impl Inner {
    /// Makes a call, on the caller's thread.
    ///
    /// # Errors
    ///
    /// `Unreachable`, `TimedOut`, `Lost`, `Refused`, `Malformed`.
    pub(super) fn call<Q, A: Unpin>(&self, method: &Method<Q, A>, request: &Q, repeat: Repeat) -> Result<A, Error> {
        let begun = Instant::now();
        let deadline = begun + self.options.timeout;
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.call_once(method, request, begun, deadline) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !repeat.allows(&error) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn call_once<Q, A: Unpin>(
        &self,
        method: &Method<Q, A>,
        request: &Q,
        begun: Instant,
        deadline: Instant,
    ) -> Result<A, Error> {
        pollster::block_on(async {
            let connection = self.connections.ready(deadline).await?;
            let option = CallOption::default().timeout(deadline.saturating_duration_since(Instant::now()));
            let answer = match connection.grpc().unary_call_async(method, request, option) {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            answer.map_err(|error| {
                let error = Error::of_call(error, connection.addr(), begun.elapsed());
                if matches!(error, Error::Lost { .. }) {
                    connection.note_lost();
                }
                error
            })
        })
    }
}
