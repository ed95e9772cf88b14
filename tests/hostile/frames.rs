//! HTTP/2 that no client speaks. The attackers never read what the server answers.

use std::net::TcpStream;

use super::http2::*;
use super::{MIB, Victim, connect, is_closed, send};

/// Connections that attack at a time.
const ATTACKERS: u64 = 4;
/// Frames that each of them sends, unless the server has enough before.
const FRAMES: usize = 30_000;
/// What all of them may cost.
const GROWTH_MAX: u64 = 96 * MIB;

/// Calls that each attacker opens and resets, and what they may cost: some 13 KiB each until they have been looked at.
const RESETS: usize = 5_000;
const RESETS_GROWTH_MAX: u64 = 384 * MIB;
/// Blocks of headers that each attacker sends. One becomes some 600 KiB in memory while its connection is there.
const BOMBS: usize = 50;
const HEADERS_GROWTH_MAX: u64 = 320 * MIB;

const TSO: &str = "/pb.PD/Tso";

/// Sends a flood from each attacker, behind a proper beginning. Returns the connections, and how much was taken.
fn flood<P: AsRef<[u8]>, F: Iterator<Item = P>>(
    victim: &mut Victim,
    pieces: impl Fn() -> F + Sync,
) -> Vec<(TcpStream, usize)> {
    victim.under(ATTACKERS, |_, addr| {
        let mut stream = connect(addr);
        assert_eq!(send(&mut stream, [hello()]), 1);
        let taken = send(&mut stream, pieces());
        (stream, taken)
    })
}

/// The same frame again and again.
fn flood_of(name: &str, frame: Vec<u8>) {
    let mut victim = Victim::new();
    let connections = flood(&mut victim, || std::iter::repeat_n(&frame, FRAMES));
    println!("{name}: {:?} frames taken", connections.iter().map(|(_, taken)| *taken).collect::<Vec<_>>());
    victim.stands(GROWTH_MAX, name);
}

#[test]
fn a_flood_of_settings_is_survived() {
    flood_of("empty SETTINGS", frame(SETTINGS, 0, 0, b""));
    // The size of the header table, and the first window of streams.
    let entries = [0, 1, 0, 0, 0xff, 0xff, 0, 4, 0, 0, 0xff, 0xff].repeat(100);
    flood_of("SETTINGS of 200 entries", frame(SETTINGS, 0, 0, &entries));
}

#[test]
fn a_flood_of_pings_is_survived() {
    flood_of("PING", frame(PING, 0, 0, b"01234567"));
}

