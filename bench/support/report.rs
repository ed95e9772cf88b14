//! The table of a bench run: each line a figure, what it is compared with, and what its target says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::Result;
use super::figures::{Median, Target};
use super::machine::Machine;
use super::table::aligned;

const HEADER: [&str; 6] = ["what", "measured", "compared with", "figure", "target", "verdict"];

/// The lines so far.
#[derive(Serialize)]
pub struct Report {
    /// When it was begun, in UTC.
    date: String,
    machine: Machine,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    seconds: f64,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    what: String,
    measured: String,
    compared_with: String,
    figure: Median,
    target: String,
    verdict: &'static str,
}

impl Report {
    /// A report without lines, of now and of a machine.
    pub fn new(machine: Machine) -> Result<Self> {
        let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
        Ok(Self { date: String::from_utf8(date.stdout)?.trim().to_owned(), machine, sections: Vec::new() })
    }

    /// Lines added from now on belong to this section.
    pub fn begin_section(&mut self, name: &str) {
        self.sections.push(Section { name: name.to_owned(), seconds: 0.0, lines: Vec::new() });
    }

    /// Notes how long the last section took.
    pub fn end_section(&mut self, time: Duration) {
        if let Some(section) = self.sections.last_mut() {
            section.seconds = time.as_secs_f64();
        }
    }

    /// Adds a figure with a target. `measured` and `compared_with` say in words and numbers what the figure came from.
    pub fn add(&mut self, what: &str, measured: String, compared_with: String, figure: &Median, target: Target) {
        let verdict = target.verdict(figure);
        // The table comes at the end, and some figures take minutes.
        eprintln!("  {what}: {figure}, {verdict}");
        let line = Line {
            what: what.to_owned(),
            measured,
            compared_with,
            figure: *figure,
            target: target.to_string(),
            verdict,
        };
        self.sections.last_mut().expect("a section was begun").lines.push(line);
    }

    /// Prints the table to standard output.
    pub fn print(&self) {
        let lines: Vec<[String; 6]> =
            self.sections.iter().flat_map(|section| &section.lines).map(Line::cells).collect();
        println!("{}", aligned(HEADER, &lines));
    }

    /// Writes all of it as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

impl Line {
    fn cells(&self) -> [String; 6] {
        [
            self.what.clone(),
            self.measured.clone(),
            self.compared_with.clone(),
            self.figure.to_string(),
            self.target.clone(),
            self.verdict.to_owned(),
        ]
    }
}
