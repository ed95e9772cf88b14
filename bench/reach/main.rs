//! What pd-lite must reach: each target measured and printed beside what it is compared with.
//!
//! `reach [SECTION…] [--dir DIR] [--regions N]`; sections: `allocations`, `cpu`, `memory`, `batching`, `heartbeats`, `router`,
//! `tso` (default: all). Two things that are compared run in turns, and a ratio carries the interval of its median, so that a
//! busy machine widens the interval instead of deciding the verdict. The exit status says only whether everything could be
//! measured.

mod allocations;
mod batching;
mod cpu;
mod heartbeats;
mod memory;
mod router;
#[path = "../support/mod.rs"]
mod support;
mod tso;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::{Long, Value, ValueExt};

use support::report::Report;
use support::{Result, machine};

type Section = fn(&Setting, &mut Report) -> Result<()>;

const SECTIONS: [(&str, Section); 7] = [
    ("allocations", allocations::measure),
    ("cpu", cpu::measure),
    ("memory", memory::measure),
    ("batching", batching::measure),
    ("heartbeats", heartbeats::measure),
    ("router", router::measure),
    ("tso", tso::measure),
];

/// Where and how large to measure.
pub struct Setting {
    /// Holds the workdirs; on the disk that counts.
    dir: tempfile::TempDir,
    /// Regions of the large catalog.
    regions: u64,
}

impl Setting {
    /// A workdir of this run; it does not exist yet.
    pub fn workdir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reach: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut sections = Vec::new();
    let mut parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut regions = 1_000_000;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            // Cargo adds this one to every bench.
            Long("bench") => {}
            Long("dir") => parent = arguments.value()?.into(),
            Long("regions") => regions = arguments.value()?.parse::<NonZeroU64>()?.get(),
            Value(name) => {
                let known = SECTIONS.into_iter().find(|(section, _)| name == *section);
                sections.push(known.ok_or_else(|| format!("no section {name:?}"))?);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    if sections.is_empty() {
        sections = SECTIONS.to_vec();
    }
    measure(&sections, &parent, regions)
}

/// Measures the sections one after the other and prints the table, even when one of them fails.
fn measure(sections: &[(&str, Section)], parent: &Path, regions: u64) -> Result<()> {
    let setting = Setting { dir: tempfile::tempdir_in(parent)?, regions };
    println!("{}\n", machine::describe(parent));
    let mut report = Report::default();
    let result = sections.iter().try_for_each(|(name, section)| {
        eprintln!("measuring {name} …");
        section(&setting, &mut report)
    });
    report.print();
    result
}
