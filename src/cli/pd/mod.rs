//! `pd-lite pd`: starts the placement driver, serves until a signal or a fatal error, and stops it.
//!
//! The order of a start: the command line and the configuration, then lock, read and check the workdir, bind the port, and
//! only then write to the workdir and serve. What is wrong is found before anything is changed, and a client that can
//! connect is answered.

mod args;
mod log_lines;
mod signals;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use self::args::{Args, COMMAND, Settings};
use self::signals::StopSignals;
use super::{Exit, Failure, Words, printable, write_to_stdout};
use crate::core::{Allocators, Cluster, Limits};
use crate::server::{BindError, Server};
use crate::service::Pd;
use crate::storage::fs::OsFs;
use crate::storage::{Opened, State, StorageError};

/// How long calls that are under way may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the last writes may take after that.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The same as the first after a fatal error: their answers are waiting already.
const FATAL_GRACE: Duration = Duration::from_millis(300);
/// When the process ends after a fatal error, whatever hangs.
const FATAL_LIMIT: Duration = Duration::from_millis(700);

/// Runs `pd-lite pd`.
///
/// # Errors
///
/// Any exit code but 0.
pub fn run(words: Words) -> Result<Exit, Failure> {
    COMMAND.run(words, serve)
}

fn serve(args: Args) -> Result<Exit, Failure> {
    let signals = StopSignals::install()
        .map_err(|error| Failure::new(Exit::Runtime, format!("cannot handle signals: {error}")))?;
    log_lines::begin(args.log_level);
    // Thousands of clients need a descriptor each. Where this is refused, the limit that is there has to do.
    let _ = rlimit::increase_nofile_limit(u64::MAX);

    let settings = args.resolve()?;
    let mut running = Running::start(&settings)?;
    let stop_signal = signals.begin_serving();
    running.server.start();
    log::info!("serving on {}", running.server.addr());
    announce(&running.start_lines);
    let fatal = running.fatal.clone();
    crossbeam_channel::select! {
        recv(stop_signal) -> signal => {
            log::info!("{}: refusing new calls and stopping", signal.unwrap_or("a signal"));
            running.stop().map(|()| Exit::Clean)
        }
        recv(fatal) -> error => Err(give_up(&running.stop_server(FATAL_GRACE), error.ok())),
    }
}

/// A placement driver that is ready to serve.
struct Running {
    server: Server,
    pd: Arc<Pd>,
    /// The error that ended the persistence thread.
    fatal: Receiver<StorageError>,
    start_lines: String,
}

impl Running {
    /// Does everything up to the first answer.
    fn start(settings: &Settings) -> Result<Self, Failure> {
        match &settings.workdir {
            None => Self::start_in_memory(settings),
            Some(workdir) => Self::start_durable(settings, workdir),
        }
    }

    fn start_in_memory(settings: &Settings) -> Result<Self, Failure> {
        let allocators = Allocators::unbounded(settings.issued_min);
        let state = State { cluster: Mutex::new(Cluster::default()), allocators: Mutex::new(allocators) };
        let pd = Arc::new(Pd::in_memory(Arc::new(state), settings.limits));
        let server = Server::bind(&settings.server, Arc::clone(&pd))?;
        let start_lines = listening_line(&server);
        log::warn!("no --workdir: everything is kept in memory, and timestamps start anew at the next start");
        Ok(Self { server, pd, fatal: crossbeam_channel::never(), start_lines })
    }

    fn start_durable(settings: &Settings, workdir: &Path) -> Result<Self, Failure> {
        let mut opened = Opened::open(Arc::new(OsFs), workdir)?;
        let snapshot = opened.take_snapshot();
        let issued = Limits {
            ids: snapshot.issued.ids.max(settings.issued_min.ids),
            timestamps: snapshot.issued.timestamps.max(settings.issued_min.timestamps),
        };
        let mut start_lines = restored_lines(snapshot.regions.len(), issued, workdir);
        // Reference: an overlap ends the start.
        let cluster = Cluster::restore(snapshot.regions).map_err(|overlap| opened.overlap(overlap))?;
        let state =
            Arc::new(State { cluster: Mutex::new(cluster), allocators: Mutex::new(Allocators::durable(issued)) });
        let pd = Arc::new(Pd::durable(Arc::clone(&state), settings.limits));
        let server = Server::bind(&settings.server, Arc::clone(&pd))?;
        let (fatal_sender, fatal) = crossbeam_channel::bounded(1);
        pd.attach(opened.start(state, fatal_sender)?);
        start_lines.push_str(&listening_line(&server));
        Ok(Self { server, pd, fatal, start_lines })
    }

