//! Whole workdirs: those that the reference left, and what may stand in place of each file.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::core::Region;
use crate::storage::fs::OsFs;
use crate::storage::testing::{Ours, files, fill, in_json, plain, raw, region};

const PLAIN_STATE: &[u8] = br#"{"id_current":13,"ts_current":40}"#;

fn open(workdir: &Path) -> Result<Opened, StorageError> {
    Opened::open(Arc::new(OsFs), workdir)
}

/// A workdir with these files, opened. It is as it was when that fails.
fn open_with(content: &[(&str, &[u8])]) -> (TempDir, Result<Opened, StorageError>) {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), content);
    let before = files(dir.path());
    let opened = open(dir.path());
    assert_eq!(files(dir.path()), before, "opening writes nothing but the lock");
    (dir, opened)
}

fn regions_of(opened: &mut Opened) -> Vec<Region> {
    opened.take_snapshot().regions.iter().cloned().collect()
}

#[track_caller]
fn assert_damaged(content: &[(&str, &[u8])], name: &str, word: &str) {
    match open_with(content).1.map(|opened| opened.found) {
        Err(StorageError::Damaged { file, reason, .. }) => {
            assert_eq!(file.file_name().unwrap(), name, "{reason}");
            assert!(reason.contains(word), "{reason}");
        }
        other => panic!("{other:?} instead of damage"),
    }
}

/// A manifest of ours, and a state file that knows all of it as synced.
fn ours() -> (Vec<u8>, Vec<u8>) {
    let mut ours = Ours::new(5);
    ours.put(&[region(1, "", "m")], Limits { ids: 3, timestamps: 4 });
    ours.put(&[region(2, "m", "")], Limits { ids: 13, timestamps: 40 });
    let state = state(ours.len());
    (ours.bytes, state)
}

fn state(synced: u64) -> Vec<u8> {
    let synced = Some(Synced { manifest: "MANIFEST-000001".into(), bytes: synced });
    Checkpoint { limits: Limits { ids: 13, timestamps: 40 }, synced }.encode().into_bytes()
}

#[test]
fn each_workdir_of_the_reference_opens_as_a_good_server_should() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/workdirs");
    let mut seen = 0;
    for fixture in std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
        let expect: Value = serde_json::from_slice(&std::fs::read(fixture.join("expect.json")).unwrap()).unwrap();
        let good = &expect["good"];
        let copied: Vec<_> = files(&fixture).into_iter().filter(|(name, _)| name != "expect.json").collect();
        let copied: Vec<_> = copied.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
        let (_dir, opened) = open_with(&copied);
        let what = fixture.display();
        if good["starts"] == true {
            let mut opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(matches!(opened.found, Found::Rewrite { .. }), "{what}");
            let snapshot = opened.take_snapshot();
            let regions: Vec<_> = snapshot.regions.iter().map(in_json).collect();
            assert_eq!(Value::from(regions), good["regions"], "{what}");
            assert_eq!(Value::from(snapshot.issued.ids), good["id_current"], "{what}");
            assert_eq!(Value::from(snapshot.issued.timestamps), good["ts_current"], "{what}");
        } else {
            assert!(matches!(opened, Err(StorageError::Damaged { .. })), "{what}");
        }
        seen += 1;
    }
    assert_eq!(seen, 12);
}

#[test]
fn a_missing_directory_is_created_and_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let workdir = dir.path().join("a/b");
    let mut opened = open(&workdir).unwrap();
    assert!(matches!(opened.found, Found::Nothing { checkpoint: Limits { ids: 0, timestamps: 0 } }));
    assert_eq!(opened.take_snapshot().issued, Limits::default());
    assert_eq!(files(&workdir), []);
}

#[test]
fn the_lock_keeps_a_second_process_out_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    match open(dir.path()).map(|opened| opened.found) {
        Err(StorageError::InUse { workdir, holder }) => {
            assert_eq!(workdir, dir.path());
            assert_eq!(holder, Some(format!("pid {}", std::process::id())));
        }
        other => panic!("{other:?}"),
    }
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn what_is_no_directory_is_no_workdir() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("file", b"x")]);
    for workdir in [dir.path().join("file"), dir.path().join("file/below")] {
        let error = open(&workdir).map(|opened| opened.found).unwrap_err();
        assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
    }
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"x");
}

#[test]
fn a_stores_workdir_is_refused() {
    let manifest = raw(3, b"\x01\x02");
    let (_dir, opened) = open_with(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest)]);
    assert!(matches!(opened, Err(StorageError::NotOurs { .. })));
}

