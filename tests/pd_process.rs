//! The process of `pd-lite pd`: how it reports wrong command lines, what signals do to it, and what it needs from its
//! surroundings.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use grpcio::{CallOption, Method, MethodType};
use pd_lite::proto::pd::{TsoRequest, TsoResponse};
use pd_lite::proto::pd_methods;

use crate::support::client::region;
use crate::support::launch::{signal, start};
use crate::support::{Client, Launch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pd-lite");

/// The exit code and the one line of a command that fails.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "{args:?}: {stderr}");
    (output.status.code(), stderr.trim_end().to_owned())
}

/// The address out of the log of a server that cannot tell it on stdout.
fn logged_addr(log: &mut impl Iterator<Item = String>) -> String {
    let line = log.find(|line| line.contains("serving on ")).unwrap();
    line.split_once("serving on ").unwrap().1.to_owned()
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_says_what_is_expected() {
    for (args, line) in [
        (&["pd", "--addr", ""][..], "error: pd listen on"),
        (&["pd", "--addr", "127.0.0.1:65536"], "error: pd listen on 127.0.0.1:65536"),
        (&["pd", "--threads", "0"], "error: invalid value \"0\" for --threads: expected a decimal number from 1 to 64"),
        (
            &["pd", "-max-peers=0"],
            "error: invalid value \"0\" for --max-peers: expected a decimal number from 1 to 4096",
        ),
        (&["pd", "--id-start", "18446744073709551616"], "error: invalid value \"18446744073709551616\" for --id-start"),
        (&["pd", "--id-start", "0x10"], "error: invalid value \"0x10\" for --id-start"),
        (&["pd", "--log-level", "loud"], "error: invalid value \"loud\" for --log-level: expected one of"),
        (&["pd", "--", "--addr"], "error: unexpected word \"--addr\""),
        (&["pd", "--help=yes"], "error: --help takes no value"),
        (&["config", "pd", "--scope"], "error: --scope needs a value: host|docker"),
        (&["no\nsuch"], "error: unknown command \"no\\nsuch\" (see pd-lite --help)"),
        (&["--version", "--bogus"], "error: unexpected word \"--bogus\" (see pd-lite --help)"),
        (&["config", "--version", "x"], "error: unexpected word \"x\" (see pd-lite config --help)"),
        (&["pd", "--bo\u{1b}[2Jgus\n"], "error: unknown flag --bo\\u{1b}[2Jgus\\n (see pd-lite pd --help)"),
        (&["pd", "--addr", "x\ny"], "error: pd listen on x\\ny: the port is missing"),
    ] {
        let (exit, stderr) = refused(args);
        assert_eq!(exit, Some(2), "{args:?}");
        assert!(stderr.starts_with(line), "{args:?}: {stderr}");
    }
}

#[test]
fn version_is_the_crate_s() {
    for args in [&["--version"][..], &["pd", "-version"], &["config", "pd", "--version"]] {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("pd-lite {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn help_that_is_asked_for_twice_is_printed_once() {
    for args in [&["help"][..], &["--help", "-h"], &["help", "help"], &["-help", "--help"]] {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.matches("Usage: pd-lite <command>").count(), 1, "{args:?}");
    }
}

#[test]
fn a_normal_durable_start_and_stop_says_nothing_on_stderr() {
    let workdir = tempfile::tempdir().unwrap();
    for end in ["TERM", "INT"] {
        let server = Launch::durable(&workdir.path().join("wd")).start();
        assert_eq!(server.start_lines().len(), 3);
        server.client().put(&region(1, b"", b"", 1)).unwrap();
        server.signal(end);
        let exit = server.wait();
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "SIG{end}");
    }
}

#[test]
fn start_values_hold_across_a_crash() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).args(["--id-start", "1000", "--ts-start", "5000"]).start();
    assert_eq!(server.start_lines()[1], "PD allocator starts: id=1000 ts=5000");
    let client = server.client();
    client.put(&region(1, b"", b"", 1)).unwrap();
    assert_eq!(client.alloc_id(1).unwrap(), 1000);
    client.put(&region(1, b"", b"", 2)).unwrap();
    server.kill();

    // The changes were committed beside start values that no checkpoint had held yet; that is no damage.
    let server = Launch::durable(workdir.path()).start();
    assert!(server.client().alloc_id(1).unwrap() > 1000);
    server.stop();
}

