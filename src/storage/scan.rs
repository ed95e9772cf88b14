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
