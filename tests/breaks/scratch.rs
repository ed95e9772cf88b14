//! A copy of the checkout in which the code is broken and tested, beside the files that cargo builds.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::list::{Break, Test};

/// Beside the real one, so that the program that people run is never a broken one.
const DIR: &str = "breaks";
/// Cycles of the crash loop: with the seed of the list, what a break lets go wrong shows within a few.
const CYCLES: &str = "8";
/// Seconds. A test that waits for ever is not one that tells what is wrong.
const TEST_TIME_MAX: &str = "1200";
/// Broken code may take all memory there is: in KiB.
const ADDRESS_SPACE_MAX: &str = "8388608";

/// What came of tests.
pub enum Outcome {
    /// So many of them passed, and none failed.
    Passed(usize),
    /// What failed, in one line.
    Failed(String),
    /// Nothing was tested: the compiler's words, or that it took too long.
    Neither(String),
}

/// Of the crate alone, and in pieces that are built anew where something changed: what is measured here is not speed.
const OPTIMIZED: &[&str] = &["--config", "profile.release.package.pd-lite.opt-level=1"];

pub struct Scratch {
    checkout: PathBuf,
    target: PathBuf,
}

impl Scratch {
    /// A fresh copy. What cargo has built of the dependencies is used again.
    pub fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let dir = built.join(DIR);
        let (checkout, target) = (dir.join("checkout"), dir.join("target"));
        let _ = fs::remove_dir_all(&checkout);
        fs::create_dir_all(&checkout).unwrap();
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with('.') && name != "artifacts" && !built.starts_with(&path) && name != "target" {
                run(Command::new("cp").arg("-R").arg(&path).arg(&checkout));
            }
        }
        let scratch = Self { checkout, target };
        if !scratch.target.exists() {
            let release = scratch.target.join("release");
            fs::create_dir_all(&release).unwrap();
            let parts = ["build", "deps", ".fingerprint"].map(|part| built.join("release").join(part));
            run(Command::new("cp").arg("-al").args(parts).arg(&release));
            // These are linked, not copied: what is about to be written has to go first.
            for package in ["pd-lite", "pd-lite-interleavings"] {
                let manifest = if package == "pd-lite" { "Cargo.toml" } else { "tests/interleavings/Cargo.toml" };
                let clean = ["clean", "--release", "--locked", "-p", package, "--manifest-path", manifest];
                run(scratch.cargo().args(clean));
            }
        }
        scratch
    }

    /// Breaks the code, or mends it again.
    pub fn set(&self, of: &Break, broken: bool) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for change in &of.changes {
            fs::write(self.checkout.join(&change.file), fs::read(root.join(&change.file)).unwrap()).unwrap();
        }
        for change in of.changes.iter().filter(|_| broken) {
            let path = self.checkout.join(&change.file);
            let text = change.apply(&fs::read_to_string(&path).unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    pub fn test(&self, test: &Test) -> Outcome {
        let (of, filter) = match test {
            Test::Unit(filter) => ([OPTIMIZED, &["--lib"]].concat(), filter.as_str()),
            Test::Program(filter) => ([OPTIMIZED, &["--test", "tests"]].concat(), filter.as_str()),
            Test::Crash(_) => ([OPTIMIZED, &["--test", "tests"]].concat(), "crash::crashes_under_load"),
            Test::Interleavings(filter) => (vec!["--manifest-path", "tests/interleavings/Cargo.toml"], filter.as_str()),
        };
        let cargo = || {
            let mut cargo = self.cargo();
            cargo.args(["test", "--release", "--locked"]).args(&of);
            if let Test::Crash(seed) = test {
                cargo.env("PD_LITE_TEST_CRASH_CYCLES", CYCLES).env("PD_LITE_TEST_CRASH_SEED", seed);
            }
            cargo
        };
        let built = cargo().arg("--no-run").output().unwrap();
        if !built.status.success() {
            return Outcome::Neither(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        read(&cargo().args(["--", filter]).output().unwrap(), filter)
    }

    fn cargo(&self) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -v \"$0\" && exec timeout --kill-after=10 \"$@\"",
            ADDRESS_SPACE_MAX,
            TEST_TIME_MAX,
            "cargo",
        ]);
        command.current_dir(&self.checkout);
        command
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1")
            .env_remove("PD_LITE_TEST_EVERYTHING");
        command
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Reads what the test harness has printed.
fn read(output: &Output, filter: &str) -> Outcome {
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    match output.status.code() {
        Some(0) => Outcome::Passed(passed),
        Some(124) => Outcome::Neither(format!("{filter} did not come to its end in {TEST_TIME_MAX} s")),
        // A process that was aborted names no test.
        _ if failed.is_empty() => Outcome::Failed(format!("{filter}, which ended by {}", output.status)),
        _ => Outcome::Failed(failed.join(", ")),
    }
}
