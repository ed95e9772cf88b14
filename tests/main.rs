//! The integration tests: a module a behaviour, all against the real program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod support;
mod workdirs;
