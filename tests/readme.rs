//! The README says what is true: its client is run, and its flags are the program's.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::launch::Launch;

const README: &str = include_str!("../README.md");

/// The address in the README's calls.
const README_ADDR: &str = "127.0.0.1:2379";

/// What stands between two lines of the README.
fn between(first: &str, last: &str) -> &'static str {
    let (_, rest) = README.split_once(first).unwrap_or_else(|| panic!("README.md has lost {first:?}"));
    rest.split_once(last).unwrap_or_else(|| panic!("README.md has lost {last:?} behind {first:?}")).0
}

/// `--name` wherever it stands in `text`.
fn flags(text: &str) -> BTreeSet<&str> {
    text.split("--")
        .skip(1)
        .map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap_or(""))
        .filter(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect()
}

#[test]
#[ignore = "needs a Python with grpcio: make test-foreign"]
fn the_python_client_of_the_readme_prints_what_the_readme_says() {
    let python =
        env::var("PD_LITE_TEST_PYTHON").expect("PD_LITE_TEST_PYTHON names a Python with grpcio: make test-foreign");
    let script = between("artifacts/python/bin/python <<'END'\n", "END\n");
    let printed = between("END\n```\n\n```text\n", "```");

    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    assert!(script.contains(README_ADDR), "the script calls {README_ADDR}");
    let script = script.replace(README_ADDR, server.addr());

    let mut client = Command::new(python);
    client.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    client.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();

    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), printed);
    server.stop();
}

#[test]
fn the_readme_lists_the_flags_of_pd_with_their_defaults() {
    let help = Command::new(env!("CARGO_BIN_EXE_pd-lite")).args(["pd", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let table = between("## Flags of `pd-lite pd`\n", "A flag that is given wins");
    assert_eq!(flags(table), flags(&help));
    for line in help.lines().filter(|line| line.contains("(default: ")) {
        let name = line.split_whitespace().next().unwrap();
        let default = line.split_once("(default: ").unwrap().1.trim_end_matches(')');
        let told = table.split_once(&format!("`{name}` (")).map(|(_, rest)| rest.split([';', ')']).next().unwrap());
        let told = told.unwrap_or_else(|| panic!("{name}: the table tells no default"));
        if name == "--threads" {
            continue; // It is the machine's.
        }
        // A number is told with its thousands apart; behind a default with a comma stands what it is about.
        let told = told.split(", ").next().unwrap().replace(',', "");
        assert_eq!(told, default, "{name}");
    }
}
