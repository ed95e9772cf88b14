//! What `pd-lite ctl workdir` prints.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::ctl::form::{Form, json};
use crate::cli::ctl::regions::{self, RegionJson};
use crate::cli::printable;
use crate::core::Limits;
use crate::storage::offline::{Dump, ManifestReport, Raised, Rebuilt, Report};

const STRING: &str = "a String takes everything";

/// A report, in one of its forms.
pub fn report(report: &Report, form: Form) -> String {
    match form {
        Form::Json => json(report),
        Form::Text => report_text(report, ""),
    }
}

/// A report and the regions; in text each line of the report opens with `#`.
pub fn dump(dump: &Dump, form: Form, hex: bool) -> String {
    match form {
        Form::Json => {
            json(&DumpJson { report: &dump.report, regions: dump.regions.iter().map(RegionJson::from).collect() })
        }
        Form::Text => {
            let mut text = report_text(&dump.report, "# ");
            for region in dump.regions.iter() {
                writeln!(text, "{}", regions::fields(region, hex).join(" ")).expect(STRING);
            }
            text
        }
    }
}

/// The counters before and after.
pub fn raised(Raised { before, after }: Raised) -> String {
    let line = |what: &str, of: fn(Limits) -> u64| {
        let before = before.map_or_else(|| "lost".to_owned(), |before| next(of(before)));
        format!("next {what}: {} (before: {before})\n", next(of(after)))
    };
    line("id", |limits| limits.ids) + &line("timestamp", |limits| limits.timestamps)
}

/// What was moved, and where the workdir stands now.
pub fn rebuilt(rebuilt: Option<&Rebuilt>) -> String {
    let Some(Rebuilt { kept, manifest, counters }) = rebuilt else {
        return "nothing is damaged; nothing was changed\n".to_owned();
    };
    let mut text = String::new();
    for path in kept {
        writeln!(text, "kept the damaged manifest as {}", printable(&path.to_string_lossy())).expect(STRING);
    }
    writeln!(text, "new, empty manifest: {manifest}").expect(STRING);
    writeln!(text, "next id: {}\nnext timestamp: {}", next(counters.ids), next(counters.timestamps)).expect(STRING);
    text
}

/// The lowest value that a server may give out when `last` is the last that counts as given out.
fn next(last: u64) -> String {
    last.checked_add(1).map_or_else(|| "none left".to_owned(), |next| format!("at least {next}"))
}

fn report_text(report: &Report, prefix: &str) -> String {
    let Report { workdir, usable, problem, manifest, id_current, ts_current, warnings } = report;
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{prefix}{name:<15}{value}").expect(STRING);
    line("workdir", printable(workdir));
    line("verdict", if *usable { "usable" } else { "damaged" }.to_owned());
    if let Some(problem) = problem {
        line("problem", problem.clone());
    }
    match manifest {
        Some(manifest) => manifest_lines(manifest, &mut line),
        None if *usable => line("manifest", "none yet".to_owned()),
        None => {}
    }
    for (name, counter) in [("last id", id_current), ("last timestamp", ts_current)] {
        line(name, counter.map_or_else(|| "unknown".to_owned(), |counter| counter.to_string()));
    }
    for warning in warnings {
        line("warning", warning.clone());
    }
    text
}

fn manifest_lines(manifest: &ManifestReport, line: &mut impl FnMut(&str, String)) {
    let ManifestReport { name, form, appended_by_reference, regions, batches, bytes, torn_bytes, synced_bytes } =
        manifest;
    line("manifest", name.clone());
    let appended = if *appended_by_reference { ", with records of the reference behind" } else { "" };
    line("form", format!("{form}{appended}"));
    line("regions", regions.to_string());
    if let Some(batches) = batches {
        line("batches", batches.to_string());
    }
    let torn = if *torn_bytes > 0 { format!(", {torn_bytes} of them torn") } else { String::new() };
    line("bytes", format!("{bytes}{torn}"));
    if let Some(synced) = synced_bytes {
        line("synced bytes", synced.to_string());
    }
}

#[derive(Serialize)]
struct DumpJson<'a> {
    report: &'a Report,
    regions: Vec<RegionJson>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_say_what_comes_next() {
        let after = Limits { ids: 99, timestamps: u64::MAX };
        let before = Some(Limits { ids: 13, timestamps: u64::MAX - 1 });
        assert_eq!(
            raised(Raised { before, after }),
            "next id: at least 100 (before: at least 14)\n\
             next timestamp: none left (before: at least 18446744073709551615)\n"
        );
        assert!(raised(Raised { before: None, after }).contains("(before: lost)"));
    }
}
