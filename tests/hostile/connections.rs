//! Connections: more than anybody needs, and those of clients that speak something else.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use super::http2::{PREFACE, hello};
use super::{MIB, Victim, connect, is_closed};
use crate::support::Launch;

const CONNECTIONS: usize = 1_000;
/// Some 30 KiB for each connection that has said hello.
const CONNECTIONS_GROWTH_MAX: u64 = 64 * MIB;

/// One second's worth of connects, of a flood as NoKV's clients make it when their PD comes back.
const CONNECTS: u64 = 15_000;
const CONNECT_THREADS: u64 = 4;
/// Those that the server has not closed yet.
const CONNECTS_GROWTH_MAX: u64 = 256 * MIB;

#[test]
fn a_thousand_idle_and_half_open_connections_cost_little_and_the_silent_ones_are_closed() {
    rlimit::increase_nofile_limit(16_384).unwrap();
    let mut victim = Victim::new();
    let says: [&[u8]; 4] = [b"", &PREFACE[..10], &hello(), &hello()[..PREFACE.len() + 3]];
    let mut connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let mut stream = connect(victim.addr());
            stream.write_all(says[number % says.len()]).unwrap();
            stream
        })
        .collect();
    victim.serves();
    // After 10 seconds the server has enough of those that have not said hello.
    for number in (0..CONNECTIONS).rev().filter(|number| number % says.len() != 2) {
        is_closed(connections.swap_remove(number));
    }
    victim.serves();
    drop(connections);
    victim.stands(CONNECTIONS_GROWTH_MAX, "1,000 idle and half-open connections");
}

#[test]
fn connections_that_come_by_the_thousand_a_second_are_survived() {
    // An address of its own: its ports are used up for a minute.
    let mut victim = Victim::of(&Launch::in_memory().on("127.79.0.1:0"));
    let began = Instant::now();
    victim.under(CONNECT_THREADS, |_, addr| {
        for _ in 0..CONNECTS / CONNECT_THREADS {
            drop(TcpStream::connect(addr).unwrap());
        }
    });
    println!("{CONNECTS} connects in {:?}", began.elapsed());
    victim.stands(CONNECTS_GROWTH_MAX, "15,000 connects");
}

/// The beginning of a TLS 1.2 client: a record with a ClientHello of one cipher suite.
fn client_hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 0]].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let message = [&[1, 0, 0, length(&body)][..], &body].concat();
    [&[22, 3, 1, 0, length(&message)][..], &message].concat()
}

#[test]
fn clients_of_tls_and_http_1_are_turned_away() {
    let mut victim = Victim::new();
    let long = format!("GET / HTTP/1.1\r\nHost: pd\r\nCookie: {}\r\n\r\n", "c".repeat(100_000));
    let openings: [&[u8]; 5] = [
        &client_hello(),
        b"GET / HTTP/1.1\r\nHost: pd\r\n\r\n",
        b"POST /pb.PD/Tso HTTP/1.1\r\nHost: pd\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: pd\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        long.as_bytes(),
    ];
    for _ in 0..20 {
        for opening in openings {
            let mut stream = connect(victim.addr());
            // Of a long one the server may have enough before the end.
            let _ = stream.write_all(opening);
            is_closed(stream);
        }
        victim.serves();
    }
    victim.stands(CONNECTIONS_GROWTH_MAX, "TLS and HTTP/1");
}
