//! Runs a scenario once without a fault, to count its operations on the disk, and then once for each operation and each
//! fault with the fault at that operation. After each run every way in which the power may go then is checked, and so is
//! the disk as it is, for a process that goes on.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, unbounded};

use super::disk::{self, Files, Left};
use super::faults::{EINTR, EIO, ENOSPC, Fate, FaultFs, Op};

/// What goes wrong, from some operation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation and all later ones fail, a write does half of its work.
    PowerCut,
    /// One operation fails with this error.
    Once(i32),
    /// Every operation fails with this error, if it can.
    ForGood(i32),
    /// One write does half of its work, and there is no space for the rest.
    NoSpaceMidway,
    /// One read or write does half of its work.
    ShortOnce,
    /// Every read and write does a few bytes at a time.
    ShortForGood,
}

pub const FAULTS: [Fault; 9] = [
    Fault::PowerCut,
    Fault::Once(EIO),
    Fault::Once(ENOSPC),
    Fault::ForGood(ENOSPC),
    Fault::NoSpaceMidway,
    Fault::Once(EINTR),
    Fault::ForGood(EINTR),
    Fault::ShortOnce,
    Fault::ShortForGood,
];

impl Fault {
    /// Whether nobody may notice.
    pub fn is_transparent(self) -> bool {
        matches!(self, Self::Once(EINTR) | Self::ForGood(EINTR) | Self::ShortOnce | Self::ShortForGood)
    }

    /// Whether it can meet this operation first.
    fn can_meet(self, op: Op) -> bool {
        self.fate(op, 0, 0) != Fate::Pass || matches!(self, Self::ForGood(_) | Self::ShortForGood)
    }

    /// What happens to the operation `number` when this fault comes at the operation `at`.
    fn fate(self, op: Op, number: usize, at: usize) -> Fate {
        let (is_it, is_later) = (number == at, number >= at);
        let half = match op {
            Op::Write { len, .. } => Some(len / 2).filter(|&half| half > 0),
            Op::Read => Some(3),
            _ => None,
        };
        match self {
            _ if !is_later => Fate::Pass,
            Self::PowerCut => half.filter(|_| is_it && op != Op::Read).map_or(Fate::Fail(EIO), Fate::Short),
            Self::Once(code) if is_it && can_fail_with(op, code) => Fate::Fail(code),
            // A signal comes again and again, but a call that is repeated ends between two of them.
            Self::ForGood(EINTR) if (number - at).is_multiple_of(2) && can_fail_with(op, EINTR) => Fate::Fail(EINTR),
            Self::ForGood(code) if code != EINTR && can_fail_with(op, code) => Fate::Fail(code),
            Self::NoSpaceMidway if is_it && op != Op::Read => half.map_or(Fate::Pass, Fate::Short),
            Self::NoSpaceMidway if number == at + 1 && half.is_some() && op != Op::Read => Fate::Fail(ENOSPC),
            Self::ShortOnce if is_it => half.map_or(Fate::Pass, Fate::Short),
            Self::ShortForGood => half.map_or(Fate::Pass, |half| Fate::Short(half.min(40))),
            Self::Once(_) | Self::ForGood(_) | Self::NoSpaceMidway | Self::ShortOnce => Fate::Pass,
        }
    }
}

fn can_fail_with(op: Op, code: i32) -> bool {
    match code {
        EINTR => matches!(op, Op::Read | Op::Write { .. }),
        // What gives space back needs none.
        ENOSPC => op.is_change() && !matches!(op, Op::SetLen | Op::Remove),
        _ => true,
    }
}

/// A run with a fault.
pub struct Run<'a> {
    pub fs: FaultFs,
    pub dir: &'a Path,
    pub fault: Option<Fault>,
    at: usize,
    /// The operations up to now.
    seen: Arc<Mutex<Vec<Op>>>,
    /// Each operation, with the name of the file.
    pub ops: Receiver<(Op, String)>,
}

impl Run<'_> {
    /// The operation that the fault met first.
    pub fn met(&self) -> Option<Op> {
        self.seen.lock().unwrap().get(self.at).copied()
    }
}

/// A directory in memory, where the system has one: these tests make thousands of files, and the record of what was synced
/// takes the place of the disk.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs `scenario` as the file says. `prepare` makes the workdir, in a directory that exists; `scenario` returns what its
/// callers know in the end; `check` looks at a workdir that is left; `go_on` goes on with the same disk.
pub fn at_every_operation<K: Debug>(
    faults: &[Fault],
    page_len: usize,
    prepare: impl Fn(&Path),
    scenario: impl Fn(&Run<'_>) -> K,
    check: impl Fn(&Path, &K, &str),
    go_on: impl Fn(&Run<'_>, K, &str),
) {
    let mut checked = HashSet::new();
    let mut run = |fault: Option<Fault>, at: usize| {
        let parent = scratch();
        let dir = parent.path().join("wd");
        prepare(&dir);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let (report, ops) = unbounded();
        let fs = FaultFs::with_pages(&dir, page_len, move |op, path| {
            let _ = report.send((op, path.file_name().unwrap_or_default().to_string_lossy().into_owned()));
            let mut seen = sees.lock().unwrap();
            seen.push(op);
            fault.map_or(Fate::Pass, |fault| fault.fate(op, seen.len() - 1, at))
        });
        let run = Run { fs: fs.clone(), dir: &dir, fault, at, seen, ops };
        let known = scenario(&run);
        let operations = run.seen.lock().unwrap().clone();
        let context = format!("{fault:?} at operation {at}, {:?}", run.met());
        let everything = fs.cut_power(Left::Everything);
        assert_eq!(everything, disk::read(&dir), "{context}: the record is right");
        let mut cuts = fs.power_cuts(u64::try_from(at).unwrap());
        cuts.push(everything);
        for files in cuts {
            if checked.insert((checksums(&files), format!("{known:?}"))) {
                let left = scratch();
                disk::restore(&files, left.path());
                check(left.path(), &known, &format!("{context}, the power goes"));
            }
        }
        fs.set_rule(|_, _| Fate::Pass);
        go_on(&run, known, &format!("{context}, another process goes on"));
        operations
    };
    let operations = run(None, 0);
    assert!(operations.len() > 10, "{operations:?}");
    let mut runs = 1;
    for &fault in faults {
        // With a fault a run may take more operations than without.
        for at in 0.. {
            if operations.get(at).is_some_and(|&op| !fault.can_meet(op)) {
                continue;
            }
            runs += 1;
            if run(Some(fault), at).len() <= at {
                assert!(at >= operations.len() / 2, "{fault:?}: {at} of {} operations", operations.len());
                break;
            }
        }
    }
    println!("{} operations, {runs} runs, {} states of the disk", operations.len(), checked.len());
}

fn checksums(files: &Files) -> Vec<(OsString, usize, u32)> {
    files.iter().map(|(name, content)| (name.clone(), content.len(), crc32c::crc32c(content))).collect()
}
