//! What the tests share: a server process, its memory, a disk that fills and one that fails, a client, a server that answers
//! as a test wants, JSON and hex, workdirs of the reference, a scanner of source text.

pub mod client;
pub mod launch;
pub mod memory;
pub mod reference;
pub mod relay;
pub mod rng;
pub mod small_disk;
pub mod source;
pub mod strace;
pub mod tso_pd;
pub mod wire;

pub use client::{Client, Failure};
pub use launch::{EXIT_DAMAGED, EXIT_DISK, EXIT_IN_USE, Launch, Server};
pub use relay::Relay;
pub use small_disk::SmallDisk;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Says that something is not tried on this machine, and why. Where everything has to be tried, as in CI, that is a failure.
pub fn not_tried(why: &str) {
    assert!(env::var_os("PD_LITE_TEST_EVERYTHING").is_none(), "not tried: {why}");
    // Not by `eprintln`, whose text is only shown when a test fails.
    let _ = writeln!(std::io::stderr(), "not tried: {why}");
}

/// A loopback address on which every port is free: no other process, and no other call in this one, has it.
pub fn own_host() -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    assert!(call < 64, "the addresses of this process are used up");
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process ids have 22 bits.
    format!("127.{}.{middle}.{low}", 64 + (call ^ u32::from(high)))
}

/// The directory of recordings `name`.
pub fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Every file of a workdir by name, but the lock.
pub fn files(workdir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let paths = fs::read_dir(workdir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).filter(|(name, _)| name != "PD_LOCK").collect()
}

/// The file that `CURRENT` names.
pub fn manifest(workdir: &Path) -> PathBuf {
    workdir.join(fs::read_to_string(workdir.join("CURRENT")).unwrap())
}

/// A fresh workdir with a copy of the recorded one.
pub fn recorded_workdir(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (file, bytes) in files(&fixtures("workdirs").join(name)) {
        if file != "expect.json" {
            fs::write(copy.path().join(file), bytes).unwrap();
        }
    }
    copy
}
