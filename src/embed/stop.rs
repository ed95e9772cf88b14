//! The end of a placement driver: neither calls nor a disk that hang keep it from ending.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::EmbedError;
use crate::service::Pd;
use crate::storage::StorageError;

/// How long calls that are under way may take to end when the server stops.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the last writes may take after that.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Does `work`, which may hang, on a thread of its own. The channel gets the result.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, done) = crossbeam_channel::bounded(1);
    if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn(move || sender.send(work())) {
        log::error!("cannot start a thread to stop with: {error}");
    }
    done
}

/// Refuses every later call and ends the persistence thread, with exact counters on disk, in at most [`DRAIN_LIMIT`].
///
/// # Errors
///
/// All but `Bind`.
pub(crate) fn drain(pd: Arc<Pd>) -> Result<(), EmbedError> {
    drained(&aside(move || pd.stop()), DRAIN_LIMIT)
}

fn drained(stopped: &Receiver<Result<(), StorageError>>, limit: Duration) -> Result<(), EmbedError> {
    match stopped.recv_timeout(limit) {
        Ok(result) => Ok(result?),
        Err(RecvTimeoutError::Timeout) => Err(EmbedError::DiskHangs { waited: limit }),
        Err(RecvTimeoutError::Disconnected) => Err(EmbedError::NotEnded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_hangs_does_not_keep_the_process_from_ending() {
        let (_disk, forever) = crossbeam_channel::bounded::<()>(0);
        let stopped = aside(move || {
            let _ = forever.recv();
            Ok(())
        });
        let error = drained(&stopped, Duration::from_millis(1)).unwrap_err();
        assert!(error.to_string().starts_with("the disk has not taken the last writes within 1ms"), "{error}");
    }

    #[test]
    fn the_end_of_the_last_writes_is_passed_on() {
        let forever = Duration::from_secs(60);
        assert!(drained(&aside(|| Ok(())), forever).is_ok());
        let failed =
            || Err(StorageError::Io { action: "sync", path: "w".into(), source: std::io::ErrorKind::Other.into() });
        assert!(matches!(drained(&aside(failed), forever), Err(EmbedError::Storage(_))));
    }
}
