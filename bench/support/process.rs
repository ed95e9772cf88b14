//! A pd-lite process under measurement: started on a free port, read through `/proc`, ended with its handle.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Result, machine};

/// The program that is measured.
pub const PD_LITE: &str = env!("CARGO_BIN_EXE_pd-lite");

/// The last line of a start, in front of the address.
pub const LISTENING: &str = "PD-lite service listening on ";

/// A server process. Dropping it kills the process.
pub struct PdProcess {
    child: Child,
    started: Instant,
    addr: String,
}

impl PdProcess {
    /// Starts a server that keeps everything in memory.
    pub fn in_memory() -> Result<Self> {
        Self::start("127.0.0.1:0", &[])
    }

    /// Starts a server on a workdir.
    pub fn durable(workdir: &Path) -> Result<Self> {
        Self::durable_on("127.0.0.1:0", workdir)
    }

    /// Starts a server on a workdir, at an address.
    pub fn durable_on(addr: &str, workdir: &Path) -> Result<Self> {
        Self::start(addr, &["--workdir".as_ref(), workdir.as_os_str()])
    }

    /// Starts a server of another build, on a workdir or in memory.
    pub fn of_program(program: &Path, workdir: Option<&Path>) -> Result<Self> {
        let workdir = workdir.map(|dir| ["--workdir".as_ref(), dir.as_os_str()]);
        Self::start_program(program, "127.0.0.1:0", workdir.as_ref().map_or(&[], |args| &args[..]))
    }

    fn start(addr: &str, args: &[&OsStr]) -> Result<Self> {
        Self::start_program(Path::new(PD_LITE), addr, args)
    }

    fn start_program(program: &Path, addr: &str, args: &[&OsStr]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["pd", "--addr", addr, "--log-level", "error"]).args(args).stdin(Stdio::null());
        Self::of_command(command)
    }

    /// Starts a server that tells its address as pd-lite does.
    pub fn of_command(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut process = Self { child, started, addr: String::new() };
        for line in BufReader::new(stdout).lines() {
            if let Some(addr) = line?.strip_prefix(LISTENING) {
                process.addr = addr.to_owned();
                return Ok(process);
            }
        }
        Err(format!("the server ended before it served: {}", process.child.wait()?).into())
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// When the process was started, just before exec.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// CPU time of all its threads so far, in user and kernel mode.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of_threads(&format!("/proc/{}/task", self.child.id()))
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(&format!("/proc/{}/status", self.child.id()))
    }

    /// Ends the process by SIGTERM.
    ///
    /// # Errors
    ///
    /// An exit status other than 0.
    pub fn stop(mut self) -> Result<()> {
        terminate(&self.child)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("pd-lite ended by {status} after SIGTERM").into());
        }
        Ok(())
    }
}

impl Drop for PdProcess {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends SIGTERM to a child that has not been waited for.
pub fn terminate(child: &Child) -> Result<()> {
    // The shell's own `kill`: the crate is free of unsafe code, and a `kill` program may be missing.
    let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(format!("process {} cannot be sent SIGTERM", child.id()).into()) }
}

/// CPU time of all threads of this process so far.
pub fn cpu_of_this_process() -> Result<Duration> {
    cpu_of_threads("/proc/self/task")
}

/// Resident memory of this process in bytes.
pub fn resident_bytes_of_this_process() -> Result<u64> {
    resident_bytes("/proc/self/status")
}

fn resident_bytes(status: &str) -> Result<u64> {
    let value = machine::value_in(status, "VmRSS").ok_or("no VmRSS")?;
    let kib: u64 = value.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn cpu_of_threads(directory: &str) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(directory)? {
        // A thread may end between the listing and the reading; what it used since the last look is lost, which is nothing
        // for the threads that serve.
        sum += cpu_of_thread(&task?.path()).unwrap_or_default();
    }
    Ok(sum)
}

/// CPU time of a thread, given its directory in `/proc`. Kernel: `schedstat` holds nanoseconds on the CPU first.
pub fn cpu_of_thread(directory: &Path) -> Result<Duration> {
    let text = fs::read_to_string(directory.join("schedstat"))?;
    let nanos = text.split(' ').next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
