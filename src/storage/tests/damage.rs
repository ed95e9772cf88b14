//! Every byte at which a file can be cut and every bit of it that can flip, in each of the three files of a small workdir:
//! after a clean stop that is damage; after a kill it is damage, or a state that the workdir had and that may be lost no
//! more. And out of each such damage leads what its message names, without losing a value that was given out.

use std::path::Path;
use std::sync::Arc;

use super::super::dir::Dir;
use super::super::fs::{Fs, OsFs};
use super::super::offline;
use super::super::record::{self, RegionState};
use super::super::rewrite::Rewrite;
use super::super::state::STATE_FILE;
use super::super::{Opened, StorageError};
use super::disk::{self, Files};
use super::every_operation::scratch;
use super::support::{Running, checkpoint, current, delete, narrow, read, region, run};
use crate::core::{Cluster, Kind, Limits, Region};
use crate::storage::hold;

/// A workdir, and what may be found in it when some of its bytes are damaged.
struct Workdir {
    files: Files,
    /// What it holds.
    newest: (Vec<Arc<Region>>, Limits),
    /// The states at commits that are not known as synced. All of them are with the newest.
    unsynced: Vec<Vec<Arc<Region>>>,
    given: Limits,
}

/// Serves a workdir: regions come, change and go, and values are given out.
fn serve(dir: &Path) -> (Running, Limits) {
    let running = run(OsFs, dir).unwrap();
    let ids = running.take(Kind::Id, 20).unwrap() + 19;
    for edit in [narrow(1, 1), narrow(2, 1)] {
        running.edit(edit).unwrap();
    }
    let timestamps = running.take(Kind::Timestamp, 20).unwrap() + 19;
    (running, Limits { ids, timestamps })
}

fn clean() -> Workdir {
    let dir = scratch();
    let (running, given) = serve(dir.path());
    running.edit(delete(1)).unwrap();
    let regions = running.regions();
    running.writer.stop().unwrap();
    Workdir { files: disk::read(dir.path()), newest: (regions, given), unsynced: Vec::new(), given }
}

fn killed() -> Workdir {
    let dir = scratch();
    let (running, given) = serve(dir.path());
    let mut unsynced = vec![running.regions()];
    for edit in [narrow(2, 7), delete(1)] {
        running.edit(edit).unwrap();
        unsynced.push(running.regions());
    }
    let files = disk::read(dir.path());
    let limits = checkpoint(dir.path()).limits;
    Workdir { files, newest: (running.regions(), limits), unsynced, given }
}

/// Each way to damage the file `name`, and what to call it.
fn damages<'a>(files: &'a Files, name: &'a str) -> impl Iterator<Item = (Vec<u8>, String)> + 'a {
    let content = &files[std::ffi::OsStr::new(name)];
    let cuts = (0..content.len()).map(move |len| (content[..len].to_vec(), format!("{name} cut at {len}")));
    let flips = (0..content.len() * 8).map(move |bit| {
        let mut content = content.to_vec();
        content[bit / 8] ^= 1 << (bit % 8);
        (content, format!("{name} with bit {bit} flipped"))
    });
    cuts.chain(flips)
}

fn restore(files: &Files, name: &str, content: &[u8]) -> tempfile::TempDir {
    let dir = scratch();
    disk::restore(files, dir.path());
    std::fs::write(dir.path().join(name), content).unwrap();
    dir
}

fn manifest(files: &Files) -> String {
    String::from_utf8(files[std::ffi::OsStr::new("CURRENT")].to_vec()).unwrap()
}

