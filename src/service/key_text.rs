//! Keys in messages for people: the bytes 32 to 126 as they are, all else as `hex:`, `-` for no border, long ones cut.

use std::fmt::Write as _;

use crate::core::KeyRange;

/// A message travels in HTTP/2 headers, which hold a few kilobytes, and a key may have thousands of bytes.
const KEY_BYTES_SHOWN: usize = 32;

/// `[a,m)`, `[-,m)`, `[hex:00ff,-)`.
pub(super) fn range(range: KeyRange<'_>) -> String {
    format!("[{},{})", key(range.start), key(range.end))
}

fn key(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    let shown = &bytes[..bytes.len().min(KEY_BYTES_SHOWN)];
    let mut text = match std::str::from_utf8(shown) {
        Ok(text) if shown.iter().all(|byte| (32..=126).contains(byte)) => text.to_owned(),
        _ => shown.iter().fold("hex:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        }),
    };
    if shown.len() < bytes.len() {
        write!(text, "...({} bytes)", bytes.len()).expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reads_like_the_contract_writes_it() {
        let text = |start: &[u8], end: &[u8]| range(KeyRange { start, end });
        assert_eq!(text(b"a", b"m m"), "[a,m m)");
        assert_eq!(text(b"", b""), "[-,-)");
        assert_eq!(text(b"a\0", "ä".as_bytes()), "[hex:6100,hex:c3a4)");
        assert_eq!(text(&[b'k'; 4096], b""), format!("[{}...(4096 bytes),-)", "k".repeat(32)));
    }
}
