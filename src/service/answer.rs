//! How long an answer may get: gRPC's clients refuse a message above 4 MiB.

use protobuf::Message;

/// Longest answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What a repeated message in an answer takes beside itself: a tag of one byte and its length.
const FRAME_BYTES_MAX: u64 = 6;

/// For the fields of an answer that are not its repeated messages.
const OTHER_BYTES_MAX: u64 = 64;

/// The bytes that an answer has left for its repeated messages.
pub(super) struct Room {
    bytes: u64,
    is_new: bool,
}

impl Room {
    pub(super) fn new() -> Self {
        let bytes = u64::try_from(ANSWER_BYTES_MAX).expect("4 MiB");
        Self { bytes: bytes - OTHER_BYTES_MAX, is_new: true }
    }

    /// Takes room for one more message, if there is enough. There always is for the first: an answer without any would be
    /// the same for ever.
    pub(super) fn take(&mut self, message: &impl Message) -> bool {
        let needed = message.compute_size() + FRAME_BYTES_MAX;
        let fits = self.is_new || needed <= self.bytes;
        self.bytes = if fits { self.bytes.saturating_sub(needed) } else { 0 };
        self.is_new = false;
        fits
    }
}