#[test]
fn ours_goes_on_at_its_end_and_keeps_a_torn_tail_apart() {
    let (manifest, state) = ours();
    let len = u64::try_from(manifest.len()).unwrap();
    for torn in [&b""[..], b"\x20\x00\x00"] {
        let manifest = [&manifest[..], torn].concat();
        let content = [("CURRENT", &b"MANIFEST-000001"[..]), ("MANIFEST-000001", &manifest), (STATE_FILE, &state)];
        let (_dir, opened) = open_with(&content);
        let mut opened = opened.unwrap();
        match &opened.found {
            Found::Ours { name, salt: 5, next_batch: 3, end, file_len, checkpoint } => {
                assert_eq!(name, "MANIFEST-000001");
                assert_eq!((*end, *file_len), (len, len + u64::try_from(torn.len()).unwrap()));
                assert_eq!(checkpoint.encode().as_bytes(), state);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(regions_of(&mut opened), [region(1, "", "m"), region(2, "m", "")]);
    }
}

#[test]
fn what_the_reference_wrote_since_then_is_read_and_rewritten() {
    let (manifest, state) = ours();
    let manifest = [manifest, plain(&region(2, "n", ""))].concat();
    for state in [&state[..], br#"{"id_current":14,"ts_current":41}"#] {
        let content = [("CURRENT", &b"MANIFEST-000001"[..]), ("MANIFEST-000001", &manifest), (STATE_FILE, state)];
        let (_dir, opened) = open_with(&content);
        let mut opened = opened.unwrap();
        assert!(matches!(&opened.found, Found::Rewrite { end, file_len, .. } if end == file_len));
        assert_eq!(regions_of(&mut opened), [region(1, "", "m"), region(2, "n", "")]);
    }
    // Its rewrite leaves neither our records nor our opening; the state file may still be ours.
    let rewritten = [raw(2, b"\x00\x00"), plain(&region(1, "", ""))].concat();
    let content = [("CURRENT", &b"MANIFEST-000002"[..]), ("MANIFEST-000002", &rewritten), (STATE_FILE, &state)];
    let mut opened = open_with(&content).1.unwrap();
    assert!(
        matches!(&opened.found, Found::Rewrite { name, end, file_len, .. } if name == "MANIFEST-000002" && end == file_len)
    );
    assert_eq!(opened.take_snapshot().issued, Limits { ids: 13, timestamps: 40 });
}

#[test]
fn each_damage_to_current_is_found() {
    let (manifest, state) = ours();
    let good = b"MANIFEST-000001";
    let left_over = Ours::new(6).bytes;
    let open_as = |current: &[u8]| {
        let files = [
            ("CURRENT", current),
            ("MANIFEST-000001", &manifest),
            ("MANIFEST-000012", &left_over),
            (STATE_FILE, &state),
        ];
        open_with(&files).1
    };
    assert!(open_as(good).is_ok());
    for cut in 0..good.len() {
        assert!(matches!(open_as(&good[..cut]), Err(StorageError::Damaged { .. })), "{cut}");
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = *good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(open_as(&flipped), Err(StorageError::Damaged { .. })), "{bit}");
    }
    for odd in
        ["MANIFEST-000001\n", " MANIFEST-000001", "./MANIFEST-000001", "sub/MANIFEST-000001", "../MANIFEST-000001"]
    {
        assert!(matches!(open_as(odd.as_bytes()), Err(StorageError::Damaged { .. })), "{odd:?}");
    }
    for odd in
        ["/MANIFEST-000001", "MANIFEST-", "MANIFEST-+1", "MANIFEST-99999999999999999999999", "PD_STATE.json", "."]
    {
        assert!(matches!(open_as(odd.as_bytes()), Err(StorageError::Damaged { .. })), "{odd:?}");
    }
    assert!(matches!(open_as(&[b'M'; 100_000]), Err(StorageError::Damaged { .. })));
}

#[test]
fn a_missing_current_is_an_unfinished_creation_only_when_no_manifest_holds_a_change() {
    let opening = Ours::new(6).bytes;
    let state = state(29);
    for len in 0..=opening.len() {
        for zeros in [0, opening.len() - len] {
            let manifest = [&opening[..len], &vec![0; zeros]].concat();
            let (_dir, opened) = open_with(&[("MANIFEST-000001", &manifest), (STATE_FILE, &state)]);
            assert!(matches!(opened.unwrap().found, Found::Nothing { checkpoint: Limits { ids: 13, .. } }), "{len}");
        }
    }
    assert!(open_with(&[(STATE_FILE, PLAIN_STATE)]).1.is_ok());

    for manifest in [&plain(&region(1, "", ""))[..], &raw(7, b"\x01\x01"), &[&opening[..], b"\x20"].concat(), &ours().0]
    {
        assert_damaged(&[("MANIFEST-000001", b""), ("MANIFEST-000003", manifest)], "CURRENT", "MANIFEST-000003");
    }
    assert_damaged(&[(STATE_FILE, &ours().1)], "CURRENT", "missing");
}

#[test]
fn beside_ours_the_state_file_is_always_there_and_exact() {
    let (manifest, good) = ours();
    let with = |state: &[u8]| {
        open_with(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest), (STATE_FILE, state)]).1
    };
    assert_damaged(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest)], STATE_FILE, "missing");
    assert!(with(&good).is_ok());
    assert!(with(PLAIN_STATE).is_ok(), "the reference wrote it");
    assert!(with(br#"{"id_current":18446744073709551615,"ts_current":18446744073709551615}"#).is_ok());
    for other in [
        &b"{\"id_current\":13,\"ts_current\":40}\n"[..],
        br#"{"ts_current":40,"id_current":13}"#,
        br#"{"id_current":13,"ts_current":40,"x":1}"#,
        br#"{"id_current":1,"id_current":13,"ts_current":40}"#,
        b"",
        b"{}",
    ] {
        assert!(matches!(with(other), Err(StorageError::Damaged { .. })), "{}", String::from_utf8_lossy(other));
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(with(&flipped), Err(StorageError::Damaged { .. })), "{bit}");
    }
}