/// Follows the messages until the workdir opens, as a person does who knows what was given out at least.
fn lead_out(dir: &Path, given: Limits, context: &str) {
    let report = offline::check(dir).unwrap();
    assert!(!report.usable && report.problem.is_some(), "{context}: {report:?}");
    let mut steps = 0;
    while let Err(error) = open(dir) {
        let StorageError::Damaged { ref file, .. } = error else { panic!("{context}: {error}") };
        if file.ends_with(STATE_FILE) {
            assert!(error.to_string().contains("ctl workdir set-min"), "{error}");
            offline::set_min(dir, Some(given.ids + 1), Some(given.timestamps + 1)).unwrap();
        } else {
            assert!(error.to_string().contains("ctl workdir rebuild"), "{error}");
            match offline::rebuild(dir) {
                Ok(rebuilt) => assert!(rebuilt.is_some(), "{context}: nothing was done against {error}"),
                // The way out of that comes first, and its message says so.
                Err(error @ StorageError::Damaged { .. }) => {
                    assert!(error.to_string().contains("ctl workdir set-min"), "{context}: {error}");
                    offline::set_min(dir, Some(given.ids + 1), Some(given.timestamps + 1)).unwrap();
                }
                Err(error) => panic!("{context}: {error}"),
            }
        }
        steps += 1;
        assert!(steps <= 3, "{context}: {error}");
    }
    assert!(offline::check(dir).unwrap().usable, "{context}");
    let running = run(OsFs, dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(running.take(Kind::Id, 1).unwrap() > given.ids, "{context}");
    assert!(running.take(Kind::Timestamp, 1).unwrap() > given.timestamps, "{context}");
    running.edit(narrow(1, 9)).unwrap();
    running.writer.stop().unwrap();
}

fn open(dir: &Path) -> Result<(), StorageError> {
    Opened::open(Arc::new(OsFs), dir).map(drop)
}

/// Damages each file of the workdir in each way. Where that is not told, the state must be one that the workdir had since
/// its checkpoint. Returns how many cases were damage, and how many were not.
fn damage_all(workdir: &Workdir) -> (usize, usize) {
    let (mut told, mut not_told) = (0, 0);
    let names = ["CURRENT".to_owned(), STATE_FILE.to_owned(), manifest(&workdir.files)];
    for name in &names {
        for (content, context) in damages(&workdir.files, name) {
            let dir = restore(&workdir.files, name, &content);
            match read(OsFs, dir.path()) {
                Err(StorageError::Damaged { .. }) => {
                    told += 1;
                    lead_out(dir.path(), workdir.given, &context);
                }
                Err(error) => panic!("{context}: {error}"),
                Ok((regions, issued)) => {
                    not_told += 1;
                    assert!(workdir.unsynced.contains(&regions), "{context}: {regions:?}");
                    assert_eq!(issued, workdir.newest.1, "{context}");
                }
            }
        }
    }
    println!("{told} cuts and flipped bits are damage, {not_told} leave a state that may be");
    (told, not_told)
}

#[test]
fn after_a_clean_stop_every_cut_and_every_flipped_bit_is_damage() {
    let workdir = clean();
    let dir = scratch();
    disk::restore(&workdir.files, dir.path());
    assert_eq!(read(OsFs, dir.path()).unwrap(), workdir.newest);
    let (told, not_told) = damage_all(&workdir);
    assert_eq!(not_told, 0);
    assert_eq!(told, workdir.files.values().map(|content| 9 * content.len()).sum::<usize>());
}

#[test]
fn after_a_kill_a_damaged_workdir_has_a_state_that_it_had_or_is_refused() {
    let workdir = killed();
    let (told, not_told) = damage_all(&workdir);
    assert!(told > 3 * not_told, "{told} told, {not_told} not");
    assert!(not_told > 0, "the last batch alone may be torn");
}

/// The name of a manifest in `CURRENT` has no checksum. With one bit flipped it named the copy that a kill had left unfinished,
/// and a part of the catalog was served as all of it.
#[test]
fn a_bit_of_current_never_makes_an_unfinished_copy_the_catalog() {
    let template = scratch();
    let (running, given) = serve(template.path());
    // CURRENT names the second manifest, one bit from the third.
    let dir = Dir::new(Arc::new(OsFs), template.path().to_owned());
    let regions = running.regions();
    running.writer.stop().unwrap();
    let cluster = std::sync::Mutex::new(Cluster::restore(regions.clone()).unwrap());
    let mut second = Rewrite::begin(&dir, "MANIFEST-000001").unwrap();
    second.copy_slice(&cluster, given).unwrap();
    second.seal(given).unwrap();
    second.make_current(&dir).unwrap();
    OsFs.remove(&template.path().join("MANIFEST-000001")).unwrap();
    assert_eq!(current(template.path()), "MANIFEST-000002");

    let mut third = Rewrite::begin(&dir, "MANIFEST-000002").unwrap();
    let newest = (regions.clone(), given);
    let check = || {
        let files = disk::read(template.path());
        let workdir = Workdir { files, newest: newest.clone(), unsynced: vec![regions.clone()], given };
        let (told, _) = damage_all(&workdir);
        assert!(told > 0);
    };
    check();
    hold(&cluster).remove(regions[1].id());
    third.copy_slice(&cluster, given).unwrap();
    third.sync().unwrap();
    check();
}

/// A rewritten manifest that was cut, or empty, was taken for torn: until the checkpoint names it, nothing but its seal says how
/// much of it is known to be on the disk.
#[test]
fn a_copy_that_is_current_is_never_cut_back_into_what_was_copied() {
    let dir = scratch();
    let (running, given) = serve(dir.path());
    let regions = running.regions();
    running.writer.stop().unwrap();
    let cluster = std::sync::Mutex::new(Cluster::restore(regions.clone()).unwrap());
    let workdir = Dir::new(Arc::new(OsFs), dir.path().to_owned());
    let mut copy = Rewrite::begin(&workdir, "MANIFEST-000001").unwrap();
    copy.copy_slice(&cluster, given).unwrap();
    copy.seal(given).unwrap();
    copy.make_current(&workdir).unwrap();
    OsFs.remove(&dir.path().join("MANIFEST-000001")).unwrap();
    let files = disk::read(dir.path());
    let (told, not_told) =
        damage_all(&Workdir { files: files.clone(), newest: (regions.clone(), given), unsynced: vec![regions], given });
    assert_eq!((told, not_told), (files.values().map(|content| 9 * content.len()).sum(), 0));
}

/// What the reference wrote has no checksums: of that, only what cannot be read is told.
#[test]
fn damage_beside_what_the_reference_wrote_never_panics_and_is_left_by_the_same_way() {
    let dir = scratch();
    let mut manifest = Vec::new();
    for region in [region(1, "a", "b", 1), region(2, "b", "c", 1)] {
        record::push_put(&mut manifest, &region, RegionState::Plain, false);
    }
    std::fs::write(dir.path().join("MANIFEST-000001"), manifest).unwrap();
    std::fs::write(dir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
    std::fs::write(dir.path().join(STATE_FILE), r#"{"id_current":40,"ts_current":50}"#).unwrap();
    let files = disk::read(dir.path());
    let given = Limits { ids: 40, timestamps: 50 };
    for name in ["CURRENT", STATE_FILE, "MANIFEST-000001"] {
        for (content, context) in damages(&files, name) {
            let dir = restore(&files, name, &content);
            match read(OsFs, dir.path()) {
                Err(StorageError::Damaged { .. }) => lead_out(dir.path(), given, &context),
                // A record's type may have become one of a store.
                Err(StorageError::NotOurs { .. }) => assert!(name.starts_with("MANIFEST"), "{context}"),
                Err(error) => panic!("{context}: {error}"),
                Ok((regions, _)) => {
                    assert!(Cluster::restore(regions).is_ok() || name.starts_with("MANIFEST"), "{context}")
                }
            }
        }
    }
}