#[test]
fn counters_at_their_end_start_as_exhausted_and_routes_are_served() {
    let workdir = tempfile::tempdir().unwrap();
    fs::write(workdir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
    fs::write(workdir.path().join("MANIFEST-000001"), "").unwrap();
    let state = r#"{"id_current":18446744073709551615,"ts_current":18446744073709551614}"#;
    fs::write(workdir.path().join("PD_STATE.json"), state).unwrap();
    let server = Launch::durable(workdir.path()).start();
    assert_eq!(server.start_lines()[1], "PD allocator starts: id=exhausted ts=18446744073709551615");
    let client = server.client();
    assert!(client.alloc_id(1).is_err());
    client.put(&region(1, b"", b"", 1)).unwrap();
    server.stop();
}

#[test]
fn a_signal_during_the_start_ends_it_at_once_and_cleanly() {
    // A pipe in place of the configuration file stands for a long start: the test holds its other end and writes nothing.
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = Command::new(PROGRAM).args(["pd", "--config"]).arg(&pipe).spawn().unwrap();
    let held = File::options().write(true).open(&pipe).unwrap();
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(held);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // A call that never ends keeps the stop waiting, and both signals are there before the process takes the first.
    const ENDLESS: Method<TsoRequest, TsoResponse> = Method { ty: MethodType::ClientStreaming, ..pd_methods::TSO };
    let server = Launch::in_memory().start();
    let client = server.client();
    let endless = client.raw().client_streaming(&ENDLESS, CallOption::default()).unwrap();
    assert_eq!(client.tso(1).unwrap(), 1, "the endless call is on its way: it was sent first");
    for name in ["STOP", "TERM", "INT", "CONT"] {
        server.signal(name);
    }
    let exit = server.wait();
    assert!(matches!(exit.code, Some(130 | 143)), "128 + the number of the one that came second: {exit:#?}");
    drop(endless);
}

#[test]
fn a_closed_stdout_does_not_keep_it_from_serving() {
    let mut command = Command::new(PROGRAM);
    command.args(["pd", "--addr", "127.0.0.1:0", "--log-level", "info"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let client = Client::connect(&logged_addr(&mut log));
    assert_eq!(client.tso(1).unwrap(), 1);
    signal(child.id(), "TERM");
    assert!(log.any(|line| line.contains("SIGTERM")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_full_stdout_does_not_keep_it_from_serving() {
    let mut command = Command::new(PROGRAM);
    command.args(["pd", "--addr", "127.0.0.1:0", "--log-level", "info"]).stdout(File::create("/dev/full").unwrap());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let client = Client::connect(&logged_addr(&mut log));
    assert!(log.any(|line| line.contains("cannot write to stdout")));
    assert_eq!(client.tso(1).unwrap(), 1);
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_help_text_into_a_closed_pipe_is_no_failure() {
    let mut child = Command::new(PROGRAM).args(["pd", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn the_limit_on_open_files_is_raised_as_far_as_it_goes() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 64; exec \"$0\" pd --addr 127.0.0.1:0", PROGRAM]);
    let server = start(shell).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(fields[3], fields[4], "soft and hard: {line}");
    server.stop();
}

#[test]
fn what_is_refused_at_the_port_leaves_the_workdir_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let first = Launch::in_memory().start();
    let workdir = dir.path().join("wd");
    assert_eq!(Launch::durable(&workdir).on(first.addr()).refused().code, Some(3));
    let names: Vec<_> = fs::read_dir(&workdir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["PD_LOCK"]);
    first.stop();
}
