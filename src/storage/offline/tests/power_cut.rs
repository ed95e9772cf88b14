//! The power goes at each operation of each command that writes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::storage::offline::append::append_in;
use crate::storage::offline::rebuild::rebuild_in;
use crate::storage::offline::set_min::set_min_in;
use crate::storage::testing::files;
use crate::storage::tests::faults::{EIO, Fate, FaultFs, Op, PowerCut};

/// Runs `command` with the power going at each operation, and `check` on what is left.
fn at_every_operation(
    prepare: impl Fn() -> TempDir,
    command: impl Fn(&Dir) -> bool,
    check: impl Fn(&Path, bool, &str),
) {
    for cut_at in 0.. {
        let dir = prepare();
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let fs = FaultFs::new(dir.path(), move |op, _| match counted.fetch_add(1, Ordering::SeqCst) {
            number if number < cut_at => Fate::Pass,
            number => match op {
                Op::Write { len, .. } if number == cut_at => Fate::Short(len / 2),
                _ => Fate::Fail(EIO),
            },
        });
        let is_done = command(&Dir::new(Arc::new(fs.clone()), dir.path().to_owned()));
        for cut in [PowerCut::Nothing, PowerCut::Contents, PowerCut::NamesAndContents] {
            let left = tempfile::tempdir().unwrap();
            fs.cut_power(cut, left.path());
            check(left.path(), is_done, &format!("operation {cut_at}, {cut:?}"));
        }
        if count.load(Ordering::SeqCst) <= cut_at {
            assert!(is_done && cut_at > 2, "{cut_at} operations");
            return;
        }
    }
}

#[test]
fn an_append_is_whole_or_not_there_whenever_the_power_goes() {
    let torn = || {
        let dir = ours();
        change(dir.path(), "MANIFEST-000001", |manifest| manifest.extend(b"\x20\0\0\0NoKV\x07\x09"));
        dir
    };
    let prepares: [&dyn Fn() -> TempDir; 4] = [&reference, &ours, &torn, &|| tempfile::tempdir().unwrap()];
    for prepare in prepares {
        let dir = prepare();
        let (before, counters) = read(dir.path()).unwrap();
        let after = [&before[..], &[region(8, "m", "")]].concat();
        let command = |dir: &Dir| append_in(dir, &region(8, "m", ""), RegionState::Running).is_ok();
        at_every_operation(prepare, command, |left, is_done, context| {
            let (regions, issued) = read(left).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(regions == after || regions == before && !is_done, "{context}: {regions:?}");
            assert_eq!(issued, counters, "{context}");
        });
    }
}

#[test]
fn the_counters_are_the_old_or_the_new_ones_whenever_the_power_goes() {
    let raised = Limits { ids: 99, timestamps: 40 };
    for prepare in [reference, ours] {
        at_every_operation(
            prepare,
            |dir| set_min_in(dir, Some(100), None).is_ok(),
            |left, is_done, context| {
                let (regions, issued) = read(left).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(issued == raised || issued == COUNTERS && !is_done, "{context}: {issued:?}");
                assert_eq!(regions.len(), 2);
            },
        );
    }
}

#[test]
fn a_rebuild_can_be_repeated_whenever_the_power_goes() {
    let without_state = || {
        let dir = damaged(reference());
        std::fs::remove_file(dir.path().join(STATE_FILE)).unwrap();
        dir
    };
    let without_current = || {
        let dir = ours();
        std::fs::remove_file(dir.path().join("CURRENT")).unwrap();
        dir
    };
    let prepares: [(&dyn Fn() -> TempDir, Limits); 4] = [
        (&|| damaged(reference()), COUNTERS),
        (&|| damaged(ours()), COUNTERS),
        (&without_state, Limits::default()),
        (&without_current, COUNTERS),
    ];
    for (prepare, counters) in prepares {
        let dir = prepare();
        let damaged = std::fs::read(dir.path().join("MANIFEST-000001")).unwrap();
        at_every_operation(
            prepare,
            |dir| rebuild_in(dir).unwrap_or(None).is_some(),
            |left, is_done, context| {
                let copies = files(left)
                    .into_iter()
                    .filter(|(name, content)| name.starts_with("MANIFEST-000001") && *content == damaged);
                assert_eq!(copies.count(), 1, "{context}: the damaged manifest is kept");
                if is_done {
                    assert_eq!(rebuild(left).unwrap(), None, "{context}");
                } else {
                    rebuild(left).unwrap_or_else(|error| panic!("{context}: {error}"));
                }
                assert_eq!(read(left).unwrap(), (vec![], counters), "{context}");
            },
        );
    }
}
