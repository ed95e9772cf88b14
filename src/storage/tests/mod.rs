//! The layer as a whole: open, start, write, stop, open again. A module a behaviour.

mod batching;
mod bootstrapping;
mod conversion;
mod damage;
pub(crate) mod disk;
pub(crate) mod every_operation;
mod failing_disk;
pub(crate) mod faults;
mod full_disk;
mod power_cut;
mod reference;
mod rewriting;
#[path = "../../../tests/support/rng.rs"]
pub(crate) mod rng;
mod stopping;
pub(super) mod support;
mod turns;
