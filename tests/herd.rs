//! A thousand clients that connect and connect again without any back-off, as NoKV's do, while one client goes on working:
//! it gets every answer, also when the server was killed or stopped and comes back under the herd.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use crate::support::client::region;
use crate::support::{Client, Launch, Server};

/// Clients of the herd that only connect, and threads that drive them.
const RAW_CLIENTS: usize = 1_000;
const RAW_THREADS: usize = 8;
/// Clients of the herd that make calls.
const GRPC_CLIENTS: usize = 240;
const GRPC_THREADS: usize = 4;

/// How often the herd connects in one storm. All storms together stay below the 28,000 ports of an address, which rest for a
/// minute after each use.
const RAW_CONNECTS: i64 = 6_000;
const GRPC_CONNECTS: i64 = 480;
/// Answers that the working client gets during and after a storm, at least.
const PROBES: u64 = 50;

/// What is left of the storm.
#[derive(Default)]
struct Storm {
    raw: AtomicI64,
    grpc: AtomicI64,
}

impl Storm {
    /// Breaks loose when it is made.
    fn new() -> Self {
        Self { raw: AtomicI64::new(RAW_CONNECTS), grpc: AtomicI64::new(GRPC_CONNECTS) }
    }

    fn is_over(&self) -> bool {
        self.raw.load(Ordering::Relaxed) <= 0 && self.grpc.load(Ordering::Relaxed) <= 0
    }

    /// Replaces one connection after the other by a new one. Every second one says hello. A server that is down refuses, and
    /// is asked again at once.
    fn connect_again_and_again(&self, addr: &str, connections: &mut [Option<TcpStream>]) {
        for number in (0..connections.len()).cycle() {
            let connection = &mut connections[number];
            if self.raw.load(Ordering::Relaxed) <= 0 {
                return;
            }
            // The old one goes first: a client has one connection.
            drop(connection.take());
            let Ok(mut stream) = TcpStream::connect(addr) else { continue };
            if number % 2 == 0 {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            }
            *connection = Some(stream);
            self.raw.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes one call over each new connection.
    fn call_again_and_again(&self, addr: &str, clients: &mut [Option<Client>]) {
        for number in (0..clients.len()).cycle() {
            if self.grpc.load(Ordering::Relaxed) <= 0 {
                return;
            }
            let new = clients[number].insert(Client::connect(addr));
            if new.tso(1).is_ok() {
                self.grpc.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Every connection of the herd: they stay open between the storms, each thread has its share.
struct Herd {
    raw: Vec<Mutex<Vec<Option<TcpStream>>>>,
    grpc: Vec<Mutex<Vec<Option<Client>>>>,
}

impl Herd {
    fn new() -> Self {
        fn share<T>(clients: usize, threads: usize) -> Vec<Mutex<Vec<Option<T>>>> {
            (0..threads).map(|_| Mutex::new((0..clients / threads).map(|_| None).collect())).collect()
        }
        Self { raw: share(RAW_CLIENTS, RAW_THREADS), grpc: share(GRPC_CLIENTS, GRPC_THREADS) }
    }

    /// Runs one storm on `addr` around `work`.
    fn storm<T>(&self, addr: &str, work: impl FnOnce(&Storm) -> T) -> T {
        let storm = Storm::new();
        thread::scope(|scope| {
            for connections in &self.raw {
                scope.spawn(|| storm.connect_again_and_again(addr, &mut connections.lock().unwrap()));
            }
            for clients in &self.grpc {
                scope.spawn(|| storm.call_again_and_again(addr, &mut clients.lock().unwrap()));
            }
            // Also when an assertion fails the threads have to end.
            let _calm = Calm(&storm);
            work(&storm)
        })
    }
}

struct Calm<'a>(&'a Storm);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.raw.store(0, Ordering::Relaxed);
        self.0.grpc.store(0, Ordering::Relaxed);
    }
}

/// Works until the storm is over: every call is answered.
fn work_under(storm: &Storm, server: &Server, version: &mut u64) {
    let client = server.client();
    let (mut probes, mut last) = (0, 0);
    while probes < PROBES || !storm.is_over() {
        *version += 1;
        client.put(&region(1, b"", b"", *version)).unwrap();
        assert_eq!(client.lookup(b"k").unwrap().unwrap().epoch_version, *version);
        let timestamp = client.tso(1).unwrap();
        assert!(timestamp > last);
        last = timestamp;
        probes += 1;
    }
}

#[test]
fn a_thousand_clients_without_back_off_do_not_keep_the_server_from_serving() {
    // Both ends of a thousand connections are more than a shell's usual 1,024 files.
    rlimit::increase_nofile_limit(16_384).unwrap();
    let workdir = tempfile::tempdir().unwrap();
    // An address of its own: no other test's connection can take the port while the server is down.
    let mut server = Launch::durable(workdir.path()).on("127.78.0.1:0").start();
    let addr = server.addr().to_owned();
    let launch = Launch::durable(workdir.path()).on(&addr);
    let herd = Herd::new();
    let mut version = 0;
    herd.storm(&addr, |storm| work_under(storm, &server, &mut version));
    server.kill();
    // Now the storm is there first, and meets a closed port.
    server = herd.storm(&addr, |storm| {
        let server = launch.start();
        work_under(storm, &server, &mut version);
        server
    });
    server.stop();
    server = herd.storm(&addr, |storm| {
        let server = launch.start();
        work_under(storm, &server, &mut version);
        server
    });
    server.stop();
}
