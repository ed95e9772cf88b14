//! A `pd-lite` process of a test's own, mostly a PD. It listens on a free port, is ready when it says so on stdout, and is killed
//! when the handle goes.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::client::Client;

/// Only a server that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

/// Exit codes: the workdir or the port is in use.
pub const EXIT_IN_USE: i32 = 3;
/// The workdir holds what no crash explains.
pub const EXIT_DAMAGED: i32 = 4;
/// The disk failed.
pub const EXIT_DISK: i32 = 5;

/// What a PD's last start line begins with, and the line in which a store says where it listens.
const READY: [&str; 2] = ["PD-lite service listening on ", "TinyKv service listening on "];

/// How to start a server.
#[derive(Clone, Default)]
pub struct Launch {
    addr: Option<String>,
    args: Vec<String>,
    /// The command that the program is an argument of, if any.
    within: Vec<String>,
}

impl Launch {
    /// In memory, on a free port of 127.0.0.1.
    pub fn in_memory() -> Self {
        Self::default()
    }

    pub fn durable(workdir: &Path) -> Self {
        Self::default().args(["--workdir", workdir.to_str().unwrap()])
    }

    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn on(mut self, addr: &str) -> Self {
        self.addr = Some(addr.to_owned());
        self
    }

    /// Runs the program by a command that becomes it, so that signals and exit codes are its own.
    pub fn within<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.within.extend(words.into_iter().map(Into::into));
        self
    }

    /// Makes every write behind this many blocks of 512 bytes of a file fail (EFBIG): a disk that goes bad.
    pub fn file_blocks_max(self, blocks: u32) -> Self {
        // POSIX counts in blocks of 512 bytes.
        self.limited("-f", blocks)
    }

    /// Gives the process this many file descriptors.
    #[allow(dead_code)]
    pub fn descriptors_max(self, count: u32) -> Self {
        self.limited("-n", count)
    }

    fn limited(self, what: &str, most: u32) -> Self {
        self.within(["sh", "-c", &format!("ulimit {what} \"$0\"; exec \"$@\""), &most.to_string()])
    }

    /// Starts a server that is expected to serve.
    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|exit| panic!("the server ended instead of serving: {exit:#?}"))
    }

    /// Starts a server that is expected to refuse.
    pub fn refused(&self) -> Exit {
        match self.try_start() {
            Ok(server) => panic!("the server serves instead of refusing: {:#?}", server.start_lines),
            Err(exit) => exit,
        }
    }

    /// The command line, for whoever does more with it than wait until it serves.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_pd-lite");
        let mut command = match self.within.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(["pd", "--addr", self.addr.as_deref().unwrap_or("127.0.0.1:0")]).args(&self.args);
        command
    }

    pub fn try_start(&self) -> Result<Server, Exit> {
        start(self.command())
    }
}

/// Runs a command that is to serve, and waits until it does or has ended.
pub fn start(mut command: Command) -> Result<Server, Exit> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (line_sender, stdout) = crossbeam_channel::unbounded();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| line_sender.send(line)));
    let mut pipe = child.stderr.take().unwrap();
    let stderr = Arc::<Mutex<Vec<u8>>>::default();
    let text = Arc::clone(&stderr);
    let stderr_end = thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            match pipe.read(&mut piece).unwrap() {
                0 => return,
                len => text.lock().unwrap().extend_from_slice(&piece[..len]),
            }
        }
    });
    let mut server =
        Server { child, addr: String::new(), start_lines: Vec::new(), stdout, stderr, stderr_end: Some(stderr_end) };
    loop {
        match server.stdout.recv_timeout(HANG) {
            Ok(line) => server.start_lines.push(line),
            Err(RecvTimeoutError::Disconnected) => return Err(server.wait()),
            Err(RecvTimeoutError::Timeout) => panic!("the server neither serves nor ends"),
        }
        let line = server.start_lines.last().map(String::as_str).unwrap_or_default();
        if let Some(rest) = READY.iter().find_map(|ready| line.strip_prefix(ready)) {
            server.addr = rest.split(' ').next().unwrap_or_default().to_owned();
            return Ok(server);
        }
    }
}

/// Sends a process the signal `name`, without its SIG.
pub fn signal(pid: u32, name: &str) {
    // A shell's own `kill` is the one way to send a signal that needs neither unsafe code nor another package.
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A server that serves.
pub struct Server {
    child: Child,
    addr: String,
    start_lines: Vec<String>,
    stdout: Receiver<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_end: Option<JoinHandle<()>>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Exit {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: String,
}

impl Server {
    pub fn addr(&self) -> &str {
        &self.addr
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines up to the one that says where the server listens, that one included.
    pub fn start_lines(&self) -> &[String] {
        &self.start_lines
    }

    /// What it has said on its standard error so far.
    pub fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::connect(&self.addr)
    }

    /// Asks the server to end, by SIGTERM, and waits until it has.
    pub fn term(self) -> Exit {
        self.signal("TERM");
        self.wait()
    }

    /// Ends the server by SIGTERM, and insists on a clean end.
    pub fn stop(self) {
        let exit = self.term();
        assert_eq!(exit.code, Some(0), "SIGTERM is a clean end: {exit:#?}");
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends the server by SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Whether it has ended by itself; [`Server::wait`] then tells how.
    pub fn has_ended(&self) -> bool {
        // A process that nobody has waited for is a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
    }

    /// Waits until the server has ended by itself.
    pub fn wait(mut self) -> Exit {
        let mut stdout = std::mem::take(&mut self.start_lines);
        loop {
            match self.stdout.recv_timeout(HANG) {
                Ok(line) => stdout.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the server does not end"),
            }
        }
        let code = self.child.wait().unwrap().code();
        if let Some(thread) = self.stderr_end.take() {
            thread.join().unwrap();
        }
        Exit { code, stdout, stderr: self.stderr_so_far() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `wait` both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stderr) = self.stderr_end.take()
            && thread::panicking()
        {
            let _ = stderr.join();
            eprintln!("stderr of the server at {}:\n{}", self.addr, self.stderr_so_far());
        }
    }
}