    /// Stops in order: no new calls, the end of those under way, the exact allocator values on disk. Neither calls nor a disk
    /// that hang keep it from ending.
    fn stop(self) -> Result<(), Failure> {
        let fatal = self.fatal.clone();
        let pd = Arc::clone(&self.pd);
        let stopped = self.stop_server(STOP_GRACE);
        crossbeam_channel::select! {
            recv(stopped) -> in_time => if in_time == Ok(false) {
                log::warn!("calls that were still under way after {STOP_GRACE:?} are cancelled");
            },
            recv(fatal) -> error => return Err(give_up(&stopped, error.ok())),
        }
        drained(&aside(move || pd.stop()), DRAIN_LIMIT)
    }

    /// Stops the server. The channel tells whether all of its calls ended.
    fn stop_server(self, grace: Duration) -> Receiver<bool> {
        let mut server = self.server;
        aside(move || server.stop(grace))
    }
}

/// Does `work`, which may hang, on a thread of its own. The channel gets the result.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, done) = crossbeam_channel::bounded(1);
    if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn(move || sender.send(work())) {
        log::error!("cannot start a thread to stop with: {error}");
    }
    done
}

/// Waits for the end of the persistence thread, for at most `limit`.
fn drained(stopped: &Receiver<Result<(), StorageError>>, limit: Duration) -> Result<(), Failure> {
    match stopped.recv_timeout(limit) {
        Ok(result) => Ok(result?),
        Err(RecvTimeoutError::Timeout) => Err(Failure::new(
            Exit::Disk,
            format!(
                "the disk has not taken the last writes within {limit:?}: what was acknowledged is safe, and the next start \
                 skips values of the counters, as after a crash; check the disk"
            ),
        )),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::new(Exit::Runtime, "cannot end the persistence thread")),
    }
}

/// Says what a fatal error was, once the server has `stopped`. Callers get the answers that are waiting, but nothing here may
/// wait for long: neither for calls that hang nor for the disk.
fn give_up(stopped: &Receiver<bool>, error: Option<StorageError>) -> Failure {
    let _ = stopped.recv_timeout(FATAL_LIMIT);
    error.map_or_else(|| Failure::new(Exit::Runtime, "the persistence thread has ended"), Failure::from)
}

/// The start lines about the workdir, in the reference's words. A counter at the end of the 64 bits has no next value.
fn restored_lines(regions: usize, issued: Limits, workdir: &Path) -> String {
    let next = |issued: u64| issued.checked_add(1).map_or_else(|| "exhausted".to_owned(), |next| next.to_string());
    let (id, timestamp) = (next(issued.ids), next(issued.timestamps));
    let mut lines = String::new();
    let workdir = printable(&workdir.to_string_lossy());
    writeln!(lines, "PD restored {regions} region(s) from manifest: {workdir}").expect("a String");
    writeln!(lines, "PD allocator starts: id={id} ts={timestamp}").expect("a String");
    lines
}

fn listening_line(server: &Server) -> String {
    format!("PD-lite service listening on {}\n", server.addr())
}

/// Prints the start lines. A stdout that is closed or full is no reason not to serve.
fn announce(lines: &str) {
    if let Err(error) = write_to_stdout(lines) {
        log::warn!("cannot write to stdout: {error}");
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let exit = match &error {
            BindError::Address { .. } | BindError::Refused { .. } => Exit::Usage,
            BindError::InUse { .. } => Exit::InUse,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_lines_are_the_reference_s() {
        let lines = restored_lines(2, Limits { ids: 10, timestamps: 0 }, Path::new("/w d"));
        assert_eq!(lines, "PD restored 2 region(s) from manifest: /w d\nPD allocator starts: id=11 ts=1\n");
        let lines = restored_lines(0, Limits { ids: u64::MAX, timestamps: u64::MAX - 1 }, Path::new("w"));
        assert!(lines.ends_with("PD allocator starts: id=exhausted ts=18446744073709551615\n"), "{lines}");
        let lines = restored_lines(0, Limits::default(), Path::new("/w\nPD-lite service listening on é:1"));
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.contains("manifest: /w\\nPD-lite service listening on é:1\n"), "{lines}");
    }

    #[test]
    fn a_disk_that_hangs_does_not_keep_the_process_from_ending() {
        let (_disk, forever) = crossbeam_channel::bounded::<()>(0);
        let stopped = aside(move || {
            let _ = forever.recv();
            Ok(())
        });
        let failure = drained(&stopped, Duration::from_millis(1)).unwrap_err();
        assert_eq!(failure.exit, Exit::Disk);
        assert!(failure.line().starts_with("error: the disk has not taken the last writes within 1ms"));
    }

    #[test]
    fn the_end_of_the_last_writes_is_passed_on() {
        let forever = Duration::from_secs(60);
        assert_eq!(drained(&aside(|| Ok(())), forever), Ok(()));
        let failed =
            || Err(StorageError::Io { action: "sync", path: "w".into(), source: std::io::ErrorKind::Other.into() });
        assert_eq!(drained(&aside(failed), forever).unwrap_err().exit, Exit::Disk);
    }
}
