//! HTTP/2 that no client speaks. The attackers never read what the server answers.

use std::net::TcpStream;

use super::http2::*;
use super::{MIB, Victim, connect, is_closed, send};

/// Connections that attack at a time.
const ATTACKERS: u64 = 4;
/// Frames that each of them sends, unless the server has enough before.
const FRAMES: usize = 30_000;
/// What all of them may cost.
const GROWTH_MAX: u64 = 64 * MIB;

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
        streams().take(FRAMES / 4).map(|stream| {
            [frame(HEADERS, END_HEADERS, stream, &call(TSO)), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
    };
    flood(&mut victim, opened_and_reset);
    victim.stands(GROWTH_MAX, "rapid reset");
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
        let connections = flood(&mut victim, || std::iter::once(&first).chain(std::iter::repeat_n(&next, FRAMES / 10)));
        println!("{name}: {:?} frames taken", connections.iter().map(|(_, taken)| *taken).collect::<Vec<_>>());
        victim.stands(GROWTH_MAX, name);
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
    flood(&mut victim, || streams().take(300).map(|stream| frame(HEADERS, END_HEADERS, stream, &bomb)));
    victim.stands(GROWTH_MAX, "headers out of the table");
}

#[test]
fn calls_that_never_send_their_message_are_survived() {
    let mut victim = Victim::new();
    let opened = || streams().take(5_000).map(|stream| frame(HEADERS, END_HEADERS, stream, &call(TSO)));
    let connections = flood(&mut victim, opened);
    victim.serves();
    victim.stands(GROWTH_MAX, "calls without a message");
    drop(connections);
}

#[test]
fn calls_that_never_end_their_message_are_survived() {
    let mut victim = Victim::new();
    // Of 64 KiB almost all is sent, as far as the server's windows allow: an attacker may ignore them, but the server
    // closes its connection then.
    let announced = [&[0, 0, 1, 0, 0][..], &[0; 16_000]].concat();
    let half = || {
        streams().take(1_000).flat_map(|stream| {
            let begin = [frame(HEADERS, END_HEADERS, stream, &call(TSO)), frame(DATA, 0, stream, &announced)].concat();
            std::iter::once(begin).chain(std::iter::repeat_n(frame(DATA, 0, stream, &[0; 16_000]), 3))
        })
    };
    let connections = flood(&mut victim, half);
    println!("messages without an end: {:?} taken", connections.iter().map(|(_, taken)| *taken).collect::<Vec<_>>());
    victim.stands(GROWTH_MAX, "messages without an end");
}

#[test]
fn a_message_without_limits_is_given_up_before_the_memory_is() {
    // gRPC looks at a message's length once it has all of it: one client could take as much memory as it liked, up to the
    // 4 GiB that the length may say, whatever `--max-request-bytes` is.
    let victim = Victim::new();
    let mut stream = connect(victim.addr());
    let begin = [hello(), frame(HEADERS, END_HEADERS, 1, &call(TSO)), frame(DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff])];
    send(&mut stream, begin);
    let taken = send_data(stream, 2 << 30);
    println!("of a message of 4 GiB {} MiB were taken", taken >> 20);
    victim.stands(640 * MIB, "a message of 4 GiB");
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
        begun(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        begun(frame(CONTINUATION, END_HEADERS, 1, b"")),
        begun(frame(HEADERS, END_HEADERS, 2, &call(TSO))),
        begun([frame(HEADERS, 0, 1, &call(TSO)), frame(PING, 0, 0, b"01234567")].concat()),
        begun(frame(DATA, 8, 1, &[255])),
        vec![0; 100_000],
        vec![0xff; 100_000],
    ];
    for (number, bytes) in garbage.into_iter().enumerate() {
        eprintln!("garbage {number}");
        let mut stream = connect(victim.addr());
        send(&mut stream, [&bytes]);
        is_closed(stream);
        victim.serves();
    }
    victim.stands(GROWTH_MAX, "no HTTP/2");
}
