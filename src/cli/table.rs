//! Tables for people: columns side by side under a header, each cell one word.

/// A longer cell does not make its whole column as wide.
const WIDTH_MAX: usize = 40;

/// The header and a line a row.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().min(WIDTH_MAX).max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            text += &format!("{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Bytes with a unit, cut to one digit behind the point: `1.5GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut whole = bytes;
    let mut rest = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        (whole, rest, unit) = (whole / 1024, whole % 1024, next);
    }
    if unit == "B" { format!("{whole}B") } else { format!("{whole}.{}{unit}", rest * 10 / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell_but_for_very_long_ones() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let long = "k".repeat(50);
        assert_eq!(
            table(["ID", "KEY", "X"], [row(["1", "a", "-"]), row(["100", &long, "y"])]),
            format!("ID   KEY{:37}  X\n1    a{:39}  -\n100  {long}  y\n", "", "")
        );
        assert_eq!(table(["A", "B"], []), "A  B\n");
    }

    #[test]
    fn sizes_are_cut_never_rounded_up() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1536 << 10, "1.5MiB"),
            ((1 << 30) - 1, "1023.9MiB"),
            (100 << 30, "100.0GiB"),
            (u64::MAX, "15.9EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
