//! The table of a bench run: each line a figure, what it is compared with, and what its target says.

use super::figures::{Median, Target};
use super::table::aligned;

const HEADER: [&str; 6] = ["what", "measured", "compared with", "figure", "target", "verdict"];

/// The lines so far.
#[derive(Default)]
pub struct Report {
    lines: Vec<[String; 6]>,
}

impl Report {
    /// Adds a figure with a target. `measured` and `compared_with` say in words and numbers what the figure came from.
    pub fn add(&mut self, what: &str, measured: String, compared_with: String, figure: &Median, target: Target) {
        let verdict = target.verdict(figure);
        // The table comes at the end, and some figures take minutes.
        eprintln!("  {what}: {figure}, {verdict}");
        self.lines.push([what.into(), measured, compared_with, figure.to_string(), target.to_string(), verdict.into()]);
    }

    /// Prints the table to standard output.
    pub fn print(&self) {
        println!("{}", aligned(HEADER, &self.lines));
    }
}
