//! What pd-lite must reach: each target measured and printed beside what it is compared with.
//!
//! `reach [SECTION…] [--dir DIR] [--regions N]`; the sections (default: all) and what they are about:
//!
//! - `adapter`: the store's side
//! - `cpu`: server CPU of unary calls, beside a bare handler's, and with many regions beside few
//! - `streams`: the same of timestamps out of streams
//! - `allocations`: durable timestamps and ids beside those in memory
//! - `tail`: timestamps at a fixed rate while changes are synced
//! - `batching`: changes that share a sync, and durable changes on the real disk
//! - `heartbeats`: many regions in a call
//! - `catalog`: lookups and heartbeats in process
//! - `memory`: what many regions take in memory and at a start
//! - `tso`, `router`: the client's timestamps and routes
//!
//! Two things that are compared run in turns, and a ratio carries the interval of its median, so that a busy machine widens the
//! interval instead of deciding the verdict. The exit status says only whether everything could be measured. The table is also
//! in `reach.json`, in cargo's target directory.

mod adapter;
mod allocations;
mod batching;
mod catalog;
mod cpu;
mod floor;
mod heartbeats;
mod memory;
mod router;
mod side;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tail;
mod tso;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use lexopt::prelude::{Long, Value, ValueExt};

use support::machine::Machine;
use support::report::Report;
use support::{Result, exit_code};

type Section = fn(&Setting, &mut Report) -> Result<()>;

const SECTIONS: [(&str, Section); 11] = [
    // First: it looks at this process's memory, in which the others would leave room.
    ("adapter", adapter::measure),
    ("cpu", cpu::measure),
    ("streams", streams::measure),
    ("allocations", allocations::measure),
    ("tail", tail::measure),
    ("batching", batching::measure),
    ("heartbeats", heartbeats::measure),
    ("catalog", catalog::measure),
    ("memory", memory::measure),
    ("tso", tso::measure),
    ("router", router::measure),
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
    exit_code("reach", run())
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
            Long(floor::FLAG) => return floor::serve(&arguments.value()?.string()?),
            Long("dir") => parent = arguments.value()?.into(),
            Long("regions") => regions = arguments.value()?.parse::<NonZeroU64>()?.get(),
            Value(name) => {
                let known = SECTIONS.into_iter().find(|(section, _)| name == *section);
                let names = SECTIONS.map(|(section, _)| section).join(" ");
                sections.push(known.ok_or_else(|| format!("no section {name:?}: there are {names}"))?);
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
    let machine = Machine::of(parent);
    println!("{machine}\n");
    let mut report = Report::new(machine)?;
    let mut failed = Ok(());
    for (name, section) in sections {
        eprintln!("measuring {name} …");
        report.begin_section(name);
        let begun = Instant::now();
        let result = section(&setting, &mut report);
        report.end_section(begun.elapsed());
        eprintln!("  took {:.0} s", begun.elapsed().as_secs_f64());
        if let Err(error) = result {
            eprintln!("  failed: {error}");
            failed = failed.and(Err(format!("{name}: {error}").into()));
        }
    }
    report.print();
    let written = report.write(&Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("reach.json"));
    failed.and(written)
}
