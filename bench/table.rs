//! The end of `make bench`: one table of the figures that the themes have left, for people on standard output and for programs
//! in a file.
//!
//! `table FILE`, where FILE gets the JSON; the figures are in the directory that `PD_LITE_BENCH_ROWS` names.

#[path = "support/mod.rs"]
mod support;

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};

use serde::Serialize;

use support::machine::Machine;
use support::rows::{self, Row, Theme};
use support::suite::ROWS;
use support::{Result, exit_code};

/// In the order of the table.
const THEMES: [&str; 4] = ["tso", "routing", "heartbeat", "restart"];

/// What the file holds.
#[derive(Serialize)]
struct Run {
    machine: Machine,
    version: &'static str,
    /// As `git describe` names it; null: unknown.
    commit: Option<String>,
    /// Of its end, in UTC.
    date: Option<String>,
    is_quick: bool,
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    exit_code("bench", run())
}

fn run() -> Result<()> {
    let Some(dir) = env::var_os(ROWS) else {
        println!("the table of the other benches comes from: make bench");
        return Ok(());
    };
    // Cargo adds `--bench`.
    let file = env::args().skip(1).find(|arg| arg != "--bench").ok_or("which file gets the JSON?")?;
    let mut themes = Vec::new();
    for theme in THEMES {
        let path = Path::new(&dir).join(format!("{theme}.json"));
        if path.exists() {
            themes.push(serde_json::from_slice::<Theme>(&fs::read(path)?)?);
        }
    }
    let first = themes.first().ok_or("no bench has that in its name")?;
    let run = Run {
        machine: first.machine.clone(),
        version: env!("CARGO_PKG_VERSION"),
        commit: said(
            Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR")),
        ),
        date: said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
        is_quick: first.is_quick,
        rows: themes.into_iter().flat_map(|theme| theme.rows).collect(),
    };
    serde_json::to_writer_pretty(File::create(&file)?, &run)?;
    let unknown = || "unknown".to_owned();
    println!(
        "\n{}\npd-lite {}, commit {}, {}{}\n",
        run.machine,
        run.version,
        run.commit.clone().unwrap_or_else(unknown),
        run.date.clone().unwrap_or_else(unknown),
        if run.is_quick { ", quick: few samples" } else { "" }
    );
    println!("{}\n\n{file} has the same", rows::table(&run.rows));
    Ok(())
}

/// The one line that a command prints, if it can be run.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
