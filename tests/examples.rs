//! Each program in `examples/` runs by itself and says what it is to show. What it claims it asserts itself.

use std::process::Command;

/// Runs an example as its first line says to, and returns what it prints.
fn run(name: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--release", "--locked", "--quiet", "--example", name]);
    let output = cargo.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} fails, {}:\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn pd_in_a_test() {
    let printed = run("pd_in_a_test");
    for line in ["\"zebra\" is in region 2", "its leader should move from peer 11 to 12", "store 2 was heard 3s ago"] {
        assert!(printed.contains(line), "{line:?} is missing in:\n{printed}");
    }
}

#[test]
fn routing_keys() {
    let printed = run("routing_keys");
    assert!(printed.contains("the value of \"tiger\" in region 2, after a split"), "{printed}");
}

#[test]
fn batched_timestamps() {
    let printed = run("batched_timestamps");
    assert!(printed.contains("42100 timestamps, all different"), "{printed}");
}
