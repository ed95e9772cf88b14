//! The persistence thread.
use super::{Edit, EditError, EditReply, StorageError};

/// The handle of the persistence thread.
pub struct Writer {
    _private: (),
}

impl Writer {
    /// Queues an edit; never blocks. The caller has called `Cluster::begin_edit` for its id; the writer calls `end_edit`
    /// before it answers. On an error the edit was not queued, and `end_edit` is the caller's.
    ///
    /// # Errors
    ///
    /// `QueueFull` or `Stopped`.
    pub fn submit(&self, _edit: Edit, _reply: EditReply) -> Result<(), EditError> {
        unimplemented!()
    }

    /// Tells the thread that the allocators want a refill; never blocks.
    pub fn poke(&self) {
        unimplemented!()
    }

    /// Writes what is queued, freezes both allocators, writes their exact values and ends the thread. Later calls do nothing.
    ///
    /// # Errors
    ///
    /// The error that ended the thread earlier, or that the last writes met.
    pub fn stop(&self) -> Result<(), StorageError> {
        unimplemented!()
    }
}
