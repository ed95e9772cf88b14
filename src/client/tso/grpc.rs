//! A batcher's calls over gRPC: on the Tso stream where the PD offers `pdlite.v1`, else as calls of `pb.PD`.
//!
//! A call is sent on the caller's thread where there is a connection; everything that waits (for a connection, an answer,
//! the end of a pause) is a future on the client's poll thread. A failed call is made again until its deadline, with pauses:
//! to repeat it costs some skipped values, which nobody has seen.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use grpcio::{CallOption, ConnectivityState, RpcStatusCode};

use super::stream::{Pending, Sent, TsoStream};
use super::transport::{Call, Timestamps, Transport};
use crate::client::Error;
use crate::client::connections::{Connection, Connections};
use crate::proto::{pd, pd_methods};

/// The longest first pause before a call is made again; each further one is twice as long ...
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// ... up to this.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Makes calls through a client's connections.
pub(in crate::client) struct GrpcTransport {
    link: Arc<Link>,
}

/// What the futures share. Each holds it no longer than its call may take; the stream's reader holds it weakly.
pub(super) struct Link {
    connections: Arc<Connections>,
    stream: TsoStream,
}

/// A call, and what was tried for it.
pub(super) struct Attempt {
    pub(super) call: Call,
    begun: Instant,
    pause_max: Duration,
}

impl GrpcTransport {
    pub(in crate::client) fn new(connections: Arc<Connections>) -> Self {
        let link = Arc::new_cyclic(|link| Link { connections, stream: TsoStream::new(Weak::clone(link)) });
        Self { link }
    }
}

impl Transport for GrpcTransport {
    fn ask(&self, call: Call) {
        let attempt = Attempt { call, begun: Instant::now(), pause_max: PAUSE_FIRST };
        if let Sent::No(attempt) = self.link.stream.send(attempt) {
            self.link.start(attempt);
        }
    }

    fn addr(&self) -> String {
        self.link.connections.addrs()
    }

    fn late(&self, waited: Duration) -> Error {
        let connection = self.link.connections.current();
        match connection.grpc().channel().check_connectivity_state(false) {
            ConnectivityState::GRPC_CHANNEL_READY => Error::TimedOut { addr: connection.addr().to_owned(), waited },
            _ => Error::Unreachable { addrs: self.link.connections.addrs(), waited },
        }
    }
}

impl Link {
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
            let connection = match self.connections.ready(attempt.call.deadline()).await {
                Ok(connection) => connection,
                Err(error) => return attempt.call.end(Err(error)),
            };
            if connection.may_offer_pdlite() {
                attempt = match self.stream.open_and_send(connection, attempt) {
                    Sent::Yes => return,
                    Sent::No(attempt) => attempt,
                };
            }
            let error = match attempt.unary(connection).await {
                Ok(answer) => return attempt.call.end(Ok(answer)),
                Err(error) => error,
            };
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
                Some(error) => attempt.error(error, connection),
                None => Error::Lost { addr: connection.addr().to_owned(), reason: "the stream ended".into() },
            };
            self.start_again(attempt, error);
        }
    }

    /// Waits before a call is made again. `None`: it was ended with `error`, for it makes no sense to try again, or there is
    /// no time to.
    async fn pause(&self, mut attempt: Attempt, error: Error) -> Option<Attempt> {
        let pause = attempt.pause_max.mul_f64(0.5 + fastrand::f64() / 2.0);
        attempt.pause_max = (attempt.pause_max * 2).min(PAUSE_MAX);
        if !error.retryable() || Instant::now() + pause >= attempt.call.deadline() {
            attempt.call.end(Err(error));
            return None;
        }
        // The only timer on the poll thread. It also ends when the connection breaks: the next step waits for that.
        let channel = self.connections.current().grpc().channel();
        channel.wait_for_state_change(channel.check_connectivity_state(false), pause).await;
        Some(attempt)
    }
}

impl Attempt {
    /// As a call of `pb.PD`.
    async fn unary(&self, connection: &Connection) -> Result<Timestamps, Error> {
        let request = pd::TsoRequest { count: self.call.count(), ..Default::default() };
        let option = CallOption::default().timeout(self.call.deadline().saturating_duration_since(Instant::now()));
        let answer = match connection.grpc().unary_call_async(&pd_methods::TSO, &request, option) {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        let answer = answer.map_err(|error| self.error(error, connection))?;
        Ok(Timestamps { first: answer.timestamp, count: answer.count })
    }

    /// What `error` of gRPC means for this call.
    fn error(&self, error: grpcio::Error, connection: &Connection) -> Error {
        let error = Error::of_call(error, connection.addr(), self.begun.elapsed());
        if matches!(error, Error::Lost { .. }) {
            connection.note_lost();
        }
        error
    }
}

/// Whether a stream ended because the PD has none.
fn is_unimplemented(reason: Option<&grpcio::Error>) -> bool {
    matches!(reason, Some(grpcio::Error::RpcFailure(status)) if status.code() == RpcStatusCode::UNIMPLEMENTED)
}
