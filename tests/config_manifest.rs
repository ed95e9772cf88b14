//! `pd-lite config manifest` beside the recorded cases: what it appends is served, and what no server would start on is
//! refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::client::region;
use crate::support::{Launch, files, manifest};

/// Logs region 8 with these flags on top. The exit code, and the text on stdout or stderr.
fn log_region(workdir: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
    command.args(["config", "manifest", "--region-id", "8", "--peer", "1:81", "--workdir"]).arg(workdir).args(flags);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_region_logged_into_a_workdir_of_the_reference_is_its_record_and_is_served() {
    let workdir = tempfile::tempdir().unwrap();
    let before = b"\x10\0\0\0NoKV\x07\x01\0\0\x01m\x01\x01\0\x01\x01\x0b";
    fs::write(workdir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
    fs::write(workdir.path().join("MANIFEST-000001"), before).unwrap();
    assert_eq!(log_region(workdir.path(), &["--start-key", "m"]).0, Some(0));
    let after = fs::read(manifest(workdir.path())).unwrap();
    assert_eq!(after, [&before[..], b"\x10\0\0\0NoKV\x07\x08\x00\x01m\x00\x01\x01\x01\x01\x01\x51"].concat());

    let server = Launch::durable(workdir.path()).start();
    assert_eq!(server.start_lines()[0], format!("PD restored 2 region(s) from manifest: {}", workdir.path().display()));
    assert_eq!(server.client().lookup(b"z").unwrap().unwrap().id, 8);
    server.stop();
}

#[test]
fn a_region_logged_into_a_workdir_of_ours_is_served_and_costs_nothing_else() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    client.put(&region(1, b"", b"m", 1)).unwrap();
    assert_eq!(client.alloc_id(7).unwrap(), 1);
    server.stop();

    let (exit, text) = log_region(workdir.path(), &["--start-key", "m", "--epoch-version", "4"]);
    assert_eq!((exit, text), (Some(0), format!("logged region 8 to {}\n", workdir.path().display())));

    // Twice: the first start must not lose what the second one needs.
    for first_id in [8, 9] {
        let server = Launch::durable(workdir.path()).start();
        let client = server.client();
        assert_eq!(client.lookup(b"a").unwrap().unwrap().id, 1);
        assert_eq!(client.lookup(b"z").unwrap().unwrap().epoch_version, 4);
        assert_eq!(client.alloc_id(1).unwrap(), first_id);
        let exit = server.term();
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "a workdir of ours like any other");
    }
}

#[test]
fn an_overlap_is_refused_and_changes_nothing() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    server.client().put(&region(1, b"d", b"m", 1)).unwrap();
    server.stop();
    let before = files(workdir.path());
    let (exit, text) = log_region(workdir.path(), &["--start-key", "l"]);
    assert_eq!(exit, Some(1));
    assert_eq!(text, "pd-lite config manifest: region range overlap: region=8 overlaps region=1\n");
    assert_eq!(files(workdir.path()), before);

    // A tombstone is in nobody's way, and neither is a region in its own.
    assert_eq!(log_region(workdir.path(), &["--start-key", "l", "--state", "tombstone"]).0, Some(0));
    assert_eq!(log_region(workdir.path(), &["--region-id", "1", "--start-key", "e"]).0, Some(0));
    let server = Launch::durable(workdir.path()).start();
    assert_eq!(server.client().lookup(b"z").unwrap().unwrap().id, 1);
    assert!(server.client().lookup(b"d").unwrap().is_none());
    server.stop();
}

#[test]
fn a_workdir_that_a_server_has_open_is_refused() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let (exit, text) = log_region(workdir.path(), &[]);
    assert_eq!(exit, Some(1));
    assert!(text.starts_with("pd-lite config manifest: ") && text.contains(&server.pid().to_string()), "{text}");
    server.client().put(&region(1, b"", b"", 1)).unwrap();
    server.stop();
}
