//! The handle of the persistence thread.
//!
//! Lock order: `stop` holds `thread` while it joins; the persistence thread never takes it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use super::persist::{Persistence, Work};
use super::queue::Queue;
use super::sync::{Mutex, Sender, bounded, thread};
use super::{Edit, EditError, EditReply, StorageError};

pub use super::queue::{QUEUE_BYTES_MAX, QUEUE_MAX};

/// The handle of the persistence thread. Dropping it does what [`Writer::stop`] does.
pub struct Writer {
    queue: Queue,
    poke: Sender<()>,
    has_space: Arc<AtomicBool>,
    thread: Mutex<Option<thread::JoinHandle<Result<(), StorageError>>>>,
}

impl Writer {
    /// Starts the thread. `fatal` gets the error that ends it, if one does.
    pub(super) fn spawn(work: Work, fatal: crossbeam_channel::Sender<StorageError>) -> Result<Self, StorageError> {
        let (queue, requests) = Queue::new();
        let (poke, pokes) = bounded(1);
        let workdir = work.dir.path.clone();
        let has_space = Arc::new(AtomicBool::new(true));
        let persistence = Persistence::new(work, queue.clone(), requests, pokes, Arc::clone(&has_space));
        let thread = thread::Builder::new()
            .name("pd-writer".to_owned())
            .spawn(move || run(persistence, &fatal))
            .map_err(|source| StorageError::io("start the persistence thread of", &workdir, source))?;
        Ok(Self { queue, poke, has_space, thread: Mutex::new(Some(thread)) })
    }

    /// Queues an edit; never blocks. The caller has called `Cluster::begin_edit` for its id; the writer calls `end_edit`
    /// before it answers. On an error the edit was not queued, and `end_edit` is the caller's. A region's range must be
    /// well-formed, and its record must fit into a batch ([`super::record::BATCH_LEN_MAX`]; a longer one is answered
    /// `NoSpace`).
    ///
    /// # Errors
    ///
    /// `QueueFull` or `Stopped`.
    pub fn submit(&self, edit: Edit, reply: EditReply) -> Result<(), EditError> {
        self.queue.send(edit, reply)
    }

    /// Tells the thread that the allocators want a refill; never blocks.
    pub fn poke(&self) {
        // A full channel holds a poke that the thread has not seen yet.
        let _ = self.poke.try_send(());
    }

    /// Tells whether the last write found space and descriptors; true when there was none yet.
    #[must_use]
    pub fn has_space(&self) -> bool {
        self.has_space.load(Ordering::Relaxed)
    }

    /// Writes what is queued, freezes both allocators, writes their exact values and ends the thread. Later calls do nothing.
    ///
    /// # Errors
    ///
    /// The error that ended the thread earlier, or that the last writes met.
    pub fn stop(&self) -> Result<(), StorageError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.close();
        match thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // An error was told already, to whoever listens to `fatal`.
        let _ = self.stop();
    }
}

/// The thread's life: until the queue is closed and empty, or an error or a panic ends it.
fn run(mut persistence: Persistence, fatal: &crossbeam_channel::Sender<StorageError>) -> Result<(), StorageError> {
    // After a panic nothing of its state is used but replies, the allocators and the queue; no file is touched.
    let ended = catch_unwind(AssertUnwindSafe(|| persistence.run()));
    let result = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let source = io::Error::other(format!("panic: {}", text.unwrap_or("no message")));
        Err(StorageError::io("go on writing to", persistence.workdir(), source))
    });
    if let Err(error) = &result {
        persistence.refuse_all(error);
        // Whoever listens needs one error to end the process; a full channel holds one.
        let _ = fatal.try_send(copy(error));
    }
    result
}

/// The same error once more, for the second one who is told.
fn copy(error: &StorageError) -> StorageError {
    match error {
        StorageError::InUse { workdir, holder } => {
            StorageError::InUse { workdir: workdir.clone(), holder: holder.clone() }
        }
        StorageError::NotOurs { workdir, reason } => {
            StorageError::NotOurs { workdir: workdir.clone(), reason: reason.clone() }
        }
        StorageError::Damaged { file, offset, reason } => {
            StorageError::Damaged { file: file.clone(), offset: *offset, reason: reason.clone() }
        }
        StorageError::ChangedUnderUs { file, change } => {
            StorageError::ChangedUnderUs { file: file.clone(), change: change.clone() }
        }
        StorageError::Io { action, path, source } => {
            let source = match source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(source.kind(), source.to_string()),
            };
            StorageError::io(action, path, source)
        }
    }
}
