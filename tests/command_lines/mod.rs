//! The recorded command lines, replayed over the real program: `nokv` is `pd-lite`, `nokv-config` is `pd-lite config`.
//!
//! Where `pd` fails, the reference's exit status is 1 and its words are its own: here it is one line and the exit code that
//! [`deviations::PD_EXITS`] names. Where `serve` fails, the words are as recorded, and [`deviations::SERVE_EXITS`] has the exit
//! code. Everything else is as recorded, but the cases in [`deviations::ALL`].

mod deviations;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use self::deviations::Deviation;
use crate::support::launch::{Exit, start};
use crate::support::{Launch, fixtures, manifest, own_host};

/// What opens a manifest of ours: the opening record's magic and type, behind its length.
const OPENING: &[u8] = b"NoKV\xd0pdlite-";

/// No address, where nothing serves.
const NO_ADDR: &str = "{addr}";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    args: Vec<String>,
    files: BTreeMap<String, Content>,
    /// `serve-then-term`, or none: to its end.
    run: Option<String>,
    exit: i32,
    stdout: Option<String>,
    stdout_words: Option<Vec<String>>,
    stderr: String,
    stderr_rule: StderrRule,
    #[serde(default)]
    files_after: BTreeMap<String, String>,
    /// Workdirs that hold a manifest of ours afterwards. Never recorded.
    #[serde(skip)]
    ours_after: Vec<&'static str>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Hex { hex: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StderrRule {
    Exact,
    Prefix,
    Any,
    /// One line with this in it. Never recorded.
    #[serde(skip)]
    LineWith,
    /// Any number of lines with this in them. Never recorded.
    #[serde(skip)]
    With,
}

/// What came of a case.
#[derive(Debug)]
struct Outcome {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
    dir: tempfile::TempDir,
}

fn read_cases(file: &str) -> Vec<Case> {
    serde_json::from_slice(&fs::read(fixtures("cli").join(file)).unwrap()).unwrap()
}

/// Runs a case. `pd` is the address of a running placement driver.
fn run(case: &Case, pd: &str) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap().to_owned();
    // Port 0 in place of a free port found beforehand, which another process could take in between. A store's address is told
    // to it twice, so it has to be known.
    let is_store = case.args.get(1).is_some_and(|word| word == "serve");
    let addr = if is_store { format!("{}:20160", own_host()) } else { "127.0.0.1:0".to_owned() };
    let fill_in = |text: &str| text.replace("{dir}", &place).replace("{addr}", &addr).replace("{pd}", pd);
    for (name, content) in &case.files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Content::Text(text) => fs::write(path, fill_in(text)).unwrap(),
            Content::Hex { hex } => fs::write(path, bytes(hex)).unwrap(),
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pd-lite"));
    let words = match case.args[0].as_str() {
        "nokv" => &[][..],
        "nokv-config" => &["config"],
        other => panic!("{other} is no program of the reference"),
    };
    command.args(words).args(case.args[1..].iter().map(|word| fill_in(word))).current_dir(&dir).stdin(Stdio::null());
    let (exit, stdout, stderr, addr) = if case.run.is_some() {
        let (addr, Exit { code, stdout, stderr }) = match start(command) {
            Ok(server) => (server.addr().to_owned(), server.term()),
            Err(exit) => (NO_ADDR.to_owned(), exit),
        };
        (code, stdout.iter().map(|line| format!("{line}\n")).collect(), stderr, addr)
    } else {
        let output = command.output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), stdout, stderr, NO_ADDR.to_owned())
    };
    let neutral = |text: String| text.replace(&place, "{dir}").replace(&addr, "{addr}").replace(pd, "{pd}");
    Outcome { exit, stdout: neutral(stdout), stderr: neutral(stderr), dir }
}

