//! A process that has no file descriptor left goes on: nothing was written, so its disk has not failed.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use grpcio::RpcStatusCode;

use crate::support::client::region;
use crate::support::launch::start;

const DESCRIPTORS: usize = 64;
/// Only a server that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

/// Opens connections until the server has no descriptor for one more.
fn exhaust(addr: &str, pid: u32) -> Vec<TcpStream> {
    let connections = (0..2 * DESCRIPTORS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let began = Instant::now();
    while std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() < DESCRIPTORS {
        assert!(began.elapsed() < HANG, "the server accepts no more");
        std::thread::yield_now();
    }
    connections
}

#[test]
fn a_server_without_a_free_descriptor_goes_on_and_recovers() {
    let workdir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_pd-lite");
    command.args(["-c", "ulimit -n \"$0\"; exec \"$@\"", &DESCRIPTORS.to_string(), program]);
    command.args(["pd", "--addr", "127.0.0.1:0", "--workdir", workdir.path().to_str().unwrap()]);
    let server = start(command).unwrap();
    let client = server.client();
    let first = client.tso(1).unwrap();

    let connections = exhaust(server.addr(), server.pid());
    for version in 1..=20 {
        client.put(&region(1, b"", b"", version)).unwrap();
    }
    // What needs a descriptor is refused while there is none, and served once a connection has been given up.
    let mut last = first;
    for _ in 0..5 {
        match client.tso(100_000) {
            Ok(next) => last = next + 99_999,
            Err(failure) => assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED, "{failure:?}"),
        }
    }

    drop(connections);
    let began = Instant::now();
    let next = loop {
        match client.tso(100_000) {
            Ok(next) => break next,
            Err(failure) => assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED, "{failure:?}"),
        }
        assert!(began.elapsed() < HANG, "it does not recover");
    };
    assert!(next > last);
    // Those that were there, and new ones.
    for client in [client, server.client()] {
        assert_eq!(client.lookup(b"k").unwrap().unwrap().epoch_version, 20);
    }
    server.stop();
}
