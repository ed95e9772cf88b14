//! A thousand clients that connect and connect again without any back-off, as NoKV's do, while one client goes on working:
//! it gets every answer, also when the server is killed and started again under the herd.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::client::region;
use crate::support::{Client, Launch, Server};

/// Clients of the herd that only connect, and threads that drive them.
const RAW_CLIENTS: usize = 1_000;
const RAW_THREADS: usize = 8;
/// Clients of the herd that make calls.
const GRPC_CLIENTS: usize = 240;
const GRPC_THREADS: usize = 4;

/// What has to have happened before the herd goes.
const RECONNECTS: u64 = 5_000;
const PROBES: u64 = 100;

/// What the herd did since it came.
#[derive(Default)]
struct Herd {
    gone: AtomicBool,
    connects: AtomicU64,
    answers: AtomicU64,
}

impl Herd {
    /// Holds its share of connections open, and replaces one after the other by a new one. Every second one says hello.
    fn connect_again_and_again(&self, addr: &str) {
        let mut connections: Vec<Option<TcpStream>> = (0..RAW_CLIENTS / RAW_THREADS).map(|_| None).collect();
        while !self.gone.load(Ordering::Relaxed) {
            for (number, connection) in connections.iter_mut().enumerate() {
                // The old one goes first: a client has one connection. A server that is down refuses.
                drop(connection.take());
                let Ok(mut stream) = TcpStream::connect(addr) else { continue };
                if number % 2 == 0 {
                    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
                }
                *connection = Some(stream);
                self.connects.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Makes one call over each of its share of connections, and drops it.
    fn call_again_and_again(&self, addr: &str) {
        let mut clients: Vec<Option<Client>> = (0..GRPC_CLIENTS / GRPC_THREADS).map(|_| None).collect();
        while !self.gone.load(Ordering::Relaxed) {
            for client in &mut clients {
                *client = Some(Client::connect(addr));
                if client.as_ref().is_some_and(|client| client.tso(1).is_ok()) {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Works until the probes are answered and the herd has connected and called often enough in the meantime.
fn work_under(herd: &Herd, server: &Server, version: &mut u64) {
    let client = server.client();
    let before = (herd.connects.load(Ordering::Relaxed), herd.answers.load(Ordering::Relaxed));
    let mut probes = 0;
    let mut last = 0;
    loop {
        *version += 1;
        client.put(&region(1, b"", b"", *version)).unwrap();
        assert_eq!(client.lookup(b"k").unwrap().unwrap().epoch_version, *version);
        let timestamp = client.tso(1).unwrap();
        assert!(timestamp > last);
        last = timestamp;
        probes += 1;
        let connects = herd.connects.load(Ordering::Relaxed) - before.0;
        let answers = herd.answers.load(Ordering::Relaxed) - before.1;
        if probes >= PROBES && connects >= RECONNECTS && answers >= 100 {
            return;
        }
    }
}

#[test]
fn a_thousand_clients_without_back_off_do_not_keep_the_server_from_serving() {
    // Both ends of a thousand connections are more than a shell's usual 1,024 files.
    rlimit::increase_nofile_limit(16_384).unwrap();
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    // An address of its own: no other test's connection can take the port while the server is down.
    let mut server = launch.clone().on("127.78.0.1:0").start();
    let addr = server.addr().to_owned();
    let launch = launch.on(&addr);
    let herd = Herd::default();
    let mut version = 0;
    thread::scope(|scope| {
        // Also when an assertion fails the herd has to go, or the scope never ends.
        let _goes = Goes(&herd);
        for _ in 0..RAW_THREADS {
            scope.spawn(|| herd.connect_again_and_again(&addr));
        }
        for _ in 0..GRPC_THREADS {
            scope.spawn(|| herd.call_again_and_again(&addr));
        }
        work_under(&herd, &server, &mut version);
        for clean in [false, true] {
            if clean {
                server.stop()
            } else {
                server.kill()
            }
            server = launch.start();
            work_under(&herd, &server, &mut version);
        }
        server.stop();
    });
}

struct Goes<'a>(&'a Herd);

impl Drop for Goes<'_> {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }
}
