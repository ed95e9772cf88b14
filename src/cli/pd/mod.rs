//! `pd-lite pd`: starts the placement driver, serves until a signal or a fatal error, and stops it.
//!
//! The order of a start: the command line and the configuration, then what every placement driver does (`embed`). What is
//! wrong is found before anything is changed, and a client that can connect is answered.

mod args;
mod log_lines;
mod signals;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use self::args::{Args, COMMAND, Settings};
use self::signals::StopSignals;
use super::{Exit, Failure, Words, printable, write_to_stdout};
use crate::embed::{Assembled, EmbedError, Restored, STOP_GRACE, aside, drain};
use crate::server::{BindError, Server};
use crate::service::Pd;
use crate::storage::StorageError;

/// How long calls that are under way may take to end after a fatal error: their answers are waiting already.
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
        let bind = |pd: &Arc<Pd>| Server::bind(&settings.server, Arc::clone(pd));
        let Assembled { pd, front: server, restored, fatal } = settings.parts.assemble(bind)?;
        let mut start_lines = String::new();
        match (&settings.parts.workdir, restored) {
            (Some(workdir), Some(restored)) => push_restored(&mut start_lines, restored, workdir),
            _ => log::warn!("no --workdir: everything is kept in memory, and timestamps start anew at the next start"),
        }
        writeln!(start_lines, "PD-lite service listening on {}", server.addr()).expect("a String");
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
        Ok(drain(pd)?)
    }

    /// Stops the server. The channel tells whether all of its calls ended.
    fn stop_server(self, grace: Duration) -> Receiver<bool> {
        let mut server = self.server;
        aside(move || server.stop(grace))
    }
}

/// Says what a fatal error was, once the server has `stopped`. Callers get the answers that are waiting, but nothing here may
/// wait for long: neither for calls that hang nor for the disk.
fn give_up(stopped: &Receiver<bool>, error: Option<StorageError>) -> Failure {
    let _ = stopped.recv_timeout(FATAL_LIMIT);
    error.map_or_else(|| Failure::new(Exit::Runtime, "the persistence thread has ended"), Failure::from)
}

/// The start lines about the workdir, in the reference's words. A counter at the end of the 64 bits has no next value.
fn push_restored(lines: &mut String, restored: Restored, workdir: &Path) {
    let next = |issued: u64| issued.checked_add(1).map_or_else(|| "exhausted".to_owned(), |next| next.to_string());
    let Restored { regions, issued } = restored;
    let (id, timestamp) = (next(issued.ids), next(issued.timestamps));
    let workdir = printable(&workdir.to_string_lossy());
    writeln!(lines, "PD restored {regions} region(s) from manifest: {workdir}").expect("a String");
    writeln!(lines, "PD allocator starts: id={id} ts={timestamp}").expect("a String");
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

impl From<EmbedError> for Failure {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Bind(error) => error.into(),
            EmbedError::Storage(error) => error.into(),
            EmbedError::DiskHangs { .. } => Self::new(Exit::Disk, error),
            EmbedError::NotEnded => Self::new(Exit::Runtime, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Limits;

    fn restored_lines(regions: usize, ids: u64, timestamps: u64, workdir: &str) -> String {
        let mut lines = String::new();
        let restored = Restored { regions, issued: Limits { ids, timestamps } };
        push_restored(&mut lines, restored, Path::new(workdir));
        lines
    }

    #[test]
    fn the_start_lines_are_the_reference_s() {
        let lines = restored_lines(2, 10, 0, "/w d");
        assert_eq!(lines, "PD restored 2 region(s) from manifest: /w d\nPD allocator starts: id=11 ts=1\n");
        let lines = restored_lines(0, u64::MAX, u64::MAX - 1, "w");
        assert!(lines.ends_with("PD allocator starts: id=exhausted ts=18446744073709551615\n"), "{lines}");
        let lines = restored_lines(0, 0, 0, "/w\nPD-lite service listening on é:1");
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.contains("manifest: /w\\nPD-lite service listening on é:1\n"), "{lines}");
    }

    #[test]
    fn each_way_to_end_badly_has_its_exit_code() {
        let exit = |error: EmbedError| Failure::from(error).exit;
        let storage = StorageError::InUse { workdir: "w".into(), holder: None };
        assert_eq!(exit(storage.into()), Exit::InUse);
        assert_eq!(exit(BindError::Address { addr: "a".into(), reason: "odd".into() }.into()), Exit::Usage);
        assert_eq!(exit(EmbedError::DiskHangs { waited: STOP_GRACE }), Exit::Disk);
        assert_eq!(exit(EmbedError::NotEnded), Exit::Runtime);
    }

    #[test]
    fn the_command_s_lines_name_its_flags() {
        let line = |error: EmbedError| Failure::from(error).line();
        let odd = || "odd".to_owned();
        let line_of_storage = line(StorageError::NotOurs { workdir: "w".into(), reason: odd() }.into());
        assert!(line_of_storage.ends_with("choose another --workdir"), "{line_of_storage}");
        let line_of_bind = line(BindError::Address { addr: "a".into(), reason: odd() }.into());
        assert!(line_of_bind.ends_with("give --addr as HOST:PORT"), "{line_of_bind}");
    }
}
