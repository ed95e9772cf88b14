//! The Tso stream of `pdlite.v1`: requests go out one after the other and are answered in this order.
//!
//! It is opened when a call needs it, and stays open. A request that is refused ends it, as does the connection's end: what
//! was not answered by then is asked again, one by one.
//!
//! Locks: `TsoStream::writer` is held while a request is handed to gRPC, and then `Pending`, for a push or a pop; the reader,
//! on the poll thread, takes only the latter but to forget a stream that has ended.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::{Sink, StreamExt};
use grpcio::{CallOption, ClientDuplexReceiver, ClientDuplexSender, WriteFlags};

use super::grpc::{Attempt, Link};
use super::transport::Timestamps;
use crate::client::connections::Connection;
use crate::proto::{pd, pdlite_methods};

/// Whether a call is on its way.
pub(super) enum Sent {
    Yes,
    No(Attempt),
}

/// The stream in use, if there is one.
pub(super) struct TsoStream {
    link: Weak<Link>,
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    sink: ClientDuplexSender<pd::TsoRequest>,
    pending: Arc<Pending>,
}

/// The calls on a stream that are not answered, in the order sent. `None`: the stream has ended.
pub(super) struct Pending(Mutex<Option<VecDeque<Attempt>>>);

impl TsoStream {
    pub(super) fn new(link: Weak<Link>) -> Self {
        Self { link, writer: Mutex::new(None) }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a call on the open stream.
    pub(super) fn send(&self, attempt: Attempt) -> Sent {
        match &mut *self.writer() {
            Some(writer) => writer.send(attempt),
            None => Sent::No(attempt),
        }
    }

    /// Sends a call on the stream, which is opened on `connection` where there is none that could take it.
    pub(super) fn open_and_send(&self, connection: &Arc<Connection>, attempt: Attempt) -> Sent {
        let mut writer = self.writer();
        let mut reader = None;
        if writer.as_ref().is_none_or(Writer::has_ended) {
            // A stream that is overdue is cancelled by being dropped.
            *writer = None;
            if let Some((opened, answers)) = self.open(connection) {
                let pending = Arc::clone(&opened.pending);
                reader = Some((
                    Reader { link: Weak::clone(&self.link), connection: Arc::downgrade(connection), pending },
                    answers,
                ));
                *writer = Some(opened);
            }
        }
        let sent = match &mut *writer {
            Some(writer) => writer.send(attempt),
            None => Sent::No(attempt),
        };
        drop(writer);
        // Without the lock: the reader runs at once, on this thread, and takes the lock where the stream has ended already.
        if let Some((reader, answers)) = reader {
            connection.grpc().spawn(reader.run(answers));
        }
        sent
    }

    fn open(&self, connection: &Connection) -> Option<(Writer, ClientDuplexReceiver<pd::TsoResponse>)> {
        let (sink, answers) = connection.grpc().duplex_streaming(&pdlite_methods::TSO, CallOption::default()).ok()?;
        Some((Writer { sink, pending: Arc::new(Pending(Mutex::new(Some(VecDeque::new())))) }, answers))
    }

    /// Forgets the stream of `pending`, which has ended.
    pub(super) fn forget(&self, pending: &Arc<Pending>) {
        let mut writer = self.writer();
        if writer.as_ref().is_some_and(|writer| Arc::ptr_eq(&writer.pending, pending)) {
            *writer = None;
        }
    }
}

impl Writer {
    fn has_ended(&self) -> bool {
        !self.pending.lock().as_ref().is_some_and(takes_more)
    }

    fn send(&mut self, attempt: Attempt) -> Sent {
        let request = pd::TsoRequest { count: attempt.call.count(), ..Default::default() };
        let mut nobody = Context::from_waker(Waker::noop());
        // Not ready: gRPC has not passed on the request before. The call goes beside the stream.
        if !matches!(Pin::new(&mut self.sink).poll_ready(&mut nobody), Poll::Ready(Ok(()))) {
            return Sent::No(attempt);
        }
        match &mut *self.pending.lock() {
            Some(calls) if takes_more(calls) => calls.push_back(attempt),
            _ => return Sent::No(attempt),
        }
        // In the list before it is sent: the answer may come first. When it cannot be sent, the stream ends, and its reader
        // takes care of the list.
        if Pin::new(&mut self.sink).start_send((request, WriteFlags::default())).is_err() {
            self.sink.cancel();
        }
        Sent::Yes
    }
}

/// Whether the oldest call can still get its answer in time: if not, the next one may fare better on a stream of its own.
fn takes_more(calls: &VecDeque<Attempt>) -> bool {
    calls.front().is_none_or(|oldest| Instant::now() < oldest.call.deadline())
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Attempt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in a stream's answers. It ends with the stream; that ends when its writer is dropped.
struct Reader {
    link: Weak<Link>,
    connection: Weak<Connection>,
    pending: Arc<Pending>,
}

impl Reader {
    async fn run(self, mut answers: ClientDuplexReceiver<pd::TsoResponse>) {
        let reason = loop {
            match answers.next().await {
                Some(Ok(answer)) => {
                    let first = self.pending.lock().as_mut().and_then(VecDeque::pop_front);
                    match first {
                        Some(Attempt { call, .. }) => {
                            call.end(Ok(Timestamps { first: answer.timestamp, count: answer.count }));
                        }
                        // An answer to nothing: the order cannot be trusted.
                        None => break None,
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        let calls = self.pending.lock().take().unwrap_or_default();
        // With the client gone, the calls end as dropped ones.
        if let (Some(link), Some(connection)) = (self.link.upgrade(), self.connection.upgrade()) {
            link.stream_ended(&connection, &self.pending, calls, reason);
        }
    }
}
