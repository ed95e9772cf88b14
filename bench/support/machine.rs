//! The machine a bench runs on: figures mean little without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// Some lines that describe the machine and the disk under `dir`.
pub fn describe(dir: &Path) -> String {
    let cores = available_parallelism().map_or_else(|_| "?".into(), |cores| cores.to_string());
    let cpu = value_in("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let memory = value_in("/proc/meminfo", "MemTotal").unwrap_or_else(|| "?".into());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "?".into());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "?".into());
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "machine: {cores} cores, {cpu}, memory {memory}, Linux {}, load average {load}\nworkdirs: {}, {}",
        kernel.trim(),
        dir.display(),
        disk(dir).unwrap_or_else(|| "unknown disk".into()),
    )
}

/// The value behind `NAME:` in a file of such lines.
pub fn value_in(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The directory of `/proc` that tells of the calling thread.
pub fn this_thread() -> io::Result<PathBuf> {
    Ok(Path::new("/proc").join(fs::read_link("/proc/thread-self")?))
}

/// The file system that holds `dir`: the longest mount point that is a prefix of it.
fn disk(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let (device, _, kind) =
        fields.filter(|(_, point, _)| dir.starts_with(point)).max_by_key(|(_, point, _)| point.len())?;
    Some(format!("{kind} on {device}"))
}
