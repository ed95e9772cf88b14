//! LEB128: a u64 in 1 to 10 bytes, low 7 bits first, the high bit set on every byte but the last.

/// The longest encoding of a u64.
pub const LEN_MAX: usize = 10;

/// The bit of each byte of a word that says whether another byte follows.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Appends `value` in its shortest form.
pub fn push(out: &mut Vec<u8>, value: u64) {
    let (bytes, len) = encode(value);
    let end = out.len() + len;
    // A copy of a known length and a cut take less than a copy of any length.
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// The shortest form of `value`, and how many of the bytes it takes.
#[must_use]
pub fn encode(value: u64) -> ([u8; LEN_MAX], usize) {
    let mut bytes = [0; LEN_MAX];
    let (word, rest) = bytes.split_first_chunk_mut().expect("LEN_MAX is more than 8");
    let more = u64::from((value | 1).ilog2() / 7);
    if more < 8 {
        let marks = MORE & ((1 << (8 * more)) - 1);
        *word = (spread(value) | marks).to_le_bytes();
    } else {
        *word = (spread(value) | MORE).to_le_bytes();
        let [byte, last] = [value >> 56 & 0x7f, value >> 63].map(|bits| u8::try_from(bits).expect("7 bits at most"));
        rest.copy_from_slice(&if more == 8 { [byte, 0] } else { [byte | 0x80, last] });
    }
    (bytes, usize::try_from(more).expect("9 at most") + 1)
}

/// Takes one value off the front of `input`. `None`, with `input` left as it was, when the bytes end within the value or
/// the value has more than 64 bits.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    if let [byte @ ..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(u64::from(*byte));
    }
    if let Some(word) = input.first_chunk() {
        let word = u64::from_le_bytes(*word);
        let ends = !word & MORE;
        if ends != 0 {
            let bits = ends.trailing_zeros() + 1;
            *input = &input[usize::try_from(bits / 8).expect("8 at most")..];
            return Some(gather(word & u64::MAX >> (64 - bits)));
        }
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

/// The low 56 bits of a value, 7 in each byte.
fn spread(value: u64) -> u64 {
    let x = value & 0x0000_0000_0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let x = x & 0x0000_3fff_0000_3fff | (x & 0x0fff_c000_0fff_c000) << 2;
    x & 0x007f_007f_007f_007f | (x & 0x3f80_3f80_3f80_3f80) << 1
}

/// What [`spread`] was made from; the highest bit of each byte does not count.
fn gather(word: u64) -> u64 {
    let x = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let x = x & 0x0000_3fff_0000_3fff | (x & 0x3fff_0000_3fff_0000) >> 2;
    x & 0x0000_0000_0fff_ffff | (x & 0x0fff_ffff_0000_0000) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7 bits at a time.
    fn by_the_rule(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    #[test]
    fn every_length_comes_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = b"x".to_vec();
                push(&mut bytes, value);
                assert_eq!(bytes[1..], by_the_rule(value));
                for behind in [&[0xaa][..], &[0; 9], &[0xff; 9]] {
                    let bytes = [&bytes[1..], behind].concat();
                    let mut rest = &bytes[..];
                    assert_eq!(take(&mut rest), Some(value));
                    assert_eq!(rest, behind);
                }
            }
        }
    }

    #[test]
    fn a_longer_form_than_the_shortest_is_read_too() {
        for (bytes, value) in [
            (&[0x80, 0][..], 0),
            (&[0x85, 0x80, 0x80, 0], 5),
            (&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 127),
        ] {
            for behind in [&[][..], &[7; 9]] {
                let bytes = [bytes, behind].concat();
                let mut rest = &bytes[..];
                assert_eq!(take(&mut rest), Some(value));
                assert_eq!(rest, behind);
            }
        }
    }

    #[test]
    fn a_cut_or_oversized_value_is_refused_and_left() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff; 7],
            &[0x80; 8],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            let behind: &[u8] = if bytes.len() < 10 { &[] } else { &[1; 9] };
            let bytes = [bytes, behind].concat();
            let mut rest = &bytes[..];
            assert_eq!(take(&mut rest), None);
            assert_eq!(rest, bytes);
        }
    }
}
