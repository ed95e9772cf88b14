//! Each fault at each operation of each command that writes, and the power going then.

use super::*;
use crate::storage::offline::append::append_in;
use crate::storage::offline::rebuild::rebuild_in;
use crate::storage::offline::set_min::set_min_in;
use crate::storage::testing::{files, raw};
use crate::storage::tests::every_operation::{self, FAULTS, Fault, Run, scratch};
use crate::storage::tests::support::copy;

/// Runs `command`, which tells whether it was done, with each fault at each operation, and `check` on what is left.
fn at_every_operation(
    prepare: impl Fn() -> TempDir,
    command: impl Fn(&Dir) -> bool,
    check: impl Fn(&Path, bool, &str),
) {
    let prepare = |dir: &Path| {
        std::fs::create_dir(dir).unwrap();
        copy(prepare().path(), dir);
    };
    let scenario = |run: &Run<'_>| {
        let is_done = command(&Dir::new(Arc::new(run.fs.clone()), run.dir.to_owned()));
        assert!(is_done || !run.fault.is_none_or(Fault::is_transparent), "{:?} at {:?}", run.fault, run.met());
        is_done
    };
    let go_on = |run: &Run<'_>, is_done: bool, context: &str| {
        let left = scratch();
        copy(run.dir, left.path());
        check(left.path(), is_done, context);
    };
    // What the reference writes has no checksum, so that a sector matters.
    every_operation::at_every_operation(
        &FAULTS,
        512,
        prepare,
        scenario,
        |left, done, context| check(left, *done, context),
        go_on,
    );
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
        append_at_every_operation(prepare);
    }
}

/// A plain record has no checksum. When the power went before all of it was on the disk, the next start refused the workdir
/// (the sector with the record's length was missing) or served a region with zeros in its keys (one behind it was).
#[test]
fn an_append_to_a_manifest_of_the_reference_is_never_half_there() {
    for len in 502..514 {
        append_at_every_operation(|| {
            let dir = reference();
            change(dir.path(), "MANIFEST-000001", |manifest| {
                let unknown = raw(0x63, &vec![b'?'; len - manifest.len() - 9]);
                manifest.extend(unknown);
                assert_eq!(manifest.len(), len);
            });
            dir
        });
    }
}

fn append_at_every_operation(prepare: impl Fn() -> TempDir) {
    let dir = prepare();
    let (before, counters) = read(dir.path()).unwrap();
    let new = region(8, &"m".repeat(1200), "");
    let after = [&before[..], std::slice::from_ref(&new)].concat();
    let command = |dir: &Dir| append_in(dir, &new, RegionState::Running).is_ok();
    at_every_operation(&prepare, command, |left, is_done, context| {
        let (regions, issued) = read(left).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(regions == after || regions == before && !is_done, "{context}: {regions:?}");
        assert_eq!(issued, counters, "{context}");
    });
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
