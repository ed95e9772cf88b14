//! What `pd-lite serve` refuses, in which order, and how it ends. The recorded cases are in `command_lines`.

use std::net::TcpListener;
use std::process::{Command, Output};

use grpcio::RpcStatusCode;
use pd_lite::proto::serve_methods as methods;

use super::adapting::eventually;
use super::serving::{Cluster, PROGRAM, regions};
use crate::support::relay::raw;
use crate::support::{Client, EXIT_DAMAGED, EXIT_IN_USE, Launch, files};

const EXIT_RUNTIME: i32 = 1;
const EXIT_USAGE: i32 = 2;
const EXIT_NO_ANSWER: i32 = 6;

fn serve(args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("serve").args(args).output().unwrap()
}

/// The exit code and the one line of a command that fails.
fn refused(args: &[&str]) -> (i32, String) {
    let output = serve(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(stderr.ends_with('\n') && stderr.lines().count() == 1, "{args:?}: {stderr}");
    (output.status.code().unwrap(), stderr)
}

#[test]
fn what_is_wrong_is_found_in_the_reference_s_order() {
    let dir = tempfile::tempdir().unwrap();
    let damaged = dir.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("CURRENT"), "MANIFEST-000001").unwrap();
    let (damaged, sound) = (damaged.to_str().unwrap(), dir.path().join("s"));
    let sound = sound.to_str().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tick = "--election-tick=0";
    let peer = "--peer=two";
    let no_pd = &format!("--pd-addr={closed}")[..];
    for (args, exit, line) in [
        (&[tick, peer][..], EXIT_USAGE, "error: --workdir is required"),
        (&["--workdir", damaged, tick, peer], EXIT_USAGE, "error: --store-id is required"),
        (
            &["--workdir", damaged, "--store-id=1", tick, peer],
            EXIT_USAGE,
            "error: heartbeat and election ticks must be",
        ),
        (&["--workdir", damaged, "--store-id=1", peer], EXIT_USAGE, "error: --pd-addr is required when --peer is"),
        (&["--workdir", damaged, "--store-id=1", peer, no_pd], EXIT_DAMAGED, "error: "),
        (&["--workdir", sound, "--store-id=1", peer, no_pd], EXIT_NO_ANSWER, "error: dial pd \""),
    ] {
        let (code, stderr) = refused(args);
        assert!(code == exit && stderr.starts_with(line), "{args:?}: {code} {stderr}");
    }
    let pd = Launch::in_memory().start();
    let with_pd = &format!("--pd-addr={}", pd.addr())[..];
    let taken = format!("--addr={}", pd.addr());
    for (peers, line) in [
        (&["--peer=two"][..], "error: invalid --peer value \"two\" (want storeID=address)"),
        (&["--peer=2=a:1", "--peer=0=a:1"], "error: invalid store id in --peer \"0=a:1\""),
        (&["--peer=2=a"], "error: invalid address in --peer \"2=a\""),
    ] {
        let (code, stderr) = refused(&[&["--workdir", sound, "--store-id=1", with_pd, &taken], peers].concat());
        assert!(code == EXIT_USAGE && stderr.starts_with(line), "{peers:?}: {code} {stderr}");
    }
    let (code, stderr) = refused(&["--workdir", sound, "--store-id=1", with_pd, &taken]);
    assert!(
        code == EXIT_IN_USE && stderr.starts_with("error: serve listen on ") && stderr.contains(&pd.pid().to_string())
    );
    assert!(files(std::path::Path::new(sound)).is_empty(), "nothing is written before the port is bound");
}

