//! The crate without its network and command line. See `Cargo.toml`.

#[path = "../mangled/bodies.rs"]
pub mod bodies;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/convert.rs"]
mod convert;
#[path = "../../src/core/mod.rs"]
pub mod core;
#[path = "../../src/service/mod.rs"]
pub mod service;
#[path = "../../src/storage/mod.rs"]
pub mod storage;

extern crate self as pd_lite;

/// The messages.
#[allow(clippy::all, reason = "generated code")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}
