//! `pd-lite ctl workdir` on workdirs of the reference, of a server that was stopped, and of one that runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::client::region;
use crate::support::{Launch, files, fixtures, manifest, recorded_workdir};

/// How `pd-lite ctl workdir COMMAND --workdir DIR FLAGS` ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ctl(command: &str, workdir: &Path, flags: &[&str]) -> Ended {
    let mut program = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
    let output = program.args(["ctl", "workdir", command, "--workdir"]).arg(workdir).args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.stdout.matches('\n').count(), 1, "one line");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr))
}

/// A workdir that a server of ours has left: region 1 [,m), region 2 [m,), 7 ids and 5 timestamps given out.
fn served() -> tempfile::TempDir {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    client.put(&region(1, b"", b"m", 1)).unwrap();
    client.put(&region(2, b"m", b"", 1)).unwrap();
    client.alloc_id(7).unwrap();
    client.tso(5).unwrap();
    server.stop();
    workdir
}

/// Flips a bit in the first batch.
fn damage(workdir: &Path) {
    let path = manifest(workdir);
    let mut bytes = fs::read(&path).unwrap();
    bytes[45] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// `check` called a store's workdir usable on which `serve` ended with exit code 4.
#[test]
fn damaged_leads_of_a_store_are_damage() {
    let workdir = served();
    let file = workdir.path().join("STORE_LEADS.json");
    fs::write(&file, r#"{"store_id":1,"leads":[],"crc32c":"00000000"}"#).unwrap();
    let ended = ctl("check", workdir.path(), &[]);
    assert_eq!(ended.code, Some(4), "{} {}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("STORE_LEADS.json is damaged"), "{}", ended.stdout);
    fs::remove_file(&file).unwrap();
    assert_eq!(ctl("check", workdir.path(), &[]).code, Some(0));
}

#[test]
fn check_and_dump_agree_with_the_recorded_workdirs_and_change_nothing() {
    for entry in fs::read_dir(fixtures("workdirs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let expect = fs::read(fixtures("workdirs").join(&name).join("expect.json")).unwrap();
        let good = serde_json::from_slice::<Value>(&expect).unwrap()["good"].clone();
        let workdir = recorded_workdir(&name);
        let before = files(workdir.path());
        let starts = good["starts"] == true;

        let check = ctl("check", workdir.path(), &["-o", "json"]);
        assert_eq!(check.code, Some(if starts { 0 } else { 4 }), "{name}: {}", check.stderr);
        assert_eq!(json(&check)["usable"], starts, "{name}");
        let dump = ctl("dump", workdir.path(), &["-o", "json"]);
        if starts {
            let dump = json(&dump);
            assert_eq!(dump["regions"], good["regions"], "{name}");
            assert_eq!(dump["report"]["id_current"], good["id_current"], "{name}");
            assert_eq!(dump["report"]["ts_current"], good["ts_current"], "{name}");
        } else {
            assert_eq!((dump.code, dump.stdout.as_str()), (Some(4), ""), "{name}");
        }
        assert_eq!(files(workdir.path()), before, "{name}");
        assert!(!workdir.path().join("PD_LOCK").exists(), "{name}");
    }
}

#[test]
fn the_text_names_what_a_person_looks_for() {
    let workdir = served();
    let check = ctl("check", workdir.path(), &[]);
    assert_eq!((check.code, check.stderr.as_str()), (Some(0), ""));
    for line in [
        "verdict        usable\n",
        "manifest       MANIFEST-000001\n",
        "form           pd-lite\n",
        "regions        2\n",
        "last id        7\n",
        "last timestamp 5\n",
    ] {
        assert!(check.stdout.contains(line), "{line:?} is missing in {}", check.stdout);
    }
    let dump = ctl("dump", workdir.path(), &[]);
    let regions: Vec<&str> = dump.stdout.lines().filter(|line| !line.starts_with("# ")).collect();
    assert_eq!(regions, ["1 - m 1 1 1:11,2:12,3:13", "2 m - 1 1 1:21,2:22,3:23"]);
    assert!(ctl("dump", workdir.path(), &["--hex"]).stdout.ends_with("\n2 hex:6d - 1 1 1:21,2:22,3:23\n"));
}

#[test]
fn counters_are_raised_and_the_server_goes_on_above_them() {
    let workdir = served();
    let raised = ctl("set-min", workdir.path(), &["--id-min", "1000"]);
    assert_eq!(raised.code, Some(0), "{}", raised.stderr);
    assert_eq!(
        raised.stdout,
        "next id: at least 1000 (before: at least 8)\nnext timestamp: at least 6 (before: at least 6)\n"
    );
    assert_eq!(ctl("set-min", workdir.path(), &["--id-min", "9", "--ts-min", "4"]).code, Some(0));
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    assert_eq!((client.alloc_id(1).unwrap(), client.tso(1).unwrap()), (1000, 6));
    assert_eq!(client.lookup(b"z").unwrap().unwrap().id, 2);
    server.stop();
}

#[test]
fn a_lost_checkpoint_is_replaced_when_both_values_are_known() {
    let workdir = served();
    fs::write(workdir.path().join("PD_STATE.json"), "").unwrap();
    let refused = Launch::durable(workdir.path()).refused();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("pd-lite ctl workdir set-min --workdir"), "{}", refused.stderr);
    for flags in [["--id-min", "100"], ["--ts-min", "100"]] {
        assert_eq!(ctl("set-min", workdir.path(), &flags).code, Some(4));
    }
    let raised = ctl("set-min", workdir.path(), &["--id-min", "100", "--ts-min", "200"]);
    assert_eq!((raised.code, raised.stdout.matches("lost").count()), (Some(0), 2));
    let server = Launch::durable(workdir.path()).start();
    assert_eq!((server.client().alloc_id(1).unwrap(), server.client().tso(1).unwrap()), (100, 200));
    server.stop();
}

#[test]
fn a_damaged_manifest_is_moved_aside_and_the_counters_go_on() {
    let workdir = served();
    assert_eq!(ctl("rebuild", workdir.path(), &[]).stdout, "nothing is damaged; nothing was changed\n");
    damage(workdir.path());
    let damaged = fs::read(manifest(workdir.path())).unwrap();

    let refused = Launch::durable(workdir.path()).refused();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("pd-lite ctl workdir rebuild --workdir"), "{}", refused.stderr);
    let check = ctl("check", workdir.path(), &[]);
    assert_eq!(check.code, Some(4));
    assert!(check.stdout.contains("verdict        damaged\n") && check.stdout.contains("last id        7\n"));

    let rebuilt = ctl("rebuild", workdir.path(), &[]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    assert!(
        rebuilt
            .stdout
            .ends_with("new, empty manifest: MANIFEST-000002\nnext id: at least 8\nnext timestamp: at least 6\n")
    );
    assert_eq!(fs::read(workdir.path().join("MANIFEST-000001.broken")).unwrap(), damaged);
    for restart in 0..2 {
        let server = Launch::durable(workdir.path()).start();
        let client = server.client();
        assert_eq!(client.lookup(b"a").unwrap().map(|region| region.id), (restart > 0).then_some(1));
        assert_eq!(client.alloc_id(1).unwrap(), 8 + restart);
        client.put(&region(1, b"", b"", 1)).unwrap();
        server.stop();
    }
}

#[test]
fn a_workdir_in_use_is_left_alone_and_its_holder_is_named() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let holder = fs::read_to_string(workdir.path().join("PD_LOCK")).unwrap();
    for (command, flags) in
        [("check", &[][..]), ("dump", &[]), ("set-min", &["--id-min", "9", "--ts-min", "9"]), ("rebuild", &[])]
    {
        let refused = ctl(command, workdir.path(), flags);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""), "{command}");
        assert!(refused.stderr.contains(holder.trim()), "{command}: {}", refused.stderr);
    }
    assert_eq!(server.client().alloc_id(1).unwrap(), 1);
    server.stop();
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_touched() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    for command in ["check", "dump", "rebuild"] {
        let refused = ctl(command, &missing, &[]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("does not exist"), "{}", refused.stderr);
        assert_eq!(ctl(command, &missing, &["--id-min", "1"]).code, Some(2));
    }
    let refused = ctl("set-min", parent.path(), &[]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--id-min"), "{}", refused.stderr);
    assert_eq!(ctl("check", Path::new(""), &[]).code, Some(2));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
