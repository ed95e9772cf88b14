//! Threads, locks, channels and a clock whose every meeting point is one at which shuttle may switch threads.
//!
//! A channel is a queue behind a lock, and a receiver waits on one signal for all it waits for. A wait with a time limit may
//! end by it at any moment, and then the clock goes on by as much.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{TryRecvError, TrySendError};
use shuttle::sync::{Arc, Condvar};

use crate::storage::sync::Wake;

pub use shuttle::sync::{Mutex, MutexGuard, RwLock};
pub use shuttle::thread;

/// Milliseconds since the start, over all runs: one that is behind finds a clock that has gone on.
static CLOCK: AtomicU64 = AtomicU64::new(0);

/// A point of the clock that only waits move.
#[derive(Clone, Copy, Debug)]
pub struct Instant(u64);

impl Instant {
    pub fn now() -> Self {
        Self(CLOCK.load(Ordering::Relaxed))
    }

    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(CLOCK.load(Ordering::Relaxed) - self.0)
    }
}

/// What a receiver waits on.
#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn set(&self) {
        *self.is_set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap();
        }
    }
}

struct Channel<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    has_receiver: bool,
    listener: Option<Arc<Signal>>,
}

impl<T> Channel<T> {
    fn tell(&self) {
        self.listener.iter().for_each(|listener| listener.set());
    }
}

/// The near end of a channel.
pub struct Sender<T>(Arc<Mutex<Channel<T>>>);

/// The far end of a channel.
pub struct Receiver<T>(Arc<Mutex<Channel<T>>>);

/// A channel for `capacity` messages.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Channel { queue: VecDeque::new(), capacity, senders: 1, has_receiver: true, listener: None };
    let channel = Arc::new(Mutex::new(channel));
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Sender<T> {
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut channel = self.0.lock().unwrap();
        if !channel.has_receiver {
            return Err(TrySendError::Disconnected(message));
        }
        if channel.queue.len() >= channel.capacity {
            return Err(TrySendError::Full(message));
        }
        channel.queue.push_back(message);
        channel.tell();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut channel = self.0.lock().unwrap();
        channel.senders -= 1;
        channel.tell();
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut channel = self.0.lock().unwrap();
        match channel.queue.pop_front() {
            Some(message) => Ok(message),
            None if channel.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    fn listen(&self, listener: Option<&Arc<Signal>>) {
        self.0.lock().unwrap().listener = listener.cloned();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.lock().unwrap().has_receiver = false;
    }
}

/// As the real one: a message, the end of their channel, a poke, or the time.
pub fn wait<T>(messages: &Receiver<T>, pokes: &Receiver<()>, time: Option<Duration>) -> Wake<T> {
    let signal = Arc::new(Signal::default());
    messages.listen(Some(&signal));
    pokes.listen(Some(&signal));
    let look = || match (messages.try_recv(), pokes.try_recv()) {
        (Ok(message), _) => Some(Wake::Message(message)),
        (_, Ok(())) => Some(Wake::Other),
        (Err(TryRecvError::Disconnected), _) => Some(Wake::Closed),
        (Err(TryRecvError::Empty), _) => None,
    };
    let woken = look().unwrap_or_else(|| {
        if let Some(time) = time {
            let signal = Arc::clone(&signal);
            thread::spawn(move || {
                CLOCK.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
                signal.set();
            });
        }
        signal.wait();
        look().unwrap_or(Wake::Other)
    });
    messages.listen(None);
    pokes.listen(None);
    woken
}
