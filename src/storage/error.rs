//! Why a workdir cannot be used, in one line for the person who has to do something about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::state::STATE_FILE;

/// Why a workdir cannot be used, or stopped being usable. `Display` is one line: what, where, why, what next. Its alternate
/// form (`{:#}`) asks for another workdir without naming the flag, for a program that embeds a placement driver.
#[derive(Debug)]
pub enum StorageError {
    /// Another process holds the lock; `holder` says which, where known.
    InUse { workdir: PathBuf, holder: Option<String> },
    /// The workdir is not a placement driver's (a store's, or not a directory).
    NotOurs { workdir: PathBuf, reason: String },
    /// A file holds what no crash explains.
    Damaged { file: PathBuf, offset: u64, reason: String },
    /// Another process changed a file of the workdir that this one works on. `change` completes "another process …".
    ChangedUnderUs { file: PathBuf, change: String },
    /// An operation of the file system failed.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl StorageError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(super) fn damaged(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, reason: reason.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a_workdir = if f.alternate() { "workdir" } else { "--workdir" };
        match self {
            Self::InUse { workdir, holder } => {
                let holder = holder.as_deref().unwrap_or("another process");
                write!(
                    f,
                    "the workdir {} is in use by {holder}; stop it first, or choose another workdir",
                    workdir.display()
                )
            }
            Self::NotOurs { workdir, reason } => write!(
                f,
                "{} is not the workdir of a placement driver: {reason}; choose another {a_workdir}",
                workdir.display()
            ),
            Self::Damaged { file, offset, reason } => {
                let workdir = file.parent().filter(|workdir| !workdir.as_os_str().is_empty());
                let workdir = shell_word(workdir.unwrap_or(Path::new(".")));
                let is_state = file.file_name().is_some_and(|name| name == STATE_FILE);
                let way_out = if is_state {
                    format!(
                        "set both counters above every value in use with \
                         `pd-lite ctl workdir set-min --workdir {workdir} --id-min N --ts-min N`"
                    )
                } else {
                    format!("start without its routes with `pd-lite ctl workdir rebuild --workdir {workdir}`")
                };
                write!(
                    f,
                    "{} is damaged at byte {offset}: {reason}; put a good copy back, or {way_out} \
                     (`pd-lite ctl workdir check --workdir {workdir}` tells more)",
                    file.display()
                )
            }
            Self::ChangedUnderUs { file, change } => write!(
                f,
                "{} changed while it was in use: another process (a `nokv pd`, which ignores the lock?) {change}; stop that \
                 process, then start again",
                file.display()
            ),
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => write!(f, "; check its owner and its permissions"),
                    io::ErrorKind::NotFound => write!(f, "; check that its directory exists and takes new files"),
                    io::ErrorKind::ReadOnlyFilesystem => {
                        write!(f, "; mount its file system for writing, or choose another {a_workdir}")
                    }
                    io::ErrorKind::InvalidFilename => write!(f, "; choose a shorter {a_workdir}"),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        write!(f, "; make room and start again")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A path as a word of a command line: in single quotes if it holds anything but letters, digits and what no shell takes for
/// its own.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+,:@%=".contains(char);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse { .. } | Self::NotOurs { .. } | Self::Damaged { .. } | Self::ChangedUnderUs { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_one_line_that_names_the_place_and_the_way_out() {
        let workdir = PathBuf::from("wd");
        let lines = [
            (
                StorageError::InUse { workdir: workdir.clone(), holder: Some("pid 7".into()) },
                vec!["wd", "pid 7", "stop"],
            ),
            (StorageError::InUse { workdir: workdir.clone(), holder: None }, vec!["wd", "another process"]),
            (StorageError::NotOurs { workdir, reason: "it is a file".into() }, vec!["wd", "it is a file", "--workdir"]),
            (
                StorageError::damaged(Path::new("wd/MANIFEST-000001"), 42, "odd"),
                vec![
                    "wd/MANIFEST-000001",
                    "byte 42",
                    "odd",
                    "pd-lite ctl workdir check --workdir wd",
                    "pd-lite ctl workdir rebuild --workdir wd",
                ],
            ),
            (
                StorageError::damaged(Path::new("wd/PD_STATE.json"), 0, "odd"),
                vec!["wd/PD_STATE.json", "pd-lite ctl workdir set-min --workdir wd"],
            ),
            (
                StorageError::ChangedUnderUs { file: "wd/PD_LOCK".into(), change: "removed it".into() },
                vec!["wd/PD_LOCK", "removed it", "nokv pd"],
            ),
            (
                StorageError::io("read", Path::new("wd/CURRENT"), io::ErrorKind::PermissionDenied.into()),
                vec!["cannot read wd/CURRENT", "permission"],
            ),
        ];
        let io_kinds = [
            (io::ErrorKind::NotFound, "exists and takes new files"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount"),
            (io::ErrorKind::InvalidFilename, "shorter --workdir"),
            (io::ErrorKind::StorageFull, "make room"),
        ];
        let io_lines =
            io_kinds.map(|(kind, word)| (StorageError::io("open", Path::new("wd"), kind.into()), vec![word]));
        for (error, words) in lines.into_iter().chain(io_lines) {
            let line = error.to_string();
            assert!(!line.contains('\n'), "{line}");
            for word in words {
                assert!(line.contains(word), "{word:?} is missing in {line:?}");
            }
        }
    }

    #[test]
    fn a_workdir_is_one_word_of_the_command_that_helps() {
        for (workdir, word) in [
            ("/var/lib/pd-lite_1", "/var/lib/pd-lite_1"),
            ("daten/größe", "daten/größe"),
            ("my data", "'my data'"),
            ("it's", r"'it'\''s'"),
            ("a;b", "'a;b'"),
            ("~", "'~'"),
            ("", "."),
        ] {
            for file in ["MANIFEST-000001", "PD_STATE.json"] {
                let line = StorageError::damaged(&Path::new(workdir).join(file), 0, "odd").to_string();
                assert!(line.matches(&format!("--workdir {word}")).count() == 2, "{line}");
                assert!(line.contains(&format!("--workdir {word}`")), "{line}");
            }
        }
    }
}
