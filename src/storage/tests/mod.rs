//! The layer as a whole: open, start, write, stop, open again. A module a behaviour.

mod batching;
mod conversion;
mod failing_disk;
pub(crate) mod faults;
mod full_disk;
mod power_cut;
mod rewriting;
mod stopping;
pub(super) mod support;
