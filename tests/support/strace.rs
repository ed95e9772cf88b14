//! System calls that fail or take long, by strace.

use std::path::Path;
use std::process::Command;

use super::not_tried;

/// Calls that make a write durable.
pub const SYNCS: &str = "fsync,fdatasync";

/// Whether strace is there and may trace.
pub fn is_there() -> bool {
    // Its exit code is the program's.
    let is_there = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status().is_ok_and(|it| it.success());
    if !is_there {
        not_tried("there is no strace, or it may not trace");
    }
    is_there
}

/// The words that let `calls` of a program end as `how` says, and write what became of each into `trace`. The program stays
/// the test's own child, and only these calls are slower than without.
pub fn inject(calls: &str, how: &str, trace: &Path) -> Vec<String> {
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-o"].map(str::to_owned);
    let expressions = [format!("trace={calls}"), format!("inject={calls}:{how}")];
    let expressions = expressions.into_iter().flat_map(|expression| ["-e".to_owned(), expression]);
    words.into_iter().chain([trace.to_str().unwrap().to_owned()]).chain(expressions).collect()
}
