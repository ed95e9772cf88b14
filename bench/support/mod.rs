//! What the benches share: regions to work on, servers to measure, load to put on them, and figures to tell of it.

#![allow(dead_code, reason = "each bench is a crate of its own and uses a part of this")]

pub mod catalog;
pub mod disk;
pub mod encoded;
pub mod figures;
pub mod in_process;
pub mod load;
pub mod machine;
pub mod over_grpc;
pub mod process;
pub mod regions;
pub mod report;
pub mod rows;
pub mod streams;
pub mod suite;
pub mod table;
pub mod timed;
pub mod transports;

use std::process::ExitCode;

/// Any failure of a bench: it ends the run. A slow result is no failure.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How a bench ends: with one line, if it failed.
pub fn exit_code(name: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
