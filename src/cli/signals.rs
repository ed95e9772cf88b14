//! SIGTERM and SIGINT; and SIGXFSZ, which must not end the process: the write that is too long for `ulimit -f` fails, and
//! that is handled as any failed write.
//!
//! Handlers are installed explicitly, which also makes the signals count for pid 1, whose default is to ignore them. One
//! thread waits for signals as long as the process lives:
//!
//! - while the server starts, a signal ends the process at once with exit code 0: nobody was promised anything yet
//! - while it serves, the first one is handed over, to be followed by an orderly stop
//! - the next one ends the process at once, with 128 + the signal's number

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::cli::Exit;

/// The signals of this process.
pub struct StopSignals {
    serving: Arc<AtomicBool>,
    /// Gets the first signal's name.
    first: Receiver<&'static str>,
}

impl StopSignals {
    /// Installs the handlers and starts the thread.
    pub fn install() -> io::Result<Self> {
        // A handler that sets a flag nobody reads.
        flag::register(SIGXFSZ, Arc::default())?;
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let serving = Arc::new(AtomicBool::new(false));
        let is_serving = Arc::clone(&serving);
        let (sender, first) = crossbeam_channel::bounded(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for (earlier, signal) in signals.forever().enumerate() {
                if !is_serving.load(Ordering::SeqCst) {
                    low_level::exit(Exit::Clean.code());
                }
                if earlier > 0 || sender.send(low_level::signal_name(signal).unwrap_or("a signal")).is_err() {
                    low_level::exit(128 + signal);
                }
            }
        })?;
        Ok(Self { serving, first })
    }

    /// From now on the first signal is handed over: the end needs an orderly stop.
    pub fn begin_serving(&self) -> &Receiver<&'static str> {
        self.serving.store(true, Ordering::SeqCst);
        &self.first
    }
}
