//! LEB128: a u64 in 1 to 10 bytes, low 7 bits first, the high bit set on every byte but the last.

/// The longest encoding of a u64.
pub const LEN_MAX: usize = 10;

/// Appends `value` in its shortest form.
pub fn push(out: &mut Vec<u8>, value: u64) {
    let (bytes, len) = encode(value);
    out.extend_from_slice(&bytes[..len]);
}

/// The shortest form of `value`, and how many of the bytes it takes.
#[must_use]
pub fn encode(mut value: u64) -> ([u8; LEN_MAX], usize) {
    let mut bytes = [0; LEN_MAX];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = u8::try_from(value & 0x7f).expect("7 bits") | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = u8::try_from(value).expect("below 0x80");
    (bytes, len + 1)
}

/// Takes one value off the front of `input`. `None`, with `input` left as it was, when the bytes end within the value or
/// the value has more than 64 bits.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    if let [byte @ ..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(u64::from(*byte));
    }
    let mut value = 0_u64;
    for (at, &byte) in input.iter().enumerate().take(LEN_MAX) {
        let bits = u64::from(byte & 0x7f);
        if at == LEN_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            *input = &input[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                push(&mut bytes, value);
                bytes.push(0xaa);
                let mut rest = &bytes[..];
                assert_eq!(take(&mut rest), Some(value));
                assert_eq!(rest, [0xaa]);
            }
        }
    }

    #[test]
    fn a_cut_or_oversized_value_is_refused() {
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take(&mut &[0x80][..]), None);
        assert_eq!(take(&mut &[0xff; 10][..]), None);
        assert_eq!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
    }
}
