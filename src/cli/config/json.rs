//! JSON on one line, escaped as the reference's writer does it: also what means something in HTML, and the two line ends
//! that JavaScript knows.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// `value` and a line end.
pub fn line(value: &impl Serialize) -> Result<String, String> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, HtmlSafe));
    let text = written
        .map_err(|error| error.to_string())
        .and_then(|()| String::from_utf8(bytes).map_err(|error| error.to_string()));
    text.map(|text| text + "\n")
}

struct HtmlSafe;

impl Formatter for HtmlSafe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for piece in fragment.split_inclusive(is_escaped) {
            let last = piece.chars().next_back().filter(|letter| is_escaped(*letter));
            let plain = last.map_or(piece, |letter| &piece[..piece.len() - letter.len_utf8()]);
            writer.write_all(plain.as_bytes())?;
            if let Some(letter) = last {
                write!(writer, "\\u{:04x}", u32::from(letter))?;
            }
        }
        Ok(())
    }
}

fn is_escaped(letter: char) -> bool {
    matches!(letter, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_the_reference_does_it() {
        for (text, json) in [
            ("a<b>&c\"\\", r#""a\u003cb\u003e\u0026c\"\\""#),
            ("日本\u{1}", "\"日本\\u0001\""),
            ("<", r#""\u003c""#),
            ("a\u{2028}\u{2029}b", r#""a\u2028\u2029b""#),
            ("", r#""""#),
        ] {
            assert_eq!(line(&text).unwrap(), format!("{json}\n"));
        }
    }
}
