//! Why a placement driver cannot be started or stopped inside a process.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::server::BindError;
use crate::storage::StorageError;

/// Why an embedded placement driver did not start, or did not stop cleanly. `Display` is one line: what, where, why, what
/// next.
#[derive(Debug)]
pub enum EmbedError {
    /// The address cannot be served.
    Bind(BindError),
    /// The workdir cannot be used, or its disk has failed.
    Storage(StorageError),
    /// The disk has not taken the last writes within this time.
    DiskHangs { waited: Duration },
    /// The persistence thread cannot be waited for.
    NotEnded,
}

impl fmt::Display for EmbedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => write!(f, "{error:#}"),
            Self::Storage(error) => write!(f, "{error:#}"),
            Self::DiskHangs { waited } => write!(
                f,
                "the disk has not taken the last writes within {waited:?}: what was acknowledged is safe, and the next start \
                 skips values of the counters, as after a crash; check the disk"
            ),
            Self::NotEnded => f.write_str("cannot end the persistence thread"),
        }
    }
}

impl Error for EmbedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind(error) => error.source(),
            Self::Storage(error) => error.source(),
            Self::DiskHangs { .. } | Self::NotEnded => None,
        }
    }
}

impl From<BindError> for EmbedError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<StorageError> for EmbedError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_line_for_a_program_that_embeds_names_no_flags() {
        let (addr, path) = (|| "a:1".to_owned(), || "w".into());
        let refused = |kind: io::ErrorKind| BindError::Refused { addr: addr(), source: kind.into() };
        let failed = |kind: io::ErrorKind| StorageError::Io { action: "open", path: path(), source: kind.into() };
        let errors: [EmbedError; 9] = [
            BindError::Address { addr: addr(), reason: "odd".into() }.into(),
            BindError::InUse { addr: addr(), holder: None }.into(),
            refused(io::ErrorKind::AddrNotAvailable).into(),
            refused(io::ErrorKind::PermissionDenied).into(),
            refused(io::ErrorKind::Other).into(),
            StorageError::NotOurs { workdir: path(), reason: "odd".into() }.into(),
            failed(io::ErrorKind::ReadOnlyFilesystem).into(),
            failed(io::ErrorKind::InvalidFilename).into(),
            EmbedError::DiskHangs { waited: Duration::from_secs(5) },
        ];
        for error in errors {
            let line = error.to_string();
            assert!(!line.contains("--") && !line.contains('\n'), "{line}");
            assert!(line.contains("; "), "it says what to do: {line}");
        }
    }
}