#[test]
fn a_flood_of_frames_without_a_purpose_is_survived() {
    flood_of("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]));
    flood_of("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    flood_of("empty DATA", frame(DATA, 0, 1, b""));
    flood_of("an unknown kind of frame", frame(UNKNOWN, 0, 1, &[0; 1024]));
}

#[test]
fn rapid_resets_are_survived() {
    let mut victim = Victim::new();
    let opened_and_reset = || {
        streams().take(RESETS).map(|stream| {
            [frame(HEADERS, END_HEADERS, stream, &call(TSO)), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
    };
    flood(&mut victim, opened_and_reset);
    victim.stands(RESETS_GROWTH_MAX, "rapid reset");
}

#[test]
fn headers_without_an_end_are_survived() {
    // Of one header each, and in the middle of one.
    let mut whole = Vec::new();
    while whole.len() < PAYLOAD_BYTES_MAX - 200 {
        whole.push(0);
        text(&mut whole, "x-name");
        text(&mut whole, &"v".repeat(100));
    }
    for (name, payload) in [("CONTINUATION of headers", whole), ("CONTINUATION of one header", vec![b'v'; 16_000])] {
        let mut victim = Victim::new();
        let mut begin = call(TSO);
        if name.ends_with("one header") {
            // A value of 256 MiB is announced.
            begin.extend(b"\0\x01x\x7f\x81\xff\xff\x7f");
        }
        let first = frame(HEADERS, 0, 1, &begin);
        let next = frame(CONTINUATION, 0, 1, &payload);
        flood(&mut victim, || std::iter::once(&first).chain(std::iter::repeat_n(&next, FRAMES / 10)));
        victim.stands(HEADERS_GROWTH_MAX, name);
    }
}

#[test]
fn headers_that_unpack_to_a_multiple_are_survived() {
    let mut victim = Victim::new();
    // Into the table with it, and then its number again and again.
    let mut bomb = call(TSO);
    bomb.push(0x40);
    text(&mut bomb, "x");
    text(&mut bomb, &"v".repeat(3_900));
    bomb.resize(PAYLOAD_BYTES_MAX, 0xbe);
    flood(&mut victim, || streams().take(BOMBS).map(|stream| frame(HEADERS, END_HEADERS, stream, &bomb)));
    victim.stands(HEADERS_GROWTH_MAX, "headers out of the table");
}

/// Calls of an attacker with the beginning of a message, or with none of it.
fn unfinished(addr: &str, calls: usize, begin: &[u8]) -> TcpStream {
    let mut stream = connect(addr);
    let calls = streams().take(calls).map(|stream| {
        let data = if begin.is_empty() { Vec::new() } else { frame(DATA, 0, stream, begin) };
        [frame(HEADERS, END_HEADERS, stream, &call(TSO)), data].concat()
    });
    send(&mut stream, std::iter::once(hello()).chain(calls));
    stream
}

/// A message of 1,000 bytes of which 100 come.
const BEGINNING: [u8; 105] = {
    let mut bytes = [0; 105];
    (bytes[3], bytes[4]) = (3, 0xe8);
    bytes
};

#[test]
fn some_calls_without_their_message_keep_nobody_out() {
    let mut victim = Victim::new();
    let attackers = [&[][..], &BEGINNING].map(|begin| unfinished(victim.addr(), 50, begin));
    for _ in 0..100 {
        victim.serves();
    }
    drop(attackers);
    victim.stands(GROWTH_MAX, "100 calls without their message");
}

#[test]
fn many_calls_without_their_message_keep_others_out_no_longer_than_their_connection_lasts() {
    // grpcio gives a slot of its queue to a call before its message is there: with all slots taken it begins no other call.
    let victim = Victim::new();
    for _ in 0..4 {
        let attackers = [&[][..], &BEGINNING].map(|begin| unfinished(victim.addr(), 1_000, begin));
        drop(attackers);
    }
    victim.stands(GROWTH_MAX, "8,000 calls without their message");
}

/// gRPC 1.56 compares a message's length with its limit once it holds all of it: one client took as much memory as it liked.
#[test]
fn a_message_without_limits_is_given_up_before_the_memory_is() {
    // gRPC looks at a message's length once it has all of it: one client could take as much memory as it liked, up to the
    // 4 GiB that the length may say, whatever `--max-request-bytes` is.
    let victim = Victim::new();
    let mut stream = connect(victim.addr());
    let begin = [hello(), frame(HEADERS, END_HEADERS, 1, &call(TSO)), frame(DATA, 0, 1, &[0, 0x7f, 0, 0, 0])];
    send(&mut stream, begin);
    let taken = send_data(stream, 5, 1 << 30);
    println!("of a message of 2 GiB {} MiB were taken", taken >> 20);
    assert!(taken > 64 << 20, "the attack got nowhere: {taken} bytes");
    assert!(taken < 1 << 30, "all of it");
    victim.stands(640 * MIB, "a message of 2 GiB");
}

#[test]
fn what_is_no_http2_is_closed() {
    let mut victim = Victim::new();
    let mut preface = PREFACE.to_vec();
    preface[20] = b'X';
    let begun = |frame: Vec<u8>| [hello(), frame].concat();
    let huge = [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 1000]].concat();
    let garbage = [
        preface,
        PREFACE.repeat(2),
        begun(huge),
        begun(frame(SETTINGS, 0, 0, b"12345")),
        begun(frame(SETTINGS, 0, 7, b"")),
        begun(frame(PING, 0, 0, b"1")),
        begun(frame(CONTINUATION, END_HEADERS, 1, b"")),
        begun([frame(HEADERS, 0, 1, &call(TSO)), frame(PING, 0, 0, b"01234567")].concat()),
        vec![0; 100_000],
        vec![0xff; 100_000],
    ];
    for bytes in garbage {
        let mut stream = connect(victim.addr());
        send(&mut stream, [&bytes]);
        is_closed(stream);
        victim.serves();
    }
    // These gRPC passes over, although HTTP/2 has them end the connection: a window beyond its maximum, a stream that is not
    // a client's, padding longer than its frame.
    let passed_over = [
        frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(HEADERS, END_HEADERS, 2, &call(TSO)),
        frame(DATA, PADDED, 1, &[255]),
    ];
    for bytes in passed_over {
        send(&mut connect(victim.addr()), [&begun(bytes)]);
        victim.serves();
    }
    victim.stands(GROWTH_MAX, "no HTTP/2");
}
