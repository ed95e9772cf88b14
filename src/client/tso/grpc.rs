//! A batcher's calls over gRPC: on the Tso stream where the PD offers `pdlite.v1`, else as calls of `pb.PD`.
//!
//! A call is sent on the caller's thread where there is a connection; everything that waits (for a connection, an answer,
//! the end of a pause) is a future on the client's poll thread. A failed call is made again until its deadline, with pauses:
//! to repeat it costs some skipped values, which nobody has seen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use grpcio::{ConnectivityState, RpcStatusCode};

use super::stream::{Pending, Sent, TsoStream};
use super::transport::{Call, Timestamps, Transport};
use crate::client::Error;
use crate::client::connections::{Connection, Connections};
use crate::client::retry::{PAUSE_FIRST, PAUSE_MAX, Span, jittered};
use crate::proto::{pd, pd_methods};

/// Makes calls through a client's connections.
pub(in crate::client) struct GrpcTransport {
    link: Arc<Link>,
}

/// What the futures share. Each holds it no longer than its call may take; the stream's reader holds it weakly.
pub(super) struct Link {
    connections: Arc<Connections>,
    stream: TsoStream,
    /// What the PD refused last, if it has answered nothing since: it tells more than that the time is over.
    refused: Mutex<Option<Error>>,
}

/// A call, and what was tried for it.
pub(super) struct Attempt {
    pub(super) call: Call,
    span: Span,
    pause_max: Duration,
}

impl GrpcTransport {
    pub(in crate::client) fn new(connections: Arc<Connections>) -> Self {
        let link = Arc::new_cyclic(|link| Link {
            connections,
            stream: TsoStream::new(Weak::clone(link)),
            refused: Mutex::new(None),
        });
        Self { link }
    }
}

impl Transport for GrpcTransport {
    fn ask(&self, call: Call) {
        let span = Span { begun: Instant::now(), deadline: call.deadline() };
        let attempt = Attempt { call, span, pause_max: PAUSE_FIRST };
        if let Sent::No(attempt) = self.link.stream.send(self.link.connections.current(), attempt) {
            if let Some(silent) = self.link.stream.close_overdue() {
                self.link.connections.note_silent(&silent);
            }
            self.link.start(attempt);
        }
    }

    fn addr(&self) -> String {
        self.link.connections.addrs()
    }

    fn late(&self, waited: Duration) -> Error {
        let connection = self.link.connections.current();
        match connection.grpc().channel().check_connectivity_state(false) {
            ConnectivityState::GRPC_CHANNEL_READY => match &*self.link.refused() {
                Some(error) => error.clone(),
                None => Error::TimedOut { addr: connection.addr().to_owned(), waited },
            },
            _ => Error::Unreachable { addrs: self.link.connections.addrs(), waited },
        }
    }
}

impl Link {
    fn refused(&self) -> MutexGuard<'_, Option<Error>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a call with the PD's answer.
    pub(super) fn answered(&self, call: Call, answer: &pd::TsoResponse) {
        *self.refused() = None;
        call.end(Ok(Timestamps { first: answer.timestamp, count: answer.count }));
    }

    /// Makes a call that finds no stream to go on.
    pub(super) fn start(self: &Arc<Self>, attempt: Attempt) {
        let link = Arc::clone(self);
        self.connections.current().grpc().spawn(async move { link.make(attempt).await });
    }

    /// Makes a call again, after `error` and a pause, if that can be of use.
    pub(super) fn start_again(self: &Arc<Self>, attempt: Attempt, error: Error) {
        let link = Arc::clone(self);
        self.connections.current().grpc().spawn(async move {
            if let Some(attempt) = link.pause(attempt, error).await {
                link.make(attempt).await;
            }
        });
    }

    /// Makes a call until it has an answer or its time is over.
    async fn make(&self, mut attempt: Attempt) {
        loop {
            let connection = match self.connections.ready(attempt.span.deadline).await {
                Ok(connection) => connection,
                Err(error) => return attempt.call.end(Err(error)),
            };
            if connection.may_offer_pdlite() {
                attempt = match self.stream.open_and_send(connection, attempt) {
                    Sent::Yes => return,
                    Sent::No(attempt) => attempt,
                };
            }
            let request = pd::TsoRequest { count: attempt.call.count(), ..Default::default() };
            let error = match connection.call(&pd_methods::TSO, &request, attempt.span).await {
                Ok(answer) => return self.answered(attempt.call, &answer),
                Err(error) => error,
            };
            if matches!(error, Error::TimedOut { .. }) {
                self.connections.note_silent(connection);
            }
            attempt = match self.pause(attempt, error).await {
                Some(attempt) => attempt,
                None => return,
            };
        }
    }

    /// Makes the calls again that a stream has left without an answer.
    pub(super) fn stream_ended(
        self: &Arc<Self>,
        connection: &Connection,
        stream: &Arc<Pending>,
        calls: VecDeque<Attempt>,
        mut reason: Option<grpcio::Error>,
    ) {
        self.stream.forget(stream);
        if is_unimplemented(reason.as_ref()) {
            connection.note_lacks_pdlite();
            return calls.into_iter().for_each(|attempt| self.start(attempt));
        }
        for attempt in calls {
            // A refusal is about the first request that has no answer; the others come to nothing because of it.
            let error = match reason.take() {
                Some(error) => Error::of_call(error, connection.addr(), attempt.span.begun.elapsed()),
                None => Error::Lost { addr: connection.addr().to_owned(), reason: "the stream ended".into() },
            };
            if matches!(error, Error::Lost { .. }) {
                connection.note_lost();
            }
            self.start_again(attempt, error);
        }
    }

    /// Waits before a call is made again. `None`: it was ended with `error`, for it makes no sense to try again, or there is
    /// no time to.
    async fn pause(&self, mut attempt: Attempt, error: Error) -> Option<Attempt> {
        let pause = jittered(attempt.pause_max);
        attempt.pause_max = (attempt.pause_max * 2).min(PAUSE_MAX);
        if !error.retryable() || pause >= attempt.span.left() {
            attempt.call.end(Err(error));
            return None;
        }
        *self.refused() = Some(error).filter(|error| matches!(error, Error::Refused { .. }));
        // The only timer on the poll thread. It also ends when the connection breaks: the next step waits for that.
        let channel = self.connections.current().grpc().channel();
        channel.wait_for_state_change(channel.check_connectivity_state(false), pause).await;
        Some(attempt)
    }
}

/// Whether a stream ended because the PD has none.
fn is_unimplemented(reason: Option<&grpcio::Error>) -> bool {
    matches!(reason, Some(grpcio::Error::RpcFailure(status)) if status.code() == RpcStatusCode::UNIMPLEMENTED)
}
