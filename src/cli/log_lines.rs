//! What is logged, a line a record on stderr: `[2026-01-02T03:04:05Z WARN  pd_lite::cli::pd] text`.

use std::fmt;
use std::io::{self, Write};

use log::{Level, LevelFilter, Record};

use crate::cli::printable;

/// The levels, as `--log-level` takes them.
pub const LEVELS: [(&str, LevelFilter); 5] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
];

/// Logs from now on what is at least as important as `level`.
pub fn begin(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format(|out, record| {
        let time = out.timestamp();
        write_line(out, time, record)
    });
    builder.init();
}

fn write_line(out: &mut impl Write, time: impl fmt::Display, record: &Record<'_>) -> io::Result<()> {
    // gRPC's core leaves its records without a target. At `info` it tells of each connect that fails, ten times a second.
    if record.target().is_empty() && record.level() == Level::Info {
        return Ok(());
    }
    let target = if record.target().is_empty() { "grpc" } else { record.target() };
    let text = printable(&record.args().to_string());
    writeln!(out, "[{time} {:<5} {target}] {text}", record.level())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_that_says_who_speaks() {
        let line_at = |level, target, text: &str| {
            let mut bytes = Vec::new();
            let mut record = Record::builder();
            record.level(level).target(target);
            write_line(&mut bytes, "now", &record.args(format_args!("{text}")).build()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let line = |target, text| line_at(Level::Warn, target, text);
        assert_eq!(line("pd_lite::cli", "a\n\u{1b}[2Jb"), "[now WARN  pd_lite::cli] a\\n\\u{1b}[2Jb\n");
        assert_eq!(line("", "x"), "[now WARN  grpc] x\n");
        assert_eq!(line_at(Level::Info, "", "x"), "");
    }
}
