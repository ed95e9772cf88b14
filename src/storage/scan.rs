//! Reads a file from front to end through a window, so that no more than a chunk, or one record, of it is in memory.

use std::io;

use super::fs::File;

/// How much is read at once.
const CHUNK_LEN: usize = 1 << 20;

/// A position in a file, and a window from there on.
pub(super) struct Scan<'a> {
    file: &'a dyn File,
    file_len: u64,
    /// Where the window starts in the file.
    offset: u64,
    /// `buffer[from..to]` is the window.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl<'a> Scan<'a> {
    /// Starts at `offset` of a file whose length was read as `file_len`.
    pub(super) fn new(file: &'a dyn File, file_len: u64, offset: u64) -> Self {
        Self { file, file_len, offset, buffer: Vec::new(), from: 0, to: 0 }
    }

    /// The current position.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes from the current position to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.file_len.saturating_sub(self.offset)
    }

    /// The next `len` bytes, or fewer at the end of the file.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.left()).map_or(len, |left| len.min(left));
        if self.to - self.from < len {
            self.fill(len)?;
        }
        Ok(&self.buffer[self.from..self.from + len])
    }

    /// Moves the position. The caller has peeked at these bytes.
    pub(super) fn skip(&mut self, len: usize) {
        assert!(len <= self.to - self.from, "only what was peeked at is skipped");
        self.from += len;
        self.offset += u64::try_from(len).expect("a window is shorter than 2^64 bytes");
    }

    fn fill(&mut self, len: usize) -> io::Result<()> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let want = usize::try_from(self.left()).map_or(CHUNK_LEN, |left| CHUNK_LEN.min(left)).max(len);
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        let at = self.offset + u64::try_from(self.to).expect("a window is shorter than 2^64 bytes");
        self.to += self.file.read_full_at(&mut self.buffer[self.to..want], at)?;
        if self.to < len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_byte_is_seen_once_whatever_the_steps() {
        let content: Vec<u8> = (0_u32..1_200_000).flat_map(u32::to_le_bytes).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let mut scan = Scan::new(&file, u64::try_from(content.len()).unwrap(), 0);
        let mut seen = Vec::new();
        for step in [1, 4, 1000, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN + 7].into_iter().cycle() {
            let window = scan.peek(step).unwrap();
            let len = window.len();
            seen.extend_from_slice(window);
            scan.skip(len);
            assert_eq!(scan.offset(), u64::try_from(seen.len()).unwrap());
            if len < step {
                break;
            }
        }
        assert!(seen == content);
        assert_eq!((scan.left(), scan.peek(9).unwrap().len()), (0, 0));
    }

    #[test]
    fn a_window_is_no_longer_than_what_is_asked_for_or_a_chunk() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        let mut scan = Scan::new(&file, 8 << 20, 5);
        scan.peek(1).unwrap();
        assert_eq!(scan.buffer.len(), CHUNK_LEN);
        scan.peek(3 << 20).unwrap();
        assert_eq!(scan.buffer.len(), 3 << 20);
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let mut scan = Scan::new(&file, 11, 0);
        assert_eq!(scan.peek(11).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
