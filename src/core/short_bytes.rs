//! A byte string that never changes, kept inside its owner while it is short, so that reading it meets no further cache miss.
//! A longer one is shared: a copy of either costs no allocation.

use std::fmt;
use std::sync::Arc;

/// The longest string that is kept inside its owner. With it a region has 128 bytes, two cache lines.
pub const INLINE_LEN_MAX: usize = 94;

/// A string of bytes.
#[derive(Clone)]
pub struct ShortBytes(Place);

#[derive(Clone)]
enum Place {
    Inline { len: u8, bytes: [u8; INLINE_LEN_MAX] },
    Shared(Arc<[u8]>),
}

impl ShortBytes {
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Place::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Place::Shared(bytes) => bytes,
        }
    }

    /// Reads both ends of the room for a short string, and nothing else of it.
    pub fn touch(&self) -> u8 {
        match &self.0 {
            Place::Inline { len, bytes } => *len ^ bytes[INLINE_LEN_MAX - 1],
            Place::Shared(_) => 0,
        }
    }
}

impl PartialEq for ShortBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ShortBytes {}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// A string in the making. It allocates nothing while it is short.
pub struct Builder {
    inline: [u8; INLINE_LEN_MAX],
    len: usize,
    /// The whole string, once it is too long for `inline`.
    long: Vec<u8>,
}

impl Builder {
    #[must_use]
    pub fn new() -> Self {
        Self { inline: [0; INLINE_LEN_MAX], len: 0, long: Vec::new() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let before = self.len;
        self.len += bytes.len();
        if let Some(room) = self.inline.get_mut(before..self.len) {
            room.copy_from_slice(bytes);
            return;
        }
        if before <= INLINE_LEN_MAX {
            self.long.reserve(self.len);
            self.long.extend_from_slice(&self.inline[..before]);
        }
        self.long.extend_from_slice(bytes);
    }

    #[must_use]
    pub fn finish(self) -> ShortBytes {
        ShortBytes(match u8::try_from(self.len) {
            Ok(len) if self.len <= INLINE_LEN_MAX => Place::Inline { len, bytes: self.inline },
            _ => Place::Shared(self.long.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_however_it_was_put_together() {
        let all: Vec<u8> = (0..=255).collect();
        for len in (0..=2 * INLINE_LEN_MAX).chain([255, 256]) {
            for step in [1, 7, INLINE_LEN_MAX, INLINE_LEN_MAX + 1, 256] {
                let mut builder = Builder::new();
                all[..len].chunks(step).for_each(|bytes| builder.push(bytes));
                builder.push(&[]);
                assert_eq!(builder.len(), len);
                let bytes = builder.finish();
                assert_eq!(bytes.as_slice(), &all[..len]);
                assert_eq!(matches!(bytes.0, Place::Inline { .. }), len <= INLINE_LEN_MAX);
                assert_eq!(bytes, bytes.clone());
            }
        }
    }

    #[test]
    fn what_is_left_over_of_a_string_does_not_count() {
        let mut longer = Builder::new();
        longer.push(b"abc");
        let mut shorter = Builder::new();
        shorter.push(b"ab");
        assert_ne!(longer.finish(), shorter.finish());
    }
}
