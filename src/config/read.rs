//! Reads a file that the user names. Besides `storage/` it and `server/holder.rs`, which reads `/proc`, are the only files
//! that read any.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a whole file of at most `len_max` bytes; a pipe or device that never ends is one that is too long.
pub fn read_file(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("open {}: {error}", path.display()));
    File::open(path).and_then(|file| file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)).map_err(named)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= len_max) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} is longer than {len_max} bytes", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), b"12345").unwrap();
        assert_eq!(read_file(file.path(), 5).unwrap(), b"12345");
        assert_eq!(read_file(file.path(), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            read_file(dir.path(), 9).unwrap_err().to_string().starts_with(&format!("open {}: ", dir.path().display()))
        );
        assert_eq!(read_file(&dir.path().join("none"), 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_file(Path::new("/dev/zero"), 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
