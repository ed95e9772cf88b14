//! The integration tests: a module a behaviour, all against the real program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench_tool;
mod breaks;
mod client;
mod command_lines;
mod config_manifest;
mod conformance;
mod crash;
mod ctl_online;
mod ctl_workdir;
mod defects;
mod descriptors;
mod disk_lengths;
mod embed;
mod examples;
mod exclusion;
mod herd;
mod hostile;
mod interrupted;
mod layers;
mod limits;
mod mangled;
mod pd_process;
mod pdlite;
mod readme;
mod restarts;
mod store;
mod support;
mod transport;
mod trouble;
mod u64_edges;
mod workdirs;
