//! Input that nobody means well with, at the port of the real program: messages, frames and connections. Afterwards,
//! and during most of it, other clients are served, and the server's memory grows by no more than `SECURITY.md` says.

mod connections;
mod frames;
mod http2;
mod messages;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::client::region;
use crate::support::memory::Memory;
use crate::support::{Client, Launch, Server};

const MIB: u64 = 1 << 20;
/// Only a server that hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

/// A server under attack, a client that it has served before, and its memory then.
struct Victim {
    server: Server,
    client: Client,
    memory: Memory,
    version: u64,
}

impl Victim {
    fn new() -> Self {
        Self::of(&Launch::in_memory())
    }

    fn of(launch: &Launch) -> Self {
        let server = launch.start();
        let client = server.client();
        let mut victim = Self { memory: Memory::of(&server), server, client, version: 0 };
        victim.serves();
        victim.memory = Memory::of(&victim.server);
        victim
    }

    fn addr(&self) -> &str {
        self.server.addr()
    }

    /// Serves a client that was there before.
    fn serves(&mut self) {
        self.version += 1;
        self.client.put(&region(1, b"", b"", self.version)).unwrap();
        assert_eq!(self.client.lookup(b"k").unwrap().unwrap().epoch_version, self.version);
        self.client.tso(1).unwrap();
    }

    /// Lets `threads` attackers loose, and works meanwhile. Returns what they report.
    fn under<T: Send>(&mut self, threads: u64, attack: impl Fn(u64, &str) -> T + Sync) -> Vec<T> {
        let addr = self.addr().to_owned();
        thread::scope(|scope| {
            let (addr, attack) = (&addr, &attack);
            let attackers: Vec<_> = (0..threads).map(|number| scope.spawn(move || attack(number, addr))).collect();
            while !attackers.iter().all(|attacker| attacker.is_finished()) {
                self.serves();
            }
            attackers.into_iter().map(|attacker| attacker.join().unwrap()).collect()
        })
    }

    /// Serves also new clients, and has taken no more memory than that.
    #[track_caller]
    fn stands(mut self, growth_max: u64, attack: &str) {
        self.serves();
        self.client = self.server.client();
        self.serves();
        self.memory.grew_at_most(growth_max, attack);
        self.server.stop();
    }
}

fn connect(addr: &str) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    // A server that takes nothing more ends the attack; so does one that has closed the connection.
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// Sends until the server takes no more. Returns how many of `pieces` it took.
fn send(stream: &mut TcpStream, pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> usize {
    pieces.into_iter().take_while(|piece| stream.write_all(piece.as_ref()).is_ok()).count()
}

/// Waits until the server closes the connection. Returns what it said before.
#[track_caller]
fn is_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection stays open: {error}");
    }
    said
}