#[test]
fn an_address_that_is_no_placement_driver_is_told_from_one_that_does_not_answer() {
    let cluster = Cluster::start(&regions(1, 1));
    let dir = tempfile::tempdir().unwrap();
    let workdir = format!("--workdir={}", dir.path().display());
    let dial = |addr: &str| refused(&[&workdir, "--store-id=9", "--pd-addr", addr]);

    let (code, stderr) = dial(cluster.store(1).addr());
    assert!(code == EXIT_RUNTIME && stderr.contains("gRPC status 12"), "another store: {code} {stderr}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let (code, stderr) = dial(&addr);
    assert!(code == EXIT_NO_ANSWER && stderr.starts_with(&format!("error: dial pd {addr:?}: ")), "{code} {stderr}");

    let (code, stderr) = dial("nowhere");
    assert!(code == EXIT_USAGE && stderr.contains("the port is missing"), "{code} {stderr}");

    cluster.pd().signal("STOP");
    let (code, stderr) = dial(&cluster.pd_addr());
    cluster.pd().signal("CONT");
    assert!(code == EXIT_NO_ANSWER && stderr.contains("within 5"), "a PD that hangs: {code} {stderr}");
}

#[test]
fn a_store_s_port_refuses_what_is_no_message_of_its_own() {
    let cluster = Cluster::start(&regions(1, 1));
    let client = Client::connect(cluster.store(1).addr());
    for method in [methods::TAKE_LEAD.name, methods::SHARE_LEADS.name] {
        for (body, code) in [
            (vec![b'x'; 65_537], RpcStatusCode::RESOURCE_EXHAUSTED),
            (vec![0xff; 65_536], RpcStatusCode::INTERNAL),
            // For store 0.
            (vec![], RpcStatusCode::FAILED_PRECONDITION),
        ] {
            let refused = client.call(&raw(method), &body).unwrap_err();
            assert_eq!(refused.code, code, "{} bytes for {method}: {}", body.len(), refused.message);
        }
    }
}

#[test]
fn a_workdir_has_one_store_and_one_process() {
    let mut cluster = Cluster::start(&regions(2, 1));
    let exit = cluster.refused(1, &[]);
    assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
    assert!(exit.stderr.contains(&cluster.store(1).pid().to_string()), "names the holder: {}", exit.stderr);

    cluster.take_store(2).stop();
    let before = files(&cluster.workdir(2));
    for (store, workdir, words) in
        [(3, cluster.workdir(2), "is the workdir of store 2, not 3"), (9, cluster.workdir(9), "store 9 is not in ")]
    {
        let exit = cluster.refused(store, &["--workdir", workdir.to_str().unwrap(), "--addr=127.0.0.1:0"]);
        assert_eq!(exit.code, Some(EXIT_USAGE), "{exit:#?}");
        assert!(exit.stderr.contains(words), "{}", exit.stderr);
    }
    cluster.client().tso(1).unwrap();
    let pd_workdir = cluster.config().with_file_name("pd");
    cluster.take_pd().stop();
    let exit = cluster.refused(2, &["--workdir", pd_workdir.to_str().unwrap(), "--pd-addr="]);
    assert_eq!(exit.code, Some(EXIT_USAGE), "{exit:#?}");
    assert!(exit.stderr.contains("is the workdir of a placement driver"), "{}", exit.stderr);
    assert_eq!(files(&cluster.workdir(2)), before);
}

/// A PD started on a store's workdir without a word; once it had given out a timestamp, the store refused its own workdir.
#[test]
fn a_pd_refuses_the_workdir_of_a_store() {
    let mut cluster = Cluster::new(&regions(2, 1));
    cluster.start_pd();
    cluster.start_store(1);
    cluster.take_store(1).stop();
    let before = files(&cluster.workdir(1));
    let exit = Launch::durable(&cluster.workdir(1)).refused();
    assert_eq!(exit.code, Some(EXIT_USAGE), "{exit:#?}");
    assert!(exit.stderr.contains("it holds STORE_LEADS.json"), "{}", exit.stderr);
    assert_eq!(files(&cluster.workdir(1)), before);
    cluster.start_store(1);
}

/// Two addresses were swapped, and leaders stayed uneven without a line.
#[test]
fn an_address_of_another_store_is_told_at_the_default_level() {
    let mut cluster = Cluster::new(&regions(2, 1));
    cluster.start_pd();
    cluster.start_store(3);
    let wrong = format!("--peer=2={}", cluster.store(3).addr());
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--store-id=1", "--heartbeat-interval=50ms", &wrong, "--config"]).arg(cluster.config());
    let store = crate::support::launch::start(command).unwrap();
    eventually("store 1 has called store 3", || store.stderr_so_far().contains("this is store 3, not 2"));
    let exit = store.term();
    assert_eq!(exit.stderr.matches("this is store 3, not 2").count(), 1, "{}", exit.stderr);
    assert!(exit.stderr.contains("WARN"), "{}", exit.stderr);
}

#[test]
fn a_lost_lock_or_damaged_leads_end_it_with_one_line() {
    let mut cluster = Cluster::start(&regions(6, 3));
    cluster.wait_until_even();
    let store = cluster.take_store(3);
    std::fs::remove_file(cluster.workdir(3).join("PD_LOCK")).unwrap();
    let before = files(&cluster.workdir(3));
    // In the other stores' names, which have no leaders then: store 3 is to give one away, and has to note that first.
    let client = cluster.client();
    eventually("store 3 ends", || {
        client.store(1, 6, 0).unwrap();
        client.store(2, 6, 0).unwrap();
        store.has_ended()
    });
    let exit = store.wait();
    assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
    assert_eq!(exit.stderr.matches("PD_LOCK").count(), 1, "{exit:#?}");
    assert_eq!(files(&cluster.workdir(3)), before);

    let file = cluster.workdir(3).join("STORE_LEADS.json");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let exit = cluster.refused(3, &[]);
    assert_eq!(exit.code, Some(EXIT_DAMAGED), "{exit:#?}");
    assert!(exit.stderr.contains("STORE_LEADS.json"), "{}", exit.stderr);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_store_that_stands_alone_serves_and_has_no_peers() {
    let cluster = Cluster::new(&regions(3, 0));
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--store-id=1", "--pd-addr", "", "--addr=127.0.0.1:0", "--config"]).arg(cluster.config());
    let exit = crate::support::launch::start(command).unwrap().term();
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
    let fixed = [&exit.stdout[..1], &exit.stdout[2..]].concat();
    let expected = [
        "Bootstrapped 3 region(s), 3 of them led by this store",
        "Serve mode: dev-standalone (PD disabled)",
        "Press Ctrl+C to stop",
        "",
        "Shutting down...",
    ];
    assert_eq!(fixed, expected);
}
