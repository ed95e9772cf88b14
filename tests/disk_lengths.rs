//! A length that is read from the disk takes no memory before it is known to be right: the program looks at workdirs whose
//! files claim to be huge, with less address space than they claim.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::support::EXIT_DAMAGED;
use crate::support::reference::{record, uvarint, write_workdir};

/// What the program may have, in KiB.
const ADDRESS_SPACE_KIB: u64 = 1 << 20;
/// What the files claim, in bytes.
const CLAIMED: u64 = 4 << 30;

/// Looks at a workdir, and then tries to start on it.
fn is_refused_in_little_memory(workdir: &Path, what: &str) {
    for command in ["ctl workdir check", "pd --addr 127.0.0.1:0"] {
        let line = format!(
            "ulimit -v {ADDRESS_SPACE_KIB} && exec '{}' {command} --workdir '{}'",
            env!("CARGO_BIN_EXE_pd-lite"),
            workdir.display()
        );
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(EXIT_DAMAGED), "{what}, {command}: {text}");
    }
}

/// Makes a file as long as it claims to be. It takes no space.
fn lengthen(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(CLAIMED + (1 << 20)).unwrap();
}

#[test]
fn no_record_takes_what_it_claims() {
    let claims = u32::try_from(CLAIMED - 1).unwrap().to_le_bytes();
    let region = |body: &[&[u8]]| record(7, &body.concat());
    let huge = uvarint(1 << 62);
    for (what, bytes) in [
        ("a region of 4 GiB", [&claims[..], b"NoKV\x07\x05\x00"].concat()),
        ("another record of 4 GiB", [&claims[..], b"NoKV\x63"].concat()),
        ("a key of 2^62 bytes", region(&[&[5, 0], &huge, b"key"])),
        ("2^62 peers", region(&[&[5, 0, 1, b'a', 1, b'b', 1, 1, 0], &huge, &[1, 1]])),
        ("one peer too few", region(&[&[5, 0, 1, b'a', 1, b'b', 1, 1, 0, 3, 1, 1, 2]])),
    ] {
        let workdir = tempfile::tempdir().unwrap();
        let good = region(&[&[9, 0, 1, b'x', 1, b'y', 1, 1, 0, 0]]);
        write_workdir(workdir.path(), &[bytes, good], None);
        lengthen(&workdir.path().join("MANIFEST-000001"));
        is_refused_in_little_memory(workdir.path(), what);
    }
}

#[test]
fn no_batch_takes_what_it_claims() {
    use pd_lite::core::Limits;
    use pd_lite::storage::record::{Origin, push_commit, push_opening};
    let workdir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    push_opening(&mut bytes, Origin::New, 1);
    let mut commit = Vec::new();
    push_commit(&mut commit, 29, 1, Limits::default(), 1);
    // The length of the batch.
    commit[33..41].fill(0xff);
    write_workdir(workdir.path(), &[bytes, commit], Some(r#"{"id_current":1,"ts_current":1}"#));
    lengthen(&workdir.path().join("MANIFEST-000001"));
    is_refused_in_little_memory(workdir.path(), "a batch of 2^64 bytes");
}

#[test]
fn no_small_file_takes_what_it_has() {
    for name in ["CURRENT", "PD_STATE.json"] {
        let workdir = tempfile::tempdir().unwrap();
        write_workdir(workdir.path(), &[], Some(r#"{"id_current":1,"ts_current":1}"#));
        lengthen(&workdir.path().join(name));
        is_refused_in_little_memory(workdir.path(), name);
    }
    let workdir = tempfile::tempdir().unwrap();
    write_workdir(workdir.path(), &[vec![0xff; 9]], None);
    fs::write(workdir.path().join("PD_LOCK"), "").unwrap();
    lengthen(&workdir.path().join("PD_LOCK"));
    is_refused_in_little_memory(workdir.path(), "PD_LOCK");
}
