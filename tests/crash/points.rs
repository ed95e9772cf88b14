//! Where a server dies: by kill -9 in front of a certain system call of the persistence path, at which strace, which is asked
//! to watch the one thread that makes it, holds that thread; in the middle of a write, by a limit of the file's length; or at
//! any moment.
//!
//! A call in front of which the process dies does nothing, so the points between two calls of the path are all there are.
//! While its writer is held the server goes on: others get a moment to see what they should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rlimit::Resource;

use crate::support::rng::Rng;
use crate::support::{Launch, Server, launch, manifest};

/// The writer's thread, by its name.
const WRITER: &str = "pd-writer";

/// The file that a call is about.
#[derive(Clone, Copy, Debug)]
enum Of {
    Manifest,
    /// The one that a rewrite fills.
    NewManifest,
    /// The one of this name, or what is to take its place.
    Replaced(&'static str),
    Workdir,
}

/// A place in the persistence path of a server that serves.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub name: &'static str,
    /// System calls, for strace; those with `?` exist on some machines only.
    calls: &'static str,
    of: Option<Of>,
    /// It is one of the first so many calls.
    among: u64,
    /// Whether it is met during a rewrite only, which takes some MiB of changes.
    pub is_heavy: bool,
}

const fn point(name: &'static str, calls: &'static str, of: Option<Of>, among: u64, is_heavy: bool) -> Point {
    Point { name, calls, of, among, is_heavy }
}

/// How long a thread is held in front of its last call, in microseconds: until it is dead.
const HELD_US: u32 = 60_000_000;
/// How long a thread has to stand still to be taken for held, which is also the moment that others get.
const STANDS_STILL: Duration = Duration::from_millis(50);

const OPEN: &str = "?open,openat";
const RENAME: &str = "?rename,?renameat,?renameat2";
const SYNC: &str = "fdatasync,fsync";
const UNLINK: &str = "?unlink,?unlinkat";

/// Every step of a batch, a checkpoint and a rewrite.
pub const POINTS: [Point; 17] = [
    point("before a batch is written", "pwrite64", Some(Of::Manifest), 40, false),
    point("before a batch is synced", SYNC, Some(Of::Manifest), 40, false),
    point("before a batch's first answer is sent", "write", None, 40, false),
    point("before a new checkpoint is begun", OPEN, Some(Of::Replaced("PD_STATE.json")), 1, false),
    point("before a checkpoint is written", "pwrite64", Some(Of::Replaced("PD_STATE.json")), 1, false),
    point("before a checkpoint is synced", SYNC, Some(Of::Replaced("PD_STATE.json")), 1, false),
    point("before a checkpoint takes its place", RENAME, Some(Of::Replaced("PD_STATE.json")), 1, false),
    point("before a checkpoint's name is synced", SYNC, Some(Of::Workdir), 2, false),
    point("before a rewrite begins", OPEN, Some(Of::NewManifest), 1, true),
    point("before a rewrite's opening is written", "pwrite64", Some(Of::NewManifest), 1, true),
    point("while a rewrite copies", "pwrite64", Some(Of::NewManifest), 6, true),
    point("before a rewrite's bytes are synced", SYNC, Some(Of::NewManifest), 4, true),
    point("before CURRENT's successor is begun", OPEN, Some(Of::Replaced("CURRENT")), 1, true),
    point("before CURRENT's successor is synced", SYNC, Some(Of::Replaced("CURRENT")), 1, true),
    point("before CURRENT is replaced", RENAME, Some(Of::Replaced("CURRENT")), 1, true),
    point("before a name is synced while a rewrite is near", SYNC, Some(Of::Workdir), 4, true),
    point("before the old manifest is removed", UNLINK, Some(Of::Manifest), 1, true),
];

/// So many of them, the first ones, are steps of a batch, the most common thing to be under way.
pub const BATCH_POINTS: usize = 3;

/// System calls of a start and how many of each there are, or a few less. Renames and removals are made behind some crashes only.
const START_CALLS: [(&str, u64); 7] =
    [(OPEN, 24), ("pread64", 8), ("pwrite64", 2), (SYNC, 2), (RENAME, 1), ("ftruncate", 1), (UNLINK, 1)];

/// A place in a list of this length.
pub fn index(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len.try_into().expect("a short list"))).expect("less than the length")
}

/// Whether there is a strace.
pub fn has_strace() -> bool {
    Command::new("strace").arg("-V").output().is_ok()
}

