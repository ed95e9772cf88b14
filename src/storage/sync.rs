//! The places where threads meet in this layer. `tests/interleavings` compiles the layer with shuttle's in their place, to
//! try the orders in which the threads may run.

#[cfg(interleavings)]
pub use crate::shuttled::{Instant, Mutex, MutexGuard, Receiver, RwLock, Sender, bounded, thread, wait};
#[cfg(not(interleavings))]
pub use {
    crossbeam_channel::{Receiver, Sender, bounded},
    std::sync::{Mutex, MutexGuard, RwLock},
    std::thread,
    std::time::Instant,
};

/// What ended a wait.
pub enum Wake<T> {
    Message(T),
    /// The channel of messages is empty, and nobody can send any more.
    Closed,
    /// A poke, or the time.
    Other,
}

/// Waits for a message, the end of their channel, a poke, or `time` (`None`: for ever).
#[cfg(not(interleavings))]
pub fn wait<T>(messages: &Receiver<T>, pokes: &Receiver<()>, time: Option<std::time::Duration>) -> Wake<T> {
    use crossbeam_channel::{after, never, select};
    let timeout = time.map_or_else(never, after);
    select! {
        recv(messages) -> message => message.map_or(Wake::Closed, Wake::Message),
        recv(pokes) -> _ => Wake::Other,
        recv(timeout) -> _ => Wake::Other,
    }
}
