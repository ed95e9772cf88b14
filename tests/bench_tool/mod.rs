//! `pd-lite bench` against real servers, and against servers that lie, stall or refuse.

mod lies;
mod loads;
mod pace;
mod tool;