impl Point {
    /// Has the server's writer held at this point.
    pub fn arm(&self, server: &Server, workdir: &Path, rng: &mut Rng) -> Armed {
        let when = 1 + rng.below(self.among);
        // A signal beside a delay gets lost in strace 6.1.
        let mut strace = strace(self.calls, &format!("delay_enter={HELD_US}:when={when}"));
        if let Some(of) = self.of {
            Self::paths(of, workdir).iter().for_each(|path| _ = strace.arg("-P").arg(path));
        }
        // Of the one thread alone: the others go on at their speed.
        let writer = writer_of(server);
        strace.args(["-p", &writer.to_string()]);
        let status = PathBuf::from(format!("/proc/{}/task/{writer}/status", server.pid()));
        Armed { strace: strace.spawn().expect("a strace that told its version"), status }
    }

    fn paths(of: Of, workdir: &Path) -> Vec<PathBuf> {
        match of {
            Of::Manifest => vec![manifest(workdir)],
            Of::NewManifest => {
                let manifest = manifest(workdir);
                let number = manifest.to_str().and_then(|path| path.rsplit_once('-')).map(|(_, number)| number.parse());
                let number: u64 = number.expect("a manifest has a number").expect("a manifest has a number");
                vec![workdir.join(format!("MANIFEST-{:06}", number + 1))]
            }
            Of::Replaced(name) => vec![workdir.join(name), workdir.join(format!("{name}.tmp"))],
            Of::Workdir => vec![workdir.to_owned()],
        }
    }
}

/// A strace that waits for its point.
pub struct Armed {
    strace: Child,
    /// Of the writer's thread.
    status: PathBuf,
}

impl Armed {
    /// Whether the writer is held. On a busy machine it may be one of the calls before the point at which it stands still.
    pub fn holds(&self) -> bool {
        let stopped = || fs::read_to_string(&self.status).ok().filter(|status| status.contains("State:\tt"));
        let Some(before) = stopped() else { return false };
        thread::sleep(STANDS_STILL);
        stopped().is_some_and(|after| switches(&after) == switches(&before))
    }
}

/// How often a thread has begun to wait for something, by its status.
fn switches(status: &str) -> Option<&str> {
    status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))
}

impl Drop for Armed {
    /// When the server is gone.
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn strace(calls: &str, how: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-qqq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:{how}")]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace
}

/// The writer's thread.
fn writer_of(server: &Server) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().map(|task| task.unwrap().path());
    let name = |task: &Path| fs::read_to_string(task.join("comm")).unwrap_or_default();
    let writer = tasks.into_iter().find(|task| name(task).trim_end() == WRITER);
    let id = writer.as_deref().and_then(Path::file_name).and_then(|id| id.to_str());
    id.expect("a server with a workdir has a writer").parse().unwrap()
}

/// Lets the server's writes to its manifest end a few bytes from here. The write that is cut fails, and the server ends as on
/// a disk that fails; what was written of the batch is the torn tail that a crash leaves.
pub fn cut_writes(server: &Server, workdir: &Path, rng: &mut Rng) {
    let len = fs::metadata(manifest(workdir)).unwrap().len();
    let most = len + 600 + rng.below(4_000);
    rlimit::prlimit(i32::try_from(server.pid()).unwrap(), Resource::FSIZE, Some((most, most)), None).unwrap();
}

/// Starts the server and kills it before it serves, or once it does: in front of one of the system calls of a start, or after
/// a time. Returns where; `Err`: the server ended by itself.
pub fn interrupt_start(launch: &Launch, has_strace: bool, rng: &mut Rng) -> Result<String, String> {
    let mut command = launch.command();
    if has_strace && rng.below(4) > 0 {
        let (calls, most) = START_CALLS[index(rng, START_CALLS.len())];
        let when = 1 + rng.below(most);
        // With -D it is the server that is this process's child. Without -f it is the main thread that is watched, which makes
        // the workdir ready.
        let mut strace = strace(calls, &format!("signal=KILL:when={when}"));
        strace.arg("-D").arg(command.get_program()).args(command.get_args());
        return match launch::start(strace) {
            Ok(server) => {
                server.kill();
                Ok("after the start".to_owned())
            }
            Err(exit) if exit.code.is_none() => Ok(format!("before {}", calls.trim_start_matches('?'))),
            Err(exit) => Err(format!("a start that was to be killed ended by itself: {exit:#?}")),
        };
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    // The moment is the point: nothing waits for anything here.
    thread::sleep(Duration::from_micros(rng.below(40_000)));
    child.kill().unwrap();
    match child.wait().unwrap().code() {
        None => Ok("at a random moment".to_owned()),
        Some(code) => Err(format!("a start that was to be killed ended by itself with exit code {code}")),
    }
}
