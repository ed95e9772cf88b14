//! The machine a bench runs on: figures mean little without it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

/// What figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    cores: String,
    cpu: String,
    memory: String,
    kernel: String,
    /// Of the last minute, when this was asked.
    load_average: String,
    workdirs: String,
    /// The file system under the workdirs.
    disk: String,
    /// Whether memory that asks for huge pages gets them: `always`, `madvise` or `never`.
    huge_pages: String,
}

impl Machine {
    /// This machine, with workdirs in `dir`.
    pub fn of(dir: &Path) -> Self {
        let first_word = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.split_whitespace().next().unwrap_or("?").to_owned()
        };
        Self {
            cores: available_parallelism().map_or_else(|_| "?".into(), |cores| cores.to_string()),
            cpu: value_in("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into()),
            memory: value_in("/proc/meminfo", "MemTotal").unwrap_or_else(|| "?".into()),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            load_average: first_word("/proc/loadavg"),
            workdirs: dir.display().to_string(),
            disk: disk(dir).unwrap_or_else(|| "unknown disk".into()),
            huge_pages: huge_pages().unwrap_or_else(|| "?".into()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, memory, kernel, load_average, workdirs, disk, huge_pages } = self;
        writeln!(
            f,
            "machine: {cores} cores, {cpu}, memory {memory}, huge pages {huge_pages}, Linux {kernel}, \
             load average {load_average}"
        )?;
        write!(f, "workdirs: {workdirs}, {disk}")
    }
}

/// Some lines that describe the machine and the disk under `dir`.
pub fn describe(dir: &Path) -> String {
    Machine::of(dir).to_string()
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

/// The chosen one of the system's settings, which stands in brackets.
fn huge_pages() -> Option<String> {
    let settings = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, chosen) = settings.split_once('[')?;
    Some(chosen.split_once(']')?.0.to_owned())
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
