//! What the tests share: a server process, a client, a server that answers as a test wants, JSON and hex, workdirs of the
//! reference, a scanner of source text.

pub mod client;
pub mod launch;
pub mod reference;
pub mod relay;
pub mod rng;
pub mod source;
pub mod tso_pd;
pub mod wire;

pub use client::{Client, Failure};
pub use launch::{EXIT_DAMAGED, EXIT_DISK, EXIT_IN_USE, Launch, Server};
pub use relay::Relay;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