/// What of a case does not hold, a line each.
fn mismatches(case: &Case, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    check(outcome.exit == Some(case.exit), format!("exit {:?} in place of {}", outcome.exit, case.exit));
    match (&case.stdout, &case.stdout_words) {
        (Some(stdout), None) => {
            check(outcome.stdout == *stdout, format!("stdout {:?} in place of {stdout:?}", outcome.stdout))
        }
        (None, Some(words)) => {
            for word in words.iter().map(|word| our_name(word)) {
                check(outcome.stdout.contains(&word), format!("stdout lacks {word}: {}", outcome.stdout));
            }
        }
        other => panic!("{}: {other:?}", case.name),
    }
    let (stderr, expected) = (&outcome.stderr, our_name(&case.stderr));
    let one_line = stderr.ends_with('\n') && stderr.lines().count() == 1;
    let holds = match case.stderr_rule {
        StderrRule::Exact => *stderr == expected,
        StderrRule::Prefix => one_line && stderr.starts_with(expected.split("<…>").next().unwrap()),
        StderrRule::Any => one_line,
        StderrRule::LineWith => one_line && stderr.contains(&expected),
        StderrRule::With => stderr.contains(&expected),
    };
    check(holds, format!("stderr {stderr:?} in place of {expected:?} ({:?})", case.stderr_rule));
    for (name, hex) in &case.files_after {
        let content = fs::read(outcome.dir.path().join(name)).ok();
        check(content.as_deref() == Some(&bytes(hex)[..]), format!("{name} holds {content:02x?}"));
    }
    for name in &case.ours_after {
        let start = fs::read(manifest(&outcome.dir.path().join(name))).unwrap();
        check(start[4..].starts_with(OPENING), format!("the manifest in {name} is not ours"));
    }
    found
}

/// A text of the reference with our program's names in it.
fn our_name(text: &str) -> String {
    text.replace("nokv-config", "pd-lite config").replace("nokv", "pd-lite")
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Replays a file. Each deviation must be one, too: a case that has come to hold as recorded leaves the list.
fn replay(file: &str) {
    let pd = Launch::in_memory().start();
    let mut wrong = Vec::new();
    for mut recorded in read_cases(file) {
        match file {
            "pd.json" if recorded.exit != 0 => deviations::expect_our_failure(&mut recorded),
            "serve.json" if recorded.exit != 0 => deviations::expect_our_exit(&mut recorded),
            _ => {}
        }
        let deviation = deviations::ALL.iter().find(|known| known.file == file && known.case == recorded.name);
        let mut case = recorded.clone();
        if let Some(deviation) = deviation {
            (deviation.change)(&mut case);
        }
        let outcome = run(&case, pd.addr());
        if let Some(deviation) = deviation
            && mismatches(&recorded, &outcome).is_empty()
        {
            wrong.push(format!("{file}, {:?} holds as recorded: no deviation ({})", case.name, deviation.why));
        }
        let found = mismatches(&case, &outcome);
        wrong.extend(found.iter().map(|what| format!("{file}, {:?}: {what}", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    pd.stop();
}

#[test]
fn config_manifest_is_as_recorded() {
    replay("config-manifest.json");
}

#[test]
fn config_pd_is_as_recorded() {
    replay("config-pd.json");
}

#[test]
fn config_regions_is_as_recorded() {
    replay("config-regions.json");
}

#[test]
fn config_stores_is_as_recorded() {
    replay("config-stores.json");
}

#[test]
fn config_usage_is_as_recorded() {
    replay("config-usage.json");
}

#[test]
fn config_validation_is_as_recorded() {
    replay("config-validation.json");
}

#[test]
fn the_program_s_own_usage_is_as_recorded() {
    replay("nokv.json");
}

#[test]
fn pd_is_as_recorded() {
    replay("pd.json");
}

#[test]
fn serve_is_as_recorded() {
    replay("serve.json");
}

#[test]
fn every_recording_is_replayed_and_every_deviation_is_of_a_recording() {
    let mut files: Vec<String> =
        fs::read_dir(fixtures("cli")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command_lines/mod.rs")).unwrap();
    for file in &files {
        assert!(source.contains(&format!("replay(\"{file}\")")), "{file} is not replayed");
    }
    for Deviation { file, case, .. } in &deviations::ALL {
        assert!(read_cases(file).iter().any(|recorded| recorded.name == *case), "{file} has no case {case:?}");
    }
    for (file, exits) in [("pd.json", &deviations::PD_EXITS[..]), ("serve.json", &deviations::SERVE_EXITS)] {
        for (case, _) in exits {
            assert!(read_cases(file).iter().any(|recorded| recorded.name == *case), "{file} has no case {case:?}");
        }
    }
}
