//! Times as people write them: `500ms`, `1m30s`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Unit and its nanoseconds; a longer unit that begins with a shorter one comes first.
const UNITS: [(&str, u128); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Reads numbers with their units, the way Go writes a time: `2s`, `1.5h`, `1m30s`. `None`: it is none, or too long.
pub fn read(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), digits);
        let (unit, unit_nanos) = UNITS.into_iter().find(|(unit, _)| behind.starts_with(unit))?;
        if whole.is_empty() || whole.len() + fraction.len() > 18 {
            return None;
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        nanos += format!("{whole}{fraction}").parse::<u128>().ok()? * unit_nanos / scale;
        rest = &behind[unit.len()..];
    }
    let nanos = u64::try_from(nanos).ok().filter(|_| !text.is_empty())?;
    Some(Duration::from_nanos(nanos))
}

/// Reads a time of `range`.
///
/// # Errors
///
/// What is expected.
pub fn read_within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    read(text).filter(|time| range.contains(time)).ok_or_else(|| {
        format!("a time from {} to {}, as 2s, 500ms or 1m30s", short(*range.start()), short(*range.end()))
    })
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

/// A time in its two largest units, as `1m30s`; below a second in milliseconds.
pub fn short(time: Duration) -> String {
    const SECONDS: [(&str, u64); 4] = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)];
    let seconds = time.as_secs();
    let Some(at) = SECONDS.iter().position(|(_, unit)| seconds >= *unit) else {
        return format!("{}ms", time.subsec_millis());
    };
    let (name, unit) = SECONDS[at];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((next_name, next_unit)) = SECONDS.get(at + 1)
        && seconds % unit >= *next_unit
    {
        text += &format!("{}{next_name}", seconds % unit / next_unit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_numbers_with_units() {
        for (text, nanos) in [
            ("2s", 2_000_000_000),
            ("500ms", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0.25ms", 250_000),
            ("3us7ns", 3007),
            ("0s", 0),
        ] {
            assert_eq!(read(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "2",
            "s",
            ".5s",
            "1s2",
            "-1s",
            "+1s",
            "1 s",
            "1d",
            "1e3s",
            "99999999999999999h",
            "9999999999999999999s",
            "١s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_in_its_two_largest_units() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1999, "1s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (3_659_000, "1h"),
            (86_399_999, "23h59m"),
            (3 * 86_400_000 + 7_200_000, "3d2h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }
}
