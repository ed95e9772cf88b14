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
    /// Dropped before the connection, which may be the client's last: that ends the poll thread's queue, and gRPC does not
    /// cancel a call whose queue has ended.
    sink: ClientDuplexSender<pd::TsoRequest>,
    connection: Arc<Connection>,
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

    /// Sends a call on the open stream, if it is one of `connection`.
    pub(super) fn send(&self, connection: &Arc<Connection>, attempt: Attempt) -> Sent {
        match &mut *self.writer() {
            Some(writer) if Arc::ptr_eq(&writer.connection, connection) => writer.send(attempt),
            _ => Sent::No(attempt),
        }
    }

    /// Sends a call on the stream of `connection`, which is opened where there is none.
    pub(super) fn open_and_send(&self, connection: &Arc<Connection>, attempt: Attempt) -> Sent {
        let mut writer = self.writer();
        let mut reader = None;
        if !writer.as_ref().is_some_and(|writer| writer.serves(connection)) {
            // The one before is cancelled by being dropped.
            *writer = None;
            if let Ok((sink, answers)) = connection.grpc().duplex_streaming(&pdlite_methods::TSO, CallOption::default())
            {
                let pending = Arc::new(Pending(Mutex::new(Some(VecDeque::new()))));
                let reads = Reader {
                    link: Weak::clone(&self.link),
                    connection: Arc::downgrade(connection),
                    pending: Arc::clone(&pending),
                };
                reader = Some(reads.run(answers));
                *writer = Some(Writer { connection: Arc::clone(connection), sink, pending });
            }
        }
        let sent = match &mut *writer {
            Some(writer) => writer.send(attempt),
            None => Sent::No(attempt),
        };
        drop(writer);
        // Without the lock: the reader runs at once, on this thread, and takes the lock where the stream has ended already.
        if let Some(reader) = reader {
            connection.grpc().spawn(reader);
        }
        sent
    }

    /// Closes the stream if its oldest call has got no answer in its time; the next may fare better on another one. Returns
    /// its connection.
    pub(super) fn close_overdue(&self) -> Option<Arc<Connection>> {
        let overdue = self.writer().take_if(|writer| writer.is_overdue())?;
        Some(Arc::clone(&overdue.connection))
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
    /// Whether it is open, on this connection.
    fn serves(&self, connection: &Arc<Connection>) -> bool {
        Arc::ptr_eq(&self.connection, connection) && self.pending.lock().is_some()
    }

    fn is_overdue(&self) -> bool {
        self.pending.lock().as_ref().is_some_and(is_overdue)
    }

    fn send(&mut self, attempt: Attempt) -> Sent {
        let request = pd::TsoRequest { count: attempt.call.count(), ..Default::default() };
        let mut nobody = Context::from_waker(Waker::noop());
        // Not ready: gRPC has not passed on the request before. The call goes beside the stream.
        if !matches!(Pin::new(&mut self.sink).poll_ready(&mut nobody), Poll::Ready(Ok(()))) {
            return Sent::No(attempt);
        }
        match &mut *self.pending.lock() {
            Some(calls) if !is_overdue(calls) => calls.push_back(attempt),
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

fn is_overdue(calls: &VecDeque<Attempt>) -> bool {
    calls.front().is_some_and(|oldest| oldest.call.deadline() <= Instant::now())
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
                    let (Some(attempt), Some(link)) = (first, self.link.upgrade()) else {
                        // An answer to nothing, and the order cannot be trusted; or the client is gone.
                        break None;
                    };
                    link.answered(attempt.call, &answer);
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
