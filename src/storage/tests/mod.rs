//! The layer as a whole: open, start, write, stop, open again. A module a behaviour.

mod batching;
mod failing_disk;
mod faults;
mod full_disk;

mod stopping;
mod support;