#[test]
fn an_old_state_file_is_damage() {
    let (manifest, _) = ours();
    for old in [&br#"{"id_current":12,"ts_current":40}"#[..], br#"{"id_current":13,"ts_current":39}"#] {
        let content = [("CURRENT", &b"MANIFEST-000001"[..]), ("MANIFEST-000001", &manifest), (STATE_FILE, old)];
        assert_damaged(&content, STATE_FILE, "older than the manifest");
    }
}

#[test]
fn beside_the_references_manifest_its_leniency_holds() {
    let manifest = plain(&region(1, "", ""));
    let with = |state: &[u8]| {
        open_with(&[("CURRENT", b"MANIFEST-000001"), ("MANIFEST-000001", &manifest), (STATE_FILE, state)]).1
    };
    let mut opened = with(b" {\"x\": [{}], \"TS_current\": 40, \"id_current\": 13}\n").unwrap();
    assert_eq!(opened.take_snapshot().issued, Limits { ids: 13, timestamps: 40 });
    for lost in [&b""[..], b"{}", b"null", br#"{"id_current":13}"#] {
        assert!(matches!(with(lost), Err(StorageError::Damaged { .. })), "{}", String::from_utf8_lossy(lost));
    }
    assert!(matches!(with(&state(22)), Err(StorageError::Damaged { .. })), "our checkpoint names this manifest");
}

/// The older manifest that it names was served, and the newer one deleted as a left-over.
#[test]
fn an_old_current_that_was_put_back_is_damage() {
    let mut manifest = ours().0;
    let state = |name: &str| {
        let synced = Some(Synced { manifest: name.into(), bytes: 999 });
        Checkpoint { limits: Limits { ids: 13, timestamps: 40 }, synced }.encode().into_bytes()
    };
    let newer = state("MANIFEST-000010");
    let open_as = |name: &str, manifest: &[u8], state: &[u8]| {
        open_with(&[("CURRENT", name.as_bytes()), (name, manifest), (STATE_FILE, state)]).1.map(|opened| opened.found)
    };
    assert_damaged(
        &[("CURRENT", b"MANIFEST-000009"), ("MANIFEST-000009", &manifest), (STATE_FILE, &newer)],
        "CURRENT",
        "999 bytes of MANIFEST-000010",
    );
    // Whether the newer one is still there does not matter.
    let content = [
        ("CURRENT", &b"MANIFEST-000009"[..]),
        ("MANIFEST-000009", &manifest),
        ("MANIFEST-000010", &manifest),
        (STATE_FILE, &newer),
    ];
    assert_damaged(&content, "CURRENT", "999 bytes of MANIFEST-000010");

    assert!(
        matches!(open_as("MANIFEST-000011", &manifest, &newer), Ok(Found::Ours { .. })),
        "a rewrite came to its end"
    );
    let last = format!("MANIFEST-{}", u64::MAX);
    assert!(open_as("MANIFEST-000001", &manifest, &state(&last)).is_ok(), "there is no number behind the last one");
    // Conversions that came as far as the checkpoint.
    manifest.extend(plain(&region(3, "a", "b")));
    assert!(matches!(open_as("MANIFEST-000009", &manifest, &newer), Ok(Found::Rewrite { .. })));
    let manifest = plain(&region(3, "a", "b"));
    assert!(matches!(open_as("MANIFEST-000009", &manifest, &newer), Ok(Found::Rewrite { .. })));
}

#[test]
fn other_files_and_left_over_manifests_are_ignored() {
    let (manifest, state) = ours();
    let content: [(&str, &[u8]); 7] = [
        ("CURRENT", b"MANIFEST-000001"),
        ("MANIFEST-000001", &manifest),
        (STATE_FILE, &state),
        ("MANIFEST-000002", b"garbage"),
        ("CURRENT.tmp", b"MANIFEST-000002"),
        ("PD_STATE.json.tmp", b""),
        ("MANIFEST-000001.broken", b"garbage"),
    ];
    assert!(matches!(open_with(&content).1.unwrap().found, Found::Ours { .. }));
}
