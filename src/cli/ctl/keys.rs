//! Keys as `pd-lite ctl` prints and reads them: plain text, `hex:` and the bytes, `-` for the empty one.

use std::fmt::Write as _;

/// A key as one field that cannot be taken for another key, nor for two fields.
pub fn text(key: &[u8], hex: bool) -> String {
    let plain = std::str::from_utf8(key).ok().filter(|key| {
        !hex && key.bytes().all(|byte| byte.is_ascii_graphic()) && *key != "-" && !key.starts_with("hex:")
    });
    match plain {
        _ if key.is_empty() => "-".to_owned(),
        Some(plain) => plain.to_owned(),
        None => format!("hex:{}", self::hex(key)),
    }
}

/// The hexadecimal of a key's bytes.
pub fn hex(key: &[u8]) -> String {
    key.iter().fold(String::with_capacity(key.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// Reads what [`text`] prints. In `hex` the digits may stand alone; otherwise any text is a key.
///
/// # Errors
///
/// What is expected.
pub fn read(typed: &[u8], hex: bool) -> Result<Vec<u8>, String> {
    let digits = match typed.strip_prefix(b"hex:") {
        _ if matches!(typed, b"" | b"-") => return Ok(Vec::new()),
        Some(digits) => digits,
        None if hex => typed,
        None => return Ok(typed.to_vec()),
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect::<Option<_>>().ok_or_else(|| "hexadecimal, two digits a byte".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_be_taken_for_another_and_is_read_as_it_is_printed() {
        for (key, plain, in_hex) in [
            (&b""[..], "-", "-"),
            (b"-", "hex:2d", "hex:2d"),
            (b"ab", "ab", "hex:6162"),
            (b"a b", "hex:612062", "hex:612062"),
            (b"hex:61", "hex:6865783a3631", "hex:6865783a3631"),
            (b"\xff\0", "hex:ff00", "hex:ff00"),
            ("é".as_bytes(), "hex:c3a9", "hex:c3a9"),
        ] {
            assert_eq!((text(key, false).as_str(), text(key, true).as_str()), (plain, in_hex));
            for (typed, in_hex) in [(plain, false), (in_hex, true), (in_hex, false), (&hex(key), true)] {
                assert_eq!(read(typed.as_bytes(), in_hex).as_deref(), Ok(key), "{typed}");
            }
        }
    }

    #[test]
    fn any_text_is_a_key_and_half_a_byte_is_none() {
        assert_eq!(read(b"a b", false).as_deref(), Ok(&b"a b"[..]));
        assert_eq!(read(b"\xff", false).as_deref(), Ok(&b"\xff"[..]));
        assert_eq!(read(b"hex:AbcD", false).as_deref(), Ok(&b"\xab\xcd"[..]));
        assert_eq!(read(b"hex:", false).as_deref(), Ok(&b""[..]));
        for (typed, hex) in
            [(&b"hex:abc"[..], false), (b"hex:0x", false), (b"abc", true), (b"zz", true), (b"hex:+1", true)]
        {
            assert_eq!(read(typed, hex), Err("hexadecimal, two digits a byte".to_owned()));
        }
    }
}
