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
    /// One read or write does half of its work.
    ShortOnce,
    /// Every read and write does a few bytes at a time.
    ShortForGood,
}

pub const FAULTS: [Fault; 8] = [
    Fault::PowerCut,
    Fault::Once(EIO),
    Fault::Once(ENOSPC),
    Fault::ForGood(ENOSPC),
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

    /// What happens to the operation `number` when this fault comes at the operation `at`.
    fn fate(self, op: Op, number: u64, at: u64) -> Fate {
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
            Self::ShortOnce if is_it => half.map_or(Fate::Pass, Fate::Short),
            Self::ShortForGood => half.map_or(Fate::Pass, |half| Fate::Short(half.min(40))),
            Self::Once(_) | Self::ForGood(_) | Self::ShortOnce => Fate::Pass,
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
    /// The operation that the fault met.
    met: Arc<Mutex<Option<Op>>>,
    /// Each operation, with the name of the file.
    pub ops: Receiver<(Op, String)>,
}

impl Run<'_> {
    pub fn met(&self) -> Option<Op> {
        *self.met.lock().unwrap()
    }
}

/// A directory in memory, where the system has one: these tests make thousands of files, and the record of what was synced
/// takes the place of the disk.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs `scenario` as the file says. `prepare` makes the workdir, in a directory that exists; `scenario` returns what its
/// callers know in the end; `check` looks at a workdir that is left; `go_on` goes on with the same disk.
///
/// Returns how many operations the scenario has, and how many workdirs were checked.
pub fn at_every_operation<K: Debug>(
    faults: &[Fault],
    page_len: usize,
    prepare: impl Fn(&Path),
    scenario: impl Fn(&Run<'_>) -> K,
    check: impl Fn(&Path, &K, &str),
    go_on: impl Fn(&Run<'_>, K, &str),
) -> (u64, usize) {
    let mut checked = HashSet::new();
    let mut run = |fault: Option<Fault>, at: u64| {
        let parent = scratch();
        let dir = parent.path().join("wd");
        prepare(&dir);
        let (count, met) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(None)));
        let (counted, meets) = (Arc::clone(&count), Arc::clone(&met));
        let (report, ops) = unbounded();
        let fs = FaultFs::with_pages(&dir, page_len, move |op, path| {
            let _ = report.send((op, path.file_name().unwrap_or_default().to_string_lossy().into_owned()));
            let mut count = counted.lock().unwrap();
            let fate = fault.map_or(Fate::Pass, |fault| fault.fate(op, *count, at));
            if *count == at {
                *meets.lock().unwrap() = Some(op);
            }
            *count += 1;
            fate
        });
        let run = Run { fs: fs.clone(), dir: &dir, fault, met, ops };
        let known = scenario(&run);
        let operations = *count.lock().unwrap();
        let context = format!("{fault:?} at operation {at}, {:?}", run.met());
        let everything = fs.cut_power(Left::Everything);
        assert_eq!(everything, disk::read(&dir), "{context}: the record is right");
        let mut cuts = fs.power_cuts(at);
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
    let operations = run(None, u64::MAX);
    assert!(operations > 10, "{operations}");
    for &fault in faults {
        // With a fault a run may take more operations than without.
        let mut at = 0;
        while run(Some(fault), at) > at {
            at += 1;
        }
        assert!(at >= operations / 2, "{fault:?}: {at} of {operations} operations");
    }
    (operations, checked.len())
}

fn checksums(files: &Files) -> Vec<(OsString, usize, u32)> {
    files.iter().map(|(name, content)| (name.clone(), content.len(), crc32c::crc32c(content))).collect()
}
