//! A disk of 1 MiB: a tmpfs in a mount namespace of its own, which nobody sees but the servers that are started on it. It is
//! gone with the test, however that ends: a process holds the namespace until the test's end of a pipe is closed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Launch, not_tried};

/// What a file takes at least, and a multiple of it always.
const PAGE_BYTES: usize = 4096;

pub struct SmallDisk {
    holder: Child,
    /// Where it is mounted; outside of the namespace an empty directory.
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`: this machine does not let the test mount anything.
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=1m pd-lite-test \"$0\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(dir.path());
        let holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut line = String::new();
        let Ok(mut holder) = holder else {
            not_tried("there is no unshare to mount a small disk with");
            return None;
        };
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let disk = Self { holder, dir };
        if line != "mounted\n" {
            not_tried("a small disk may not be mounted here; root may");
            return None;
        }
        Some(disk)
    }

    /// How to start a server whose workdir is on the disk.
    pub fn launch(&self) -> Launch {
        Launch::durable(&self.dir.path().join("pd")).within(self.enter())
    }

    /// The workdir, as this process sees it.
    pub fn workdir(&self) -> PathBuf {
        self.path().join("pd")
    }

    /// Leaves this many pages of the disk free.
    pub fn fill_but(&self, pages: usize) {
        let mut filler = File::options().append(true).create(true).open(self.path().join("filler")).unwrap();
        let error = loop {
            if let Err(error) = filler.write_all(&[b'x'; PAGE_BYTES]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let free = u64::try_from(pages * PAGE_BYTES).unwrap();
        let len = filler.metadata().unwrap().len();
        filler.set_len(len.checked_sub(free).expect("a filler of more than that")).unwrap();
    }

    /// Gives back what was filled.
    pub fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }

    /// Mounts it again, `ro` or `rw`; nobody may have a file open for writing.
    pub fn remount(&self, how: &str) {
        let status = self.command("mount").args(["-o", &format!("remount,{how}")]).arg(self.dir.path()).status();
        assert!(status.unwrap().success());
    }

    /// `program` with the disk where the servers see it.
    fn command(&self, program: &str) -> Command {
        let [nsenter, namespace] = self.enter();
        let mut command = Command::new(nsenter);
        command.args([&namespace, program]);
        command
    }

    /// The words that bring a program into the namespace.
    fn enter(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder.id())]
    }

    fn path(&self) -> PathBuf {
        let dir = self.dir.path().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
