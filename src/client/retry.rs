//! One call: connect, send, wait for the answer, and again where that is safe, until the client's timeout is over.

use std::thread;
use std::time::{Duration, Instant};

use grpcio::Method;
use protobuf::Message;

use super::{Error, Inner, Refusal};
use crate::proto::{pdlite, pdlite_methods};

/// The first pause before a call is made again; each further one is twice as long ...
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// ... up to this. Of each, up to a half is left out by chance, so that callers that failed together part.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Longer timeouts are as good as none, and clocks might not reach their end.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest message that a gRPC server takes unless it is told otherwise, as the Go PD is not.
const GRPC_BYTES_MAX: usize = 4 << 20;

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Whatever became of it: twice is as good as once.
    Always,
    /// Only when it is certain that it changed nothing.
    UnlessSent,
    /// Only waiting for a connection is left to the client.
    Never,
}

impl Repeat {
    fn allows(self, error: &Error) -> bool {
        match self {
            Self::Always => error.retryable(),
            Self::UnlessSent => error.retryable() && !error.outcome_unknown(),
            Self::Never => false,
        }
    }
}

/// The time that a call has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
}

impl Span {
    /// From now on.
    pub(super) fn new(timeout: Duration) -> Self {
        let begun = Instant::now();
        Self { begun, deadline: begun + timeout.min(TIMEOUT_MAX) }
    }

    pub(super) fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// A message to a PD.
pub(super) trait Request {
    /// Its length on the wire, in bytes.
    fn len(&self) -> usize;
}

impl<M: Message> Request for M {
    fn len(&self) -> usize {
        usize::try_from(self.compute_size()).unwrap_or(usize::MAX)
    }
}

impl Inner {
    /// Makes a call, on the caller's thread.
    ///
    /// # Errors
    ///
    /// `Invalid` for a message that is too long, `Unsupported` for a call of `pdlite.v1` that the PD does not know,
    /// `Unreachable`, `TimedOut`, `Lost`, `Refused`, `Malformed`.
    pub(super) fn call<Q: Request, A: Unpin>(
        &self,
        method: &Method<Q, A>,
        request: &Q,
        repeat: Repeat,
    ) -> Result<A, Error> {
        self.call_within(Span::new(self.options.timeout), method, request, repeat)
    }

    /// The same, in the time that is left of `span`.
    pub(super) fn call_within<Q: Request, A: Unpin>(
        &self,
        span: Span,
        method: &Method<Q, A>,
        request: &Q,
        repeat: Repeat,
    ) -> Result<A, Error> {
        self.again(span, repeat, async || self.call_once(method, request, span).await)
    }

    /// Makes a call once, when there is a connection.
    ///
    /// # Errors
    ///
    /// Those of [`Inner::call`].
    pub(super) async fn call_once<Q: Request, A: Unpin>(
        &self,
        method: &Method<Q, A>,
        request: &Q,
        span: Span,
    ) -> Result<A, Error> {
        let len = request.len();
        if len > self.options.request_bytes_max {
            return Err(too_long(len, self.options.request_bytes_max));
        }
        let connection = self.connections.ready(span.deadline).await?;
        let answer = connection.call(method, request, span).await;
        match &answer {
            Err(Error::TimedOut { .. }) => self.connections.note_silent(connection),
            // Most kinds of exhaustion pass; that of a message that is too long does not. The PD may be another one than the
            // one that told its limit.
            Err(Error::Refused { refusal: Refusal::ResourceExhausted, .. }) => {
                connection.forget_request_bytes_max();
                if let Ok(max) = self.request_bytes_max_once(span).await
                    && len > max
                {
                    return Err(too_long(len, max));
                }
            }
            _ => {}
        }
        answer
    }

    /// The longest message that may be sent, in bytes. The PD is asked once a connection.
    ///
    /// # Errors
    ///
    /// `Unreachable`, `TimedOut`, `Lost`, `Refused`, `Malformed`.
    pub(super) fn request_bytes_max(&self, span: Span) -> Result<usize, Error> {
        self.again(span, Repeat::Always, async || self.request_bytes_max_once(span).await)
    }

    async fn request_bytes_max_once(&self, span: Span) -> Result<usize, Error> {
        let connection = self.connections.ready(span.deadline).await?;
        let max = match connection.request_bytes_max() {
            Some(known) => known,
            None => {
                let status = connection.call(&pdlite_methods::GET_STATUS, &pdlite::GetStatusRequest::new(), span).await;
                let told = match status {
                    Ok(status) if status.limits.request_bytes == 0 => usize::MAX,
                    Ok(status) => usize::try_from(status.limits.request_bytes).unwrap_or(usize::MAX),
                    Err(Error::Unsupported { .. }) => GRPC_BYTES_MAX,
                    Err(error) => {
                        if matches!(error, Error::TimedOut { .. }) {
                            self.connections.note_silent(connection);
                        }
                        return Err(error);
                    }
                };
                connection.note_request_bytes_max(told);
                told
            }
        };
        Ok(max.min(self.options.request_bytes_max))
    }

    /// Makes attempts until one succeeds, one fails in a way that `repeat` takes as final, or the time is over.
    ///
    /// # Errors
    ///
    /// That of the last attempt. Where that one was not even sent, the outcome of one before it may be unknown: then that
    /// one's.
    fn again<A>(&self, span: Span, repeat: Repeat, attempt: impl AsyncFn() -> Result<A, Error>) -> Result<A, Error> {
        let mut pause_max = PAUSE_FIRST;
        let mut sent = None;
        loop {
            let error = match pollster::block_on(attempt()) {
                Ok(answer) => return Ok(answer),
                Err(error @ Error::Unreachable { .. }) => return Err(sent.unwrap_or(error)),
                Err(error) => error,
            };
            let pause = jittered(pause_max);
            if !repeat.allows(&error) || pause >= span.left() {
                return Err(error);
            }
            if error.outcome_unknown() {
                sent = Some(error);
            }
            thread::sleep(pause);
            pause_max = (pause_max * 2).min(PAUSE_MAX);
        }
    }
}

fn too_long(len: usize, max: usize) -> Error {
    Error::Invalid(format!("a message of {len} bytes is too long: the PD or the client's options allow {max}"))
}

/// Between a half of `pause` and all of it.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
