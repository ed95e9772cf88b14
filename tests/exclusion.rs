//! One process a workdir, one process a port. The second one ends with exit status 3 and names the first; a process that
//! was killed keeps nothing.

use std::net::TcpListener;

use crate::support::client::region;
use crate::support::{EXIT_IN_USE, Launch, files};

#[test]
fn the_second_process_on_a_workdir_is_refused_and_names_the_first() {
    let workdir = tempfile::tempdir().unwrap();
    let first = Launch::durable(workdir.path()).start();
    let client = first.client();
    client.put(&region(1, b"", b"", 1)).unwrap();
    assert_eq!(client.alloc_id(10).unwrap(), 1);
    let before = files(workdir.path());

    let exit = Launch::durable(workdir.path()).refused();
    assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
    assert_eq!(exit.stdout, Vec::<String>::new());
    assert!(exit.stderr.contains(&first.pid().to_string()), "names the holder: {}", exit.stderr);
    assert!(exit.stderr.contains(workdir.path().to_str().unwrap()), "names the workdir: {}", exit.stderr);
    assert_eq!(files(workdir.path()), before);

    // The first one has noticed nothing.
    assert_eq!(client.alloc_id(1).unwrap(), 11);
    client.put(&region(1, b"", b"", 2)).unwrap();
    first.stop();
    Launch::durable(workdir.path()).start().stop();
}

/// The end of the disk's thread was once told twice, by the thread's handle and by `main`.
#[test]
fn a_process_whose_lock_file_was_removed_ends_with_one_line_before_it_writes() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    server.client().put(&region(1, b"", b"", 1)).unwrap();
    std::fs::remove_file(workdir.path().join("PD_LOCK")).unwrap();
    let before = files(workdir.path());
    server.client().put(&region(1, b"", b"", 2)).unwrap_err();
    let exit = server.wait();
    assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
    assert_eq!(exit.stderr.matches("PD_LOCK").count(), 1, "{exit:#?}");
    assert_eq!(files(workdir.path()), before);
}

#[test]
fn a_workdir_is_the_same_under_another_name() {
    let parent = tempfile::tempdir().unwrap();
    let (workdir, link) = (parent.path().join("pd"), parent.path().join("link"));
    let first = Launch::durable(&workdir).start();
    std::os::unix::fs::symlink(&workdir, &link).unwrap();
    assert_eq!(Launch::durable(&link).refused().code, Some(EXIT_IN_USE));
    first.stop();
}

#[test]
fn a_killed_process_leaves_no_lock_behind() {
    let workdir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        Launch::durable(workdir.path()).start().kill();
    }
    Launch::durable(workdir.path()).start().stop();
}

#[test]
fn the_second_process_on_a_port_is_refused_and_names_the_first() {
    let first = Launch::in_memory().start();
    let client = first.client();
    assert_eq!(client.tso(1).unwrap(), 1);
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(&workdir.path().join("pd"))] {
        let exit = launch.on(first.addr()).refused();
        assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
        assert_eq!(exit.stdout, Vec::<String>::new());
        assert!(exit.stderr.contains(first.addr()), "names the address: {}", exit.stderr);
        assert!(exit.stderr.contains(&first.pid().to_string()), "names the holder: {}", exit.stderr);
    }
    assert_eq!(client.tso(1).unwrap(), 2, "no call went to another process");
    first.stop();
}

#[test]
fn a_port_of_another_program_is_refused_and_names_it() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let exit = Launch::in_memory().on(&other.local_addr().unwrap().to_string()).refused();
    assert_eq!(exit.code, Some(EXIT_IN_USE), "{exit:#?}");
    assert!(exit.stderr.contains(&std::process::id().to_string()), "names the holder: {}", exit.stderr);
}

#[test]
fn a_port_is_free_again_after_a_kill_with_connections_open() {
    // An address of its own: no other test's connection can take the port in between.
    let mut server = Launch::in_memory().on("127.77.0.1:0").start();
    let addr = server.addr().to_owned();
    for _ in 0..3 {
        let clients = [server.client(), server.client()];
        clients.iter().for_each(|client| assert!(client.tso(1).is_ok()));
        server.kill();
        server = Launch::in_memory().on(&addr).start();
        assert_eq!(server.addr(), addr);
    }
    server.stop();
}
