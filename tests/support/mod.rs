pub mod client;
pub mod launch;
pub mod reference;
pub mod rng;
pub mod source;
pub mod wire;

pub use client::{Client, Failure};
pub use launch::{Launch, Server};

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of recordings `name`.
pub fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Every file of a directory by name, lock files aside.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !is_lock(path))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().eq_ignore_ascii_case("lock"))
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
