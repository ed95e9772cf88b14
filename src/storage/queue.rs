//! The bounded queue between the callers and the persistence thread.
//!
//! Invariant: `taken` is the sum over all [`Room`]s, and at most [`QUEUE_BYTES_MAX`].
//!
//! Closing it under the write lock leaves no edit between "not refused" and "in the channel", so the thread that drains the
//! channel afterwards misses none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use crossbeam_channel::TrySendError;

use super::sync::{Receiver, RwLock, Sender, bounded};
use super::{Edit, EditError, EditOutcome, EditReply};

/// Edits that may wait. Beside its region's keys and peers each takes about 300 bytes, all of them 20 MiB.
pub const QUEUE_MAX: usize = 65_536;
/// Bytes of keys and peers that may wait or be in a batch: those of 1,000 bytes an edit.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A queued edit and who waits for it.
pub(super) struct Request {
    pub(super) edit: Edit,
    pub(super) reply: EditReply,
    /// Held until it is answered.
    #[expect(dead_code, reason = "what counts is when it is dropped")]
    pub(super) room: Room,
}

impl Request {
    /// Answers; a caller that has gone is no error.
    pub(super) fn answer(self, result: Result<EditOutcome, EditError>) {
        let _ = self.reply.send(result);
    }
}

/// Memory that a request takes of what the queue may have.
pub(super) struct Room {
    bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Room {
    /// The room for an edit, if there is so much.
    pub(super) fn take(taken: &Arc<AtomicUsize>, edit: &Edit) -> Option<Self> {
        let bytes = match edit {
            Edit::Put(region) => region.heap_len(),
            Edit::Delete(_) => 0,
        };
        let add = |taken: usize| taken.checked_add(bytes).filter(|&taken| taken <= QUEUE_BYTES_MAX);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { bytes, taken: Arc::clone(taken) })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The near end. Both the callers and the thread close it.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Arc<RwLock<Option<Sender<Request>>>>,
    taken: Arc<AtomicUsize>,
}

impl Queue {
    /// A queue, and its far end. Behind the last edit of a closed queue the far end is disconnected.
    pub(super) fn new() -> (Self, Receiver<Request>) {
        let (sender, receiver) = bounded(QUEUE_MAX);
        (Self { sender: Arc::new(RwLock::new(Some(sender))), taken: Arc::default() }, receiver)
    }

    /// Appends an edit; never blocks.
    pub(super) fn send(&self, edit: Edit, reply: EditReply) -> Result<(), EditError> {
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref().ok_or(EditError::Stopped)?;
        let room = Room::take(&self.taken, &edit).ok_or(EditError::QueueFull)?;
        sender.try_send(Request { edit, reply, room }).map_err(|error| match error {
            TrySendError::Full(_) => EditError::QueueFull,
            TrySendError::Disconnected(_) => EditError::Stopped,
        })
    }

    /// Refuses every later edit.
    pub(super) fn close(&self) {
        *self.sender.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
