//! The bounded queue between the callers and the persistence thread.
//!
//! Closing it under the write lock leaves no edit between "not refused" and "in the channel", so the thread that drains the
//! channel afterwards misses none.

use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{Edit, EditError, EditOutcome, EditReply};

/// Edits that may wait; at about 100 bytes each, 6 MiB.
pub const QUEUE_MAX: usize = 65_536;

/// A queued edit and who waits for it.
pub(super) struct Request {
    pub(super) edit: Edit,
    pub(super) reply: EditReply,
}

impl Request {
    /// Answers; a caller that has gone is no error.
    pub(super) fn answer(self, result: Result<EditOutcome, EditError>) {
        let _ = self.reply.send(result);
    }
}

/// The near end. Both the callers and the thread close it.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Arc<RwLock<Option<Sender<Request>>>>,
}

impl Queue {
    /// A queue, and its far end. Behind the last edit of a closed queue the far end is disconnected.
    pub(super) fn new() -> (Self, Receiver<Request>) {
        let (sender, receiver) = bounded(QUEUE_MAX);
        (Self { sender: Arc::new(RwLock::new(Some(sender))) }, receiver)
    }

    /// Appends an edit; never blocks.
    pub(super) fn send(&self, request: Request) -> Result<(), EditError> {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        match sender.as_ref().map(|sender| sender.try_send(request)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(EditError::QueueFull),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(EditError::Stopped),
        }
    }

    /// Refuses every later edit.
    pub(super) fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
