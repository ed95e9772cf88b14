//! The command line: which commands there are, and how each of them ends.
//!
//! A command line is parsed into plain data first and acted on afterwards. Help and version are texts for stdout. A mistake
//! is a [`Failure`]: one line and an exit code, printed by `main`.

mod bench;
mod config;
mod ctl;
mod flags;
mod keys;
mod log_lines;
mod menu;
mod pd;
mod pd_addr;
mod serve;
mod signals;
mod table;
mod time;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use self::menu::{Entry, Menu, Misuse};
use crate::client;
use crate::storage::StorageError;

/// What a limit on the peers of a region may be at most, and what a region that is logged by hand may have.
const REGION_PEERS_MAX: u64 = 4096;

/// The words of a command line that are still to be read.
pub type Words = Vec<OsString>;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or stopped by a signal.
    Clean,
    /// 1: failed while running; every failure of `config` but a bad flag.
    Runtime,
    /// 2: a wrong command line, configuration or address.
    Usage,
    /// 3: another process uses the workdir or the port.
    InUse,
    /// 4: the workdir holds what no crash explains.
    Damaged,
    /// 5: the disk failed.
    Disk,
    /// 6: no PD answered in time.
    NoAnswer,
}

impl Exit {
    /// The status of the process.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Clean => 0,
            Self::Runtime => 1,
            Self::Usage => 2,
            Self::InUse => 3,
            Self::Damaged => 4,
            Self::Disk => 5,
            Self::NoAnswer => 6,
        }
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who speaks: `error`, or the command's name, as the reference has it.
    speaker: String,
    /// What, where, why, what next.
    message: String,
    pub exit: Exit,
}

impl Failure {
    /// A failure that is reported as `error: <message>`.
    #[must_use]
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self::of("error", exit, message)
    }

    /// A failure that is reported as `<command>: <message>`.
    #[must_use]
    pub fn of(command: &str, exit: Exit, message: impl fmt::Display) -> Self {
        Self { speaker: command.to_owned(), message: message.to_string(), exit }
    }

    /// The one line for stderr, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        printable(&format!("{}: {}", self.speaker, self.message))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let exit = match &error {
            StorageError::InUse { .. } | StorageError::ChangedUnderUs { .. } => Exit::InUse,
            StorageError::NotOurs { .. } => Exit::Usage,
            StorageError::Damaged { .. } => Exit::Damaged,
            StorageError::Io { .. } => Exit::Disk,
        };
        Self::new(exit, error)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let exit = match &error {
            client::Error::Invalid(_) => Exit::Usage,
            client::Error::Unreachable { .. } | client::Error::TimedOut { .. } | client::Error::Lost { .. } => {
                Exit::NoAnswer
            }
            client::Error::Refused { .. }
            | client::Error::Unsupported { .. }
            | client::Error::Malformed { .. }
            | client::Error::NotSent { .. }
            | client::Error::QueueFull { .. }
            | client::Error::TimestampWentBack { .. }
            | client::Error::Closed
            | client::Error::Failed { .. } => Exit::Runtime,
        };
        Self::new(exit, error)
    }
}

const COMMANDS: Menu = Menu {
    name: "pd-lite",
    about: "A lightweight placement driver: timestamps, ids, region routing and leader hints.",
    entries: &[
        Entry { name: "pd", about: "serve as the placement driver of a cluster", run: pd::run },
        Entry { name: "serve", about: "serve as a store without data: regions, leaders, heartbeats", run: serve::run },
        Entry {
            name: "config",
            about: "print parts of raft_config.json, or log a region into a workdir",
            run: |words| config::COMMANDS.run(words),
        },
        Entry {
            name: "ctl",
            about: "look at a running placement driver, and at workdirs",
            run: |words| ctl::COMMANDS.run(words),
        },
        Entry {
            name: "bench",
            about: "load a placement driver, and measure and check its answers",
            run: |words| bench::COMMANDS.run(words),
        },
    ],
    notes: "",
    misuse: Misuse::ErrorLine,
};

/// Runs the command that `words` (the command line without the program's name) names.
///
/// # Errors
///
/// A [`Failure`], which the caller prints. `Ok` may hold a code other than 0 when a help text was all there was to say.
pub fn run(words: Words) -> Result<Exit, Failure> {
    COMMANDS.run(words)
}

/// `text` with its control characters escaped: a name that somebody chose neither splits a line nor commands the terminal.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, letter| {
        if letter.is_control() {
            line.extend(letter.escape_default())
        } else {
            line.push(letter)
        }
        line
    })
}

/// The answer to `--version`.
fn version_text() -> String {
    format!("pd-lite {}\n", env!("CARGO_PKG_VERSION"))
}

/// Prints the text that a command was run for.
fn print(text: &str) -> Result<(), Failure> {
    write_to_stdout(text).map_err(|error| Failure::new(Exit::Runtime, format!("cannot write to stdout: {error}")))
}

/// Prints what a server has to say. A stdout that is closed or full is no reason not to serve.
fn announce(lines: &str) {
    if let Err(error) = write_to_stdout(lines) {
        log::warn!("cannot write to stdout: {error}");
    }
}

/// Writes to stdout and flushes it. A reader that went away early (`pd-lite … | head`) is no error.
fn write_to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_failure_is_one_line_that_commands_no_terminal() {
        let failure = Failure::new(Exit::Usage, "a\nb\r\t\u{1b}[2J\u{7f}\u{9b} \\n 'é' \"日\"");
        assert_eq!(failure.line(), r#"error: a\nb\r\t\u{1b}[2J\u{7f}\u{9b} \n 'é' "日""#);
        assert_eq!(Failure::of("pd-lite config pd", Exit::Runtime, "x").line(), "pd-lite config pd: x");
    }

    #[test]
    fn each_storage_error_has_its_exit_code() {
        let workdir = PathBuf::from("w");
        let exit = |error| Failure::from(error).exit.code();
        assert_eq!(exit(StorageError::InUse { workdir: workdir.clone(), holder: None }), 3);
        assert_eq!(exit(StorageError::ChangedUnderUs { file: workdir.clone(), change: String::new() }), 3);
        assert_eq!(exit(StorageError::NotOurs { workdir: workdir.clone(), reason: String::new() }), 2);
        assert_eq!(exit(StorageError::Damaged { file: workdir.clone(), offset: 0, reason: String::new() }), 4);
        let source = io::ErrorKind::Other.into();
        assert_eq!(exit(StorageError::Io { action: "read", path: workdir, source }), 5);
    }
}
