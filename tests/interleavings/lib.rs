//! The crate's `core` and `storage`, compiled over shuttle. See `Cargo.toml`.

#[path = "../../src/core/mod.rs"]
pub mod core;
pub mod shuttled;
#[path = "../../src/storage/mod.rs"]
pub mod storage;
